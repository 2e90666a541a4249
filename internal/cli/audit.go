package cli

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
)

type auditCommand struct {
	Tail   auditTail   `cmd:"" help:"Show the newest events."`
	Verify auditVerify `cmd:"" help:"Verify the whole log: on the server, or offline with an export."`
	Prove  auditProve  `cmd:"" help:"Prove that an event is in the log, or check such a proof offline."`
	Export auditExport `cmd:"" help:"Write the log, so that anybody can verify it offline."`
}

type auditTail struct {
	Number int    `short:"n" default:"20" help:"How many."`
	Follow bool   `short:"f" help:"Go on as they happen."`
	Object string `placeholder:"ID" help:"Only events about this: act_…, agt_…"`
	Actor  string `placeholder:"WHO" help:"Only events of this actor: agent:agt_…, user:usr_…, system."`
	Verb   string `help:"Only this verb, or with a final dot those that begin so: action."`
}

func (c *auditTail) Run(r *run) error {
	if c.Number < 1 || c.Number > 10000 {
		return usage("Use 'valetkey audit export' for all of them.", "-n is 1 to 10000.")
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := c.newest(r.ctx, to)
	if err != nil {
		return err
	}
	slices.Reverse(page.Items)
	if r.json && !c.Follow {
		return r.print(page)
	}
	last := int64(-1)
	for _, e := range page.Items {
		if err := r.event(e); err != nil {
			return err
		}
		last = e.Seq
	}
	if !c.Follow {
		if len(page.Items) == 0 {
			r.note("No such events.")
		}
		return nil
	}
	return c.follow(r, to, last)
}

func (c *auditTail) newest(ctx context.Context, to *remote) (api.Page[api.Event], error) {
	all := api.Page[api.Event]{Items: []api.Event{}}
	q := url.Values{}
	for name, v := range map[string]string{"object": c.Object, "actor": c.Actor, "verb": c.Verb} {
		if v != "" {
			q.Set(name, v)
		}
	}
	for len(all.Items) < c.Number {
		q.Set("limit", strconv.Itoa(min(c.Number-len(all.Items), 200)))
		page, err := get[api.Page[api.Event]](ctx, to, "v1/admin/events", q)
		if err != nil {
			return all, err
		}
		all.Items = append(all.Items, page.Items...)
		if page.Next == "" || len(page.Items) == 0 {
			break
		}
		q.Set("before", strconv.FormatInt(page.Items[len(page.Items)-1].Seq, 10))
	}
	all.Items = all.Items[:min(len(all.Items), c.Number)]
	return all, nil
}

// fits judges an event of the stream, which is not filtered, as the server
// does.
func (c *auditTail) fits(e api.Event) bool {
	verb := c.Verb == "" || e.Verb == c.Verb || strings.HasSuffix(c.Verb, ".") && strings.HasPrefix(e.Verb, c.Verb)
	return verb && (c.Object == "" || e.Object == c.Object) && (c.Actor == "" || e.Actor == c.Actor)
}

// follow reads the event stream, and goes on after a restart of the server.
func (c *auditTail) follow(r *run, to *remote, last int64) error {
	for {
		q := url.Values{}
		if last >= 0 {
			q.Set("after", strconv.FormatInt(last, 10))
		}
		res, err := to.send(r.ctx, http.MethodGet, "v1/admin/events/stream", q, nil)
		if err == nil {
			last, err = c.read(r, res.Body, last)
			err = errors.Join(err, res.Body.Close())
		}
		switch {
		case r.ctx.Err() != nil:
			return nil // that is how following ends
		case err != nil && judge(err).code != exitUnavailable && !errors.Is(err, io.ErrUnexpectedEOF):
			return err
		}
		if !sleep(r.ctx, reconnect) {
			return nil
		}
	}
}

// read prints the events of one stream until it ends.
func (c *auditTail) read(r *run, body io.Reader, last int64) (int64, error) {
	lines := bufio.NewScanner(body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		data, ok := strings.CutPrefix(lines.Text(), "data:")
		if !ok {
			continue
		}
		var e api.Event
		if json.Unmarshal([]byte(data), &e) != nil || e.Verb == "" {
			continue // the stream's own words, such as that the server stops
		}
		last = e.Seq
		if c.fits(e) {
			if err := r.event(e); err != nil {
				return last, err
			}
		}
	}
	return last, nil
}

// event prints one event: as a line for people, or as a line of JSON.
func (r *run) event(e api.Event) error {
	if r.json {
		line, err := json.Marshal(e)
		if err != nil {
			return fmt.Errorf("write an event: %w", err)
		}
		r.say("%s", line)
		return nil
	}
	data := []string{cell(e.Actor, 60)}
	if e.Object != "" {
		data = append(data, cell(e.Object, 60))
	}
	for _, name := range slices.Sorted(keys(e.Data)) {
		data = append(data, cell(name, 40)+"="+cell(e.Data[name], 80))
	}
	head, rest := fmt.Sprintf("%7d  %s  %-24s", e.Seq, when(e.At), cell(e.Verb, 40)), strings.Join(data, gap)
	if r.width == 0 || utf8.RuneCountInString(head+gap+rest) <= r.width {
		r.say("%s%s%s", head, gap, rest)
		return nil
	}
	r.say("%s", strings.TrimRight(head, " "))
	for _, line := range wrapped(rest, r.width-9) {
		r.say("         %s", r.dim(line))
	}
	return nil
}

func keys(m map[string]string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for k := range m {
			if !yield(k) {
				return
			}
		}
	}
}

type auditVerify struct {
	Export      string `placeholder:"FILE" help:"Verify this export offline. Needs --key."`
	Checkpoints string `placeholder:"FILE" help:"The checkpoints that were kept outside; the export's own if left out."`
	Key         string `placeholder:"KEY|FILE" help:"Verifier key of the log, as 'valetkey audit export' prints it, from a place you trust."`
}

func (c *auditVerify) Run(r *run) error {
	if c.Export != "" {
		return c.offline(r)
	}
	if c.Checkpoints != "" || c.Key != "" {
		return usage("Pass --export FILE, too; without it the server verifies with what it has.", "--checkpoints and --key are for an export.")
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	r.progress("Reading the whole log…")
	v, err := get[api.AuditReport](r.ctx, to, "v1/admin/audit/verify", nil)
	if err != nil {
		return err
	}
	return r.verified(v)
}

// verified prints three verdicts, a line each, and fails if one is bad.
func (r *run) verified(v api.AuditReport) error {
	if r.json {
		if err := r.print(v); err != nil {
			return err
		}
	} else {
		for _, line := range v.Lines {
			line = cell(line, 600)
			if strings.Contains(line, "BROKEN") {
				line = r.red(line)
			}
			r.say("%s", line)
		}
	}
	if !v.OK {
		return quiet{exitFailed}
	}
	return nil
}

// offline verifies an export: who has the verifier key needs to trust nobody.
func (c *auditVerify) offline(r *run) error {
	v, err := verifierOf(r, c.Key)
	if err != nil {
		return err
	}
	f, err := os.Open(c.Export)
	if err != nil {
		return usage("Check the name.", "%s cannot be read.", c.Export)
	}
	defer f.Close()
	x, err := audit.OpenExport(f)
	if err != nil {
		return &failure{Code: exitFailed, Reason: "bad_export", Text: sentence(err.Error()), Err: err}
	}
	checkpoints := x.Checkpoints()
	if c.Checkpoints != "" {
		if _, err := os.Stat(c.Checkpoints); err != nil {
			return usage("Check the name.", "%s cannot be read.", c.Checkpoints)
		}
		sink, err := audit.OpenFileSink(c.Checkpoints)
		if err != nil {
			return err
		}
		defer sink.Close()
		checkpoints = sink.All(r.ctx)
	}
	report, err := audit.Verify(r.ctx, x, v, checkpoints)
	if err != nil {
		return err
	}
	return r.verified(verdicts(report))
}

// verdicts is a report as the API has it.
func verdicts(r audit.Report) api.AuditReport {
	finding := func(f *audit.Finding) *api.AuditFinding {
		if f == nil {
			return nil
		}
		return &api.AuditFinding{First: f.First, Last: f.Last, What: f.What}
	}
	return api.AuditReport{
		OK: r.OK(), Events: r.Events, Root: r.Root.String(), Integrity: finding(r.Integrity), Completeness: finding(r.Completeness),
		Checkpoints: r.Checkpoints, Anchored: r.Anchor.Size, AnchoredAt: r.Anchor.At, Tail: r.Tail,
		Lines: strings.Split(strings.TrimSpace(r.String()), "\n"),
	}
}

// verifierShape is name+hash+base64, as a signed note has it.
var verifierShape = regexp.MustCompile(`^[^\s+]+\+[0-9a-fA-F]{8}\+[A-Za-z0-9+/]{40,}={0,2}$`)

func verifierOf(r *run, key string) (*audit.Verifier, error) {
	if key == "" {
		return nil, usage("Pass --key KEY: 'valetkey audit export' printed it, and the server's owner can tell you.", "Offline, the key of the log is needed.")
	}
	if !strings.Contains(key, "+") {
		raw, err := r.readInput(key, 64<<10)
		if err != nil {
			return nil, err
		}
		key = string(raw)
	}
	v, err := audit.NewVerifier(strings.Fields(key)...)
	if err != nil && verifierShape.MatchString(strings.TrimSpace(key)) {
		// The hash in the middle is over the name and the key: a slip in any of
		// the three shows in it.
		return nil, usage("Copy it again, in one piece: 'valetkey audit export' prints it.", "This verifier key is mistyped: its hash does not match.")
	}
	if err != nil {
		return nil, usage("It looks like name+hash+base64.", "This is no verifier key.")
	}
	return v, nil
}

type auditProve struct {
	Seq   string `arg:"" optional:"" help:"Sequence number of the event."`
	Check string `placeholder:"FILE" help:"Check this proof offline instead. Needs --key."`
	Key   string `placeholder:"KEY|FILE" help:"Verifier key of the log."`
}

func (c *auditProve) Run(r *run) error {
	if c.Check != "" {
		return c.check(r)
	}
	if _, err := strconv.ParseUint(c.Seq, 10, 63); err != nil {
		return usage("'valetkey audit tail' shows the numbers.", "Say which event: its sequence number.")
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	p, err := get[api.Proof](r.ctx, to, "v1/admin/audit/prove", url.Values{"seq": {c.Seq}})
	if err != nil {
		return err
	}
	// A proof is for a program: it is JSON in any case.
	return r.print(p)
}

// check checks a proof with nothing but the key.
func (c *auditProve) check(r *run) error {
	v, err := verifierOf(r, c.Key)
	if err != nil {
		return err
	}
	raw, err := r.readInput(c.Check, 1<<20)
	if err != nil {
		return err
	}
	var p audit.Proof
	if err := json.Unmarshal(raw, &p); err != nil {
		return usage("It is what 'valetkey audit prove' printed.", "%s is no proof.", c.Check)
	}
	if p.Path == nil {
		p.Path = tlog.RecordProof{}
	}
	e, at, err := p.Check(v)
	if err != nil {
		return &failure{Code: exitFailed, Reason: "bad_proof", Text: "The proof does not hold.", Err: err}
	}
	r.say("The proof holds: event %d (%s, %s) is in the log %s of %d events, signed %s.", e.Seq, cell(e.Verb, 60), when(e.At), cell(at.Origin, 100), at.Size, when(at.At))
	return nil
}

type auditExport struct {
	Output string `short:"o" placeholder:"FILE" help:"Where to; standard output if left out."`
}

func (c *auditExport) Run(r *run) error {
	if _, err := os.Lstat(c.Output); c.Output != "" && err == nil {
		return usage("It must not exist yet: name another file.", "%s is there already.", c.Output)
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	res, err := to.send(r.ctx, http.MethodGet, "v1/admin/audit/export", nil, nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	out, name := r.out, "standard output"
	var f *os.File
	if c.Output != "" {
		if f, err = os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600); err != nil {
			return usage("It must not exist yet.", "%s cannot be made.", c.Output)
		}
		defer f.Close()
		out, name = f, c.Output
	}
	n, err := io.Copy(out, res.Body)
	if err == nil && f != nil {
		err = f.Sync()
	}
	if err != nil {
		return &failure{Code: exitFailed, Reason: "export_cut", Text: "The export was cut off.", Next: "Try again; 'audit verify --export' would say so, too.", Err: err}
	}
	r.note("Wrote %d bytes to %s.", n, name)
	if cp, err := get[api.Checkpoint](r.ctx, to, "v1/admin/checkpoint", nil); err == nil {
		r.note("Verify it anywhere with:\n  %s", pasted("audit verify", nil, append(flag("--export", name), flag("--key", cp.Key)...)...))
	}
	return nil
}

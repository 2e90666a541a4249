package approval

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// Strength is how much one link of a receipt's chain holds.
type Strength string

// The strengths.
const (
	Holds  Strength = "ok"     // it was checked, and holds
	Leans  Strength = "weak"   // it holds as far as the server is believed
	Broken Strength = "BROKEN" // it was checked, and does not hold
)

// Link is one step from what was asked to what you can know of it.
type Link struct {
	Name     string   `json:"name"`
	Strength Strength `json:"result"`
	Detail   string   `json:"detail"`
}

// Verification is what checking a receipt found, link by link.
type Verification struct {
	Links []Link `json:"links"`
}

// OK reports whether no link is broken.
func (v *Verification) OK() bool {
	return !slices.ContainsFunc(v.Links, func(l Link) bool { return l.Strength == Broken })
}

// Leans reports whether some link rests on the server's word.
func (v *Verification) Leans() bool {
	return slices.ContainsFunc(v.Links, func(l Link) bool { return l.Strength == Leans })
}

// Trust is what the one who checks brings along. Without a key of their own
// they can only learn whether the receipt agrees with itself.
type Trust struct {
	Keys        *audit.Verifier // the log's keys, from a place they trust
	Checkpoints []audit.Head    // the heads of checkpoints that they hold
}

// check is one verification under way.
type check struct {
	r      *Receipt
	found  Verification
	events map[string]audit.Event // see eventKey
	yes    map[id.User]int64      // whose answers let it run, and hold: as which event
}

func (c *check) link(name string, s Strength, format string, args ...any) {
	c.found.Links = append(c.found.Links, Link{name, s, fmt.Sprintf(format, args...)})
}

// Verify checks r with nothing but what t brings along.
func (r *Receipt) Verify(t Trust) *Verification {
	c := &check{r: r, events: map[string]audit.Event{}, yes: map[id.User]int64{}}
	keys, pinned := t.Keys, true
	if keys == nil {
		pinned = false
		var err error
		if keys, err = audit.NewVerifier(r.LogKey); err != nil {
			c.link("signature", Broken, "the receipt names no usable key of a log")
			return &c.found
		}
	}
	c.signature(keys, pinned)
	if !c.log(keys, t.Checkpoints) {
		return &c.found
	}
	c.effect()
	c.words()
	c.decisions()
	c.execution()
	return &c.found
}

func (c *check) signature(keys *audit.Verifier, pinned bool) {
	d, err := c.r.digest()
	if err == nil {
		err = keys.CheckStatement(statementKind, d, c.r.Signature)
	}
	switch {
	case err != nil && pinned:
		c.link("signature", Broken, "none of the keys that you trust signed this receipt as it is")
	case err != nil:
		c.link("signature", Broken, "the key that the receipt names did not sign it as it is")
	case pinned:
		c.link("signature", Holds, "signed by %s, with a key that you trust", keys.Origin())
	default:
		c.link("signature", Leans, "signed by the key that the receipt itself names (%s); pass the log's key, from a place that you trust, to know whose it is", keys.Origin())
	}
}

// log finds every event under the receipt's checkpoint.
func (c *check) log(keys *audit.Verifier, held []audit.Head) bool {
	cp, err := keys.Parse([]byte(c.r.Checkpoint))
	if err != nil {
		c.link("checkpoint", Broken, "%v", err)
		return false
	}
	last := int64(-1)
	for _, e := range c.r.Events {
		got, err := audit.CheckInclusion(e.Path, cp.Head, []byte(e.Event))
		if err != nil {
			c.link("log", Broken, "%v", err)
			return false
		}
		key := eventKey(got)
		if _, twice := c.events[key]; twice || got.Seq <= last {
			c.link("log", Broken, "event %d stands in the receipt twice, or out of order", got.Seq)
			return false
		}
		last, c.events[key] = got.Seq, got
	}
	c.link("log", Holds, "%d events are leaves of the log of %d that its checkpoint of %s names", len(c.r.Events), cp.Size, cp.At.Format("2006-01-02 15:04:05Z"))
	same := func(h audit.Head) bool { return h == cp.Head }
	other := func(h audit.Head) bool { return h.Size == cp.Size && h.Root != cp.Root }
	switch {
	case slices.ContainsFunc(held, other):
		c.link("checkpoint", Broken, "you hold another checkpoint over %d events: the server showed different histories", cp.Size)
	case slices.ContainsFunc(held, same):
		c.link("checkpoint", Holds, "you hold the same checkpoint, over %d events", cp.Size)
	default:
		c.link("checkpoint", Leans, "it came with the receipt; compare it with one that was kept outside (--checkpoints)")
	}
	return true
}

// effect ties the request to the digest that was approved, and that to the log.
func (c *check) effect() {
	a := &c.r.Action
	want, err := action.ParseDigest(a.Effect)
	if err != nil {
		c.link("request", Broken, "%v", err)
		return
	}
	switch got := c.recompute(); {
	case a.Request == nil:
		c.link("request", Leans, "its content is not in the receipt, only its digest %s", a.Effect)
	case got != want:
		c.link("request", Broken, "it is not the one with the digest %s", a.Effect)
	default:
		c.link("request", Holds, "%s %s, %d bytes of body: its digest is %s", a.Request.Method, address(a.Request), len(a.Request.Body), a.Effect)
	}
}

// words ties what we said about the request to the log of that time. Names of
// agents, accounts and people are labels beside ids, and are tied to nothing.
func (c *check) words() {
	a, q := &c.r.Action, &c.r.Question
	e, ok := c.events["approval.opened "+string(q.ID)]
	nonce, err := base64.StdEncoding.DecodeString(q.Nonce)
	switch {
	case err != nil || !ok:
		c.link("words", Broken, "the log has no approval.opened of %s among these events", q.ID)
	case e.Data["shown"] != shown(nonce, a.Operation, a.Summary, a.Resource, a.Risk, q.Rules, q.Why) || !e.At.Equal(q.OpenedAt) || e.Data["action"] != string(a.ID):
		c.link("words", Broken, "event %d opened the question with other words about the request", e.Seq)
	default:
		c.link("words", Holds, "summary, operation, resource, risk and reasons are those of event %d, which opened the question", e.Seq)
	}
}

func address(r *action.Request) string {
	u, err := r.URL()
	if err != nil {
		return strconv.Quote(r.Host + r.Path)
	}
	return u.String()
}

func (c *check) recompute() action.Digest {
	a := &c.r.Action
	if a.Request == nil {
		return action.Digest{}
	}
	return a.Request.Effect(action.Party{Org: a.Org, User: a.User, Agent: a.Agent, Connection: a.Connection, Account: a.Account}, a.Amount)
}

// decisions ties each answer to the question, to the log, and to a passkey.
func (c *check) decisions() {
	asked, err := c.r.asked()
	if err != nil {
		c.link("question", Broken, "%v", err)
		return
	}
	if len(c.r.Decisions) == 0 {
		c.link("decision", Leans, "nobody has answered")
		return
	}
	for i := range c.r.Decisions {
		c.decision(asked, &c.r.Decisions[i])
	}
	if asked.Needs() > 1 {
		c.quorum(asked)
	}
}

// eventKey is how a receipt finds an event: by verb and object, and those of
// which there may be one for each person by theirs, too.
func eventKey(e audit.Event) string {
	if e.Verb == "approval.voted" {
		return e.Verb + " " + e.Object + " " + e.Actor
	}
	return e.Verb + " " + e.Object
}

// quorum counts the people who said yes, where it took several.
func (c *check) quorum(asked *Approval) {
	granted, ok := c.events["approval.granted "+string(asked.ID)]
	switch yes := c.before(granted.Seq); {
	case !ok:
		c.link("quorum", Holds, "%d of %d said yes, and it was not granted", len(c.yes), asked.Needs())
	case yes < asked.Needs():
		c.link("quorum", Broken, "it was granted with %d different people's yes, and takes %d", yes, asked.Needs())
	default:
		c.link("quorum", Holds, "%d different people said yes, of %d that it takes", yes, asked.Needs())
	}
}

// before counts the people whose yes holds and had been said at an event.
func (c *check) before(seq int64) int {
	n := 0
	for _, at := range c.yes {
		if at <= seq {
			n++
		}
	}
	return n
}

func (c *check) decision(asked *Approval, d *ReceiptDecision) {
	shown := *asked
	asked, shown.Precondition = &shown, d.Precondition
	digest := asked.Digest(d.Answer)
	if hex.EncodeToString(digest[:]) != d.Digest {
		c.link("decision", Broken, "the answer of %s is not to this question: its digest does not follow from effect, rules, nonce, expiry and what was shown", who(d))
		return
	}
	verb := "approval.granted"
	if d.Answer == No {
		verb = "approval.denied"
	}
	e, recorded := c.events[verb+" "+string(asked.ID)]
	if voted, ok := c.events["approval.voted "+string(asked.ID)+" user:"+string(d.By)]; ok && d.Answer == Yes && asked.Needs() > 1 {
		verb, e, recorded = "approval.voted", voted, true
	}
	switch {
	case !recorded:
		c.link("decision", Broken, "the log has no %s of %s among these events", verb, asked.ID)
		return
	case e.Actor != "user:"+string(d.By) || e.Data["action"] != string(c.r.Action.ID) || e.Data["decision"] != d.Digest || e.Data["evidence"] != evidenceHash(d.Evidence),
		e.Data["channel"] != d.Channel || e.Data["level"] != strconv.Itoa(int(d.Level)) || !e.At.Equal(d.At):
		c.link("decision", Broken, "event %d records another answer", e.Seq)
		return
	case !e.At.Before(asked.ExpiresAt):
		c.link("decision", Broken, "event %d answered when the question had expired", e.Seq)
		return
	}
	c.link("decision", Holds, "%s by %s, event %d, at %s", past(d.Answer), who(d), e.Seq, e.At.Format("2006-01-02 15:04:05Z"))
	if c.presence(asked, d, e.Seq) && d.Answer == Yes {
		c.yes[d.By] = e.Seq
	}
}

func past(a Answer) string {
	if a == Yes {
		return "approved"
	}
	return "denied"
}

func who(d *ReceiptDecision) string {
	if d.ByName == "" {
		return string(d.By)
	}
	return fmt.Sprintf("%s (%s)", strings.ToValidUTF8(clip(d.ByName), "?"), d.By)
}

// presence is the approver's own signature: what the server could not have
// made by itself. It says whether the answer has what its question demands.
func (c *check) presence(asked *Approval, d *ReceiptDecision, decided int64) bool {
	if len(d.Evidence) == 0 {
		if d.Answer == Yes && asked.Level >= StepUp {
			c.link("presence", Broken, "the rules asked for a passkey, and there is no assertion")
			return false
		}
		c.link("presence", Leans, "server-attested only: a logged-in person answered, no passkey signed")
		return true
	}
	if user.IsSignIn(d.Evidence) {
		return c.signIn(asked, d, decided)
	}
	var e user.Evidence
	if err := json.Unmarshal(d.Evidence, &e); err != nil {
		c.link("presence", Broken, "the evidence cannot be read")
		return false
	}
	if err := e.Check(asked.Digest(d.Answer)); err != nil || e.User != d.By {
		c.link("presence", Broken, "the assertion is not one of %s for this decision", d.By)
		return false
	}
	c.link("presence", Holds, "passkey %s signed this very decision at %s, with user verification", e.Passkey, e.Origin)
	enrolled, ok := c.events["passkey.enrolled "+string(e.Passkey)]
	switch {
	case !ok:
		c.link("key", Leans, "the receipt does not show when the passkey was enrolled")
	case enrolled.Subject != string(d.By) || enrolled.Data["key"] != e.KeyHash():
		c.link("key", Broken, "event %d enrolled another key, or for somebody else", enrolled.Seq)
		return false
	case enrolled.Seq >= decided:
		c.link("key", Broken, "the passkey was enrolled after the decision")
		return false
	default:
		c.link("key", Holds, "enrolled for %s as event %d, before the decision, event %d", d.By, enrolled.Seq, decided)
	}
	return true
}

// execution ties what was done to what was approved.
func (c *check) execution() {
	a, q := &c.r.Action, &c.r.Question
	commitment, err := a.commitment()
	if err != nil {
		c.link("execution", Broken, "%v", err)
		return
	}
	began, did := c.events["action.executing "+string(a.ID)]
	ended, over := c.events["action."+string(a.State)+" "+string(a.ID)]
	granted, yes := c.events["approval.granted "+string(q.ID)]
	for _, e := range []audit.Event{began, ended} {
		if e.Verb != "" && (e.Data["effect"] != commitment || e.Data["operation"] != a.Operation || e.Data["agent"] != string(a.Agent) || e.Data["connection"] != string(a.Connection)) {
			c.link("execution", Broken, "event %d is about another request", e.Seq)
			return
		}
	}
	ran := slices.Contains([]action.State{action.Executing, action.Succeeded, action.Failed, action.Unknown}, a.State)
	switch {
	case did && (!yes || c.before(granted.Seq) < max(q.Quorum, 1) || began.Seq < granted.Seq):
		c.link("execution", Broken, "event %d began it without an approval that holds", began.Seq)
	case did && !began.At.Before(q.ExpiresAt):
		c.link("execution", Broken, "event %d began it when its approval had expired", began.Seq)
	case ran && !did:
		c.link("execution", Broken, "it is said to be %s, and the log has no beginning among these events", a.State)
	case !over:
		c.link("execution", Broken, "it is said to be %s, which the log does not say among these events", a.State)
	case a.State.Final() && (a.FinishedAt == nil || !ended.At.Equal(*a.FinishedAt)) || ended.Data["status"] != status(a.Status) || ran && ended.Data["why"] != a.Why:
		c.link("execution", Broken, "event %d records another outcome", ended.Seq)
	case did && a.State.Final():
		c.link("execution", Holds, "begun as event %d, %s as event %d%s", began.Seq, a.State, ended.Seq, upstream(ended))
	case a.State.Final():
		c.link("execution", Holds, "never sent: %s as event %d", a.State, ended.Seq)
	default:
		c.link("execution", Leans, "it is not over: %s", a.State)
	}
}

// status is an upstream's status as events have it.
func status(n int) string {
	if n == 0 {
		return ""
	}
	return strconv.Itoa(n)
}

func upstream(e audit.Event) string {
	if s := e.Data["status"]; s != "" {
		return ", HTTP " + s
	}
	return ""
}

// Wanted is an event that a receipt should show.
type Wanted struct {
	Verb   string
	Object string
	Actor  string // "" for anybody
}

// Wanted names the events that a receipt should show.
func (r *Receipt) Wanted() []Wanted {
	question, act := string(r.Question.ID), string(r.Action.ID)
	want := []Wanted{
		{Verb: "approval.opened", Object: question}, {Verb: "approval.granted", Object: question}, {Verb: "approval.denied", Object: question},
		{Verb: "action.executing", Object: act}, {Verb: "action." + string(r.Action.State), Object: act},
	}
	if r.Question.Quorum > 1 {
		for _, d := range r.Decisions {
			want = append(want, Wanted{"approval.voted", question, "user:" + string(d.By)})
		}
	}
	for _, d := range r.Decisions {
		if v, ok := signInOf(d.Evidence); ok {
			want = append(want, Wanted{Verb: "identity.linked", Object: string(v.Identity)})
			continue
		}
		var e user.Evidence
		if len(d.Evidence) > 0 && json.Unmarshal(d.Evidence, &e) == nil {
			want = append(want, Wanted{Verb: "passkey.enrolled", Object: string(e.Passkey)})
		}
	}
	// What is being executed is at its beginning, and one person may have answered
	// twice.
	slices.SortFunc(want, func(a, b Wanted) int { return strings.Compare(a.Verb+a.Object+a.Actor, b.Verb+b.Object+b.Actor) })
	return slices.Compact(want)
}

// Show adds the events, which are in the log of head's size, with their paths.
func (r *Receipt) Show(leaves [][]byte, size int64, hashes tlog.HashReader) error {
	type leaf struct {
		seq int64
		raw []byte
	}
	var all []leaf
	for _, raw := range leaves {
		e, err := audit.Decode(raw)
		if err != nil {
			return err
		}
		all = append(all, leaf{e.Seq, raw})
	}
	slices.SortFunc(all, func(a, b leaf) int { return int(a.seq - b.seq) })
	for _, l := range all {
		path, err := audit.ProveInclusion(size, l.seq, hashes)
		if err != nil {
			return err
		}
		r.Events = append(r.Events, ReceiptEvent{string(l.raw), path})
	}
	return nil
}

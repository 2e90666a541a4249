package cli

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

func (d *demo) learns(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	end, err := d.bot.Await(limited, d.held.ID)
	if err != nil {
		return err
	}
	if end.Outcome == nil {
		return fmt.Errorf("the action is %s without an outcome", end.State)
	}
	if err := d.holds(end.State == api.StateSucceeded && end.Outcome.Status == 201, "the action succeeded: HTTP %d", end.Outcome.Status); err != nil {
		return err
	}
	res, err := d.bot.Response(ctx, d.held.ID)
	if err != nil {
		return err
	}
	var made struct {
		URL  string `json:"html_url"`
		Body string `json:"body"`
		User struct {
			Login string `json:"login"`
		} `json:"user"`
	}
	raw, err := io.ReadAll(res.Body)
	if err := errors.Join(err, res.Body.Close()); err != nil {
		return err
	}
	if err := json.Unmarshal(raw, &made); err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	d.shows("%s: %s  (%s)", cell(made.User.Login, 40), cell(made.Body, 60), cell(made.URL, 100))
	if err := d.holds(made.Body == "Hello from a valet." && made.User.Login == "octocat", "the comment is there, by octocat"); err != nil {
		return err
	}
	if err := d.holds(d.box.Count("POST", commentPath) == 1, "the upstream's own ledger counts one"); err != nil {
		return err
	}
	want := sha256.Sum256([]byte(`{"body":"Hello from a valet."}`))
	for _, c := range d.box.Ledger() {
		if c.Method == http.MethodPost && c.Path == commentPath {
			return d.holds(c.BodyHash == hex.EncodeToString(want[:]), "it received exactly the bytes that were approved")
		}
	}
	return errors.New("the ledger does not have the call")
}

func (d *demo) repeats(ctx context.Context) error {
	out, err := d.bot.Submit(ctx, d.comment)
	if err != nil {
		return err
	}
	if out.Held == nil {
		return errors.New("the repeat ran")
	}
	if err := d.holds(out.Held.ID == d.held.ID && out.Held.Replayed, "the same request gets the same action, marked as replayed"); err != nil {
		return err
	}
	return d.holds(d.box.Count("POST", commentPath) == 1, "no second call was made")
}

// replays sends a token request a second time, to the last byte.
func (d *demo) replays(ctx context.Context) error {
	body := d.ears.lastTokenRequest()
	if len(body) == 0 {
		return errors.New("the agent never authenticated")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, d.base+"oauth/token", bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	defer res.Body.Close()
	var said api.TokenError
	if err := json.NewDecoder(io.LimitReader(res.Body, 1<<20)).Decode(&said); err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	reason := said.Reason
	if reason == "" {
		reason = said.Error
	}
	return d.holds(res.StatusCode/100 == 4 && said.Error != "", "the same signed request, sent again, is refused (%s)", cell(reason, 60))
}

func (d *demo) vends(ctx context.Context) error {
	_, err := d.bot.Exchange(ctx, client.ExchangeRequest{User: d.user.ID, Connection: "github", AuditContext: "demo"})
	return d.holds(judge0(err) == exitRefused || judge0(err) == exitNotFound, "a grant to use the account is no grant to hold its token (%s)", reasonOf(err))
}

// look is a read that passes while nothing is in the way.
func (d *demo) look(ctx context.Context) error {
	out, err := d.bot.Submit(ctx, api.ActionRequest{Connection: "github", Operation: "github.issues.get", Params: map[string]any{"owner": "octo", "repo": "api", "number": 1}})
	if err == nil && (out.Result == nil || out.Result.Status != 200) {
		err = errors.New("the read did not pass")
	}
	return err
}

func (d *demo) freezes(ctx context.Context) error {
	if err := d.look(ctx); err != nil {
		return err
	}
	calls := len(d.box.Ledger())
	f, err := change[api.Freeze](ctx, d.me, http.MethodPost, "v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "triage", Reason: "demo"})
	if err != nil {
		return err
	}
	err = d.look(ctx)
	if err := d.holds(judge0(err) == exitRefused || judge0(err) == exitUnavailable, "frozen: the next request is refused (%s)", reasonOf(err)); err != nil {
		return err
	}
	if err := d.holds(len(d.box.Ledger()) == calls, "and nothing reached the upstream"); err != nil {
		return err
	}
	_, err = change[api.Freeze](ctx, d.me, http.MethodDelete, "v1/admin/freezes/"+segment(f.ID), nil)
	if err := d.holds(isOpen(err), "a stored login cannot lift it, only propose to (%s)", reasonOf(err)); err != nil {
		return err
	}
	if err := d.person.unfreeze(ctx, f.ID); err != nil {
		return err
	}
	if err := d.look(ctx); err != nil {
		return err
	}
	return d.holds(true, "the person lifts it with their passkey, and reading passes again")
}

func (d *demo) disconnects(ctx context.Context) error {
	revocations := d.box.Count(http.MethodDelete, "/applications/")
	if err := d.person.disconnect(ctx, d.account.ID); err != nil {
		return err
	}
	events, err := get[api.Page[api.Event]](ctx, d.me, "v1/admin/events", url.Values{"object": {d.account.ID}, "verb": {"connection.ended"}})
	if err != nil {
		return err
	}
	if len(events.Items) != 1 {
		return errors.New("the log does not tell what was ended")
	}
	report := events.Items[0].Data
	ended := report["upstream"] == "true" && d.box.Count(http.MethodDelete, "/applications/") > revocations
	if err := d.holds(ended, "the tokens are destroyed here, and the provider confirmed the end (HTTP %s)", cell(report["status"], 10)); err != nil {
		return err
	}
	if err := d.holds(report["probe"] == "dead", "a look with the old token showed that it is dead"); err != nil {
		return err
	}
	calls := len(d.box.Ledger())
	err = d.look(ctx)
	if err := d.holds(judge0(err) == exitRefused || judge0(err) == exitNotFound, "the agent's next request is refused (%s)", reasonOf(err)); err != nil {
		return err
	}
	return d.holds(len(d.box.Ledger()) == calls, "and nothing reached the upstream")
}

func (d *demo) verifies(ctx context.Context) error {
	// A checkpoint is signed each second while the log grows.
	var v api.AuditReport
	err := eventually(ctx, 10*time.Second, func() (bool, error) {
		var err error
		v, err = get[api.AuditReport](ctx, d.me, "v1/admin/audit/verify", nil)
		return v.Anchored > 0 && v.Tail == 0, err
	})
	if err != nil {
		return err
	}
	for _, line := range v.Lines {
		d.shows("%s", cell(line, 160))
	}
	if err := d.holds(v.OK && len(v.Lines) == 3, "unchanged, complete up to the newest outside checkpoint, and no tail beyond it"); err != nil {
		return err
	}
	seen := map[string]bool{}
	page, err := list[api.Event](ctx, d.me, "v1/admin/events", nil)
	if err != nil {
		return err
	}
	for _, e := range page.Items {
		seen[e.Verb] = true
	}
	for _, verb := range []string{"action.approved", "action.executing", "action.succeeded", "connection.revoked", "freeze.thrown"} {
		if !seen[verb] {
			return fmt.Errorf("the log has no event %s", verb)
		}
	}
	return d.holds(true, "every step of it is in the log of %d events", len(page.Items))
}

// searches stops the server first, so that its files hold all there is.
func (d *demo) searches(context.Context) error {
	if err := d.end(); err != nil {
		return err
	}
	if p, auto := d.person.(*softwarePerson); auto {
		for _, s := range p.cookies() {
			d.canaries.add(s)
		}
	}
	bad, read, err := d.canaries.files(d.data)
	if err != nil {
		return err
	}
	outside, more, err := d.canaries.files(filepath.Join(d.dir, "outside"))
	if err != nil {
		return err
	}
	if err := d.holds(len(bad)+len(outside) == 0 && read > 1 && more > 0, "none of %d secrets stands in any of the %d files of the server", d.canaries.count(), read+more); err != nil {
		return err
	}
	if err := d.holds(!d.canaries.find(d.log.bytes()), "nor in its log of %d lines, at level debug", bytes.Count(d.log.bytes(), []byte("\n"))); err != nil {
		return err
	}
	// The agent's own secrets are its own; what the provider gave is not.
	return d.holds(!d.canaries.find(d.canaries.answered()), "nor in anything that the agent was ever answered")
}

// reasonOf is the stable reason of a refusal.
func reasonOf(err error) string {
	if err == nil {
		return "it passed"
	}
	return cell(judge(err).problem.Reason, 60)
}

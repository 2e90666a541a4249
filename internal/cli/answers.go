package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/display"
)

// ran prints what a permitted action brought.
func (c *callCommand) ran(r *run, res *api.ActionResult) error {
	if r.json {
		if err := r.print(res); err != nil {
			return err
		}
		return upstreamCode(res.Status)
	}
	r.note("%s", r.dim(fmt.Sprintf("%s: HTTP %d", res.Action, res.Status)))
	switch {
	case res.Truncated:
		return &failure{Code: exitFailed, Reason: "too_large", Text: "It was done, and the answer is larger than 1 MiB.", Next: "For a read, ask again with --stream."}
	case res.Body != nil:
		if err := c.write(r, append(indent(r, res.Body), '\n')); err != nil {
			return err
		}
	case len(res.BodyBase64) > 0:
		if err := c.write(r, res.BodyBase64); err != nil {
			return err
		}
	}
	return upstreamCode(res.Status)
}

// upstreamCode is the exit code for an answer of the upstream: that the call
// was made is not enough for a script that wants it to have worked.
func upstreamCode(status int) error {
	if status >= 400 {
		return quiet{exitFailed}
	}
	return nil
}

// indent makes JSON readable where a person looks at it; a pipe gets what the
// upstream sent.
func indent(r *run, raw json.RawMessage) []byte {
	if !r.tty {
		return raw
	}
	pretty, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return raw
	}
	return pretty
}

// write writes the body of an answer: to the file, or to standard output. On
// a terminal it is text that we did not write.
func (c *callCommand) write(r *run, body []byte) error {
	r.clear()
	if c.Output != "" {
		if err := os.WriteFile(c.Output, body, 0o600); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	if r.tty {
		for _, line := range strings.SplitAfter(string(body), "\n") {
			text, end := strings.CutSuffix(line, "\n")
			fmt.Fprint(r.out, display.VisibleText(text))
			if end {
				fmt.Fprintln(r.out)
			}
		}
		return nil
	}
	_, err := r.out.Write(body)
	return err
}

// raw streams an answer.
func (c *callCommand) raw(r *run, res *client.Response) error {
	r.clear()
	if r.json {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return lostAnswer(r.ctx, http.MethodGet, err)
		}
		return c.ran(r, asResult(res, body))
	}
	r.note("%s", r.dim(fmt.Sprintf("%s: HTTP %d", res.Action, res.Status)))
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if c.Output == "" && r.tty {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return lostAnswer(r.ctx, http.MethodGet, err)
		}
		if kind == api.MediaJSON || strings.HasSuffix(kind, "+json") {
			body = append(indent(r, body), '\n')
		}
		if err := c.write(r, body); err != nil {
			return err
		}
		return upstreamCode(res.Status)
	}
	out := r.out
	if c.Output != "" {
		f, err := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		defer f.Close()
		out = f
	}
	if _, err := io.Copy(out, res.Body); err != nil {
		return &failure{Code: exitFailed, Reason: "answer_cut", Text: "The answer was cut off.", Next: "For a read, ask again.", Err: err}
	}
	return upstreamCode(res.Status)
}

func asResult(res *client.Response, body []byte) *api.ActionResult {
	out := &api.ActionResult{Action: res.Action, State: api.StateSucceeded, Status: res.Status, Headers: res.Header}
	if json.Valid(body) && len(body) > 0 {
		out.Body = body
	} else {
		out.BodyBase64 = body
	}
	return out
}

// held goes on with an action that waits for a person, or attached to one.
func (c *callCommand) held(r *run, cl *client.Client, a *api.Action) error {
	if !a.Final && !c.Await {
		if r.json {
			if err := r.print(a); err != nil {
				return err
			}
			return quiet{exitHeld}
		}
		r.say("%s %s", a.State, a.ID)
		if a.Approval != nil {
			r.note("A person has to approve this (%s): %s", cell(a.Approval.ID, 60), cell(a.Approval.URL, 300))
		}
		for _, why := range reasons(a.Explanation, *a) {
			r.note("  - %s", cell(why, 400))
		}
		r.next("To wait for it:", c.command(r, "call", operands{a.ID}, "--await"))
		return quiet{exitHeld}
	}
	if !a.Final {
		var err error
		if a, err = c.await(r, cl, a); err != nil {
			return err
		}
	}
	return c.ended(r, cl, a)
}

// await waits for people, showing for how long.
func (c *callCommand) await(r *run, cl *client.Client, a *api.Action) (*api.Action, error) {
	if a.Approval != nil && a.State == api.StatePending {
		r.note("Waiting for a person to approve %s: %s", a.ID, cell(a.Approval.URL, 300))
	}
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		began := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				r.progress("Waiting for %s… %s", a.ID, now.Sub(began).Round(time.Second))
			}
		}
	}()
	end, err := cl.Await(r.ctx, a.ID)
	stop()
	<-done
	r.clear()
	if err != nil && r.ctx.Err() != nil {
		return nil, &failure{Code: exitHeld, Reason: client.ReasonWaiting, Text: "You stopped waiting; the action goes on.", Next: "Wait again with: " + c.command(r, "call", operands{a.ID}, "--await")}
	}
	return end, err
}

// ended prints how a held action ended, and what the upstream answered.
func (c *callCommand) ended(r *run, cl *client.Client, a *api.Action) error {
	code := endCode(a.State)
	if r.json {
		if err := r.print(a); err != nil {
			return err
		}
		if code == exitOK && a.Outcome != nil {
			return upstreamCode(a.Outcome.Status)
		}
		return quiet{code}
	}
	if a.Replayed {
		r.note("This is the answer to an earlier request: nothing was sent again.")
	}
	if a.Outcome != nil && a.Outcome.Response {
		res, err := cl.Response(r.ctx, a.ID)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		err = c.raw(r, res)
		if code != exitOK {
			return quiet{code}
		}
		return err
	}
	why := ""
	if a.Outcome != nil && a.Outcome.Why != "" {
		why = a.Outcome.Why
	}
	f := &failure{Code: code, Reason: string(a.State)}
	switch a.State {
	case api.StateSucceeded:
		r.note("%s", r.dim(fmt.Sprintf("%s succeeded; its answer is no longer kept.", a.ID)))
		return nil
	case api.StateDenied:
		f.Text, f.Next = "A person denied it.", why
		if why != "" {
			f.Text, f.Next = "A person denied it:", sentence(why)
		}
		return f
	case api.StateUnknown:
		f.Text, f.Next = "It was sent and the provider's answer was lost: it may have happened.", "Look before repeating it."
		return f
	case api.StateExpired:
		f.Text, f.Next = "Nobody answered in time.", "Ask again if it still matters."
		return f
	}
	f.Text = fmt.Sprintf("The action is %s.", a.State)
	if why != "" {
		f.Text = fmt.Sprintf("The action is %s: %s", a.State, sentence(why))
	}
	return f
}

func endCode(s api.ActionState) int {
	switch s {
	case api.StateSucceeded:
		return exitOK
	case api.StateDenied, api.StateExpired, api.StateCancelled, api.StateRevoked:
		return exitRefused
	case api.StateFailed:
		return exitFailed
	case api.StateProposed, api.StatePending, api.StateApproved, api.StateExecuting:
		return exitHeld
	}
	return exitUnknown
}

// resume waits for an action that was asked for earlier.
func (c *callCommand) resume(r *run) error {
	if !c.Await {
		return usage("Wait for it with: "+c.command(r, "call", operands{c.Operation}, "--await"), "%s is an action, not an operation.", c.Operation)
	}
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	id := c.Operation
	if strings.HasPrefix(id, "apr_") {
		if id, err = c.actionOf(r, cl); err != nil {
			return err
		}
	}
	a, err := c.await(r, cl, &api.Action{ID: id})
	if err != nil {
		return err
	}
	return c.ended(r, cl, a)
}

// actionOf finds the action that an approval is about, among those of the
// agent.
func (c *callCommand) actionOf(r *run, cl *client.Client) (string, error) {
	token, err := cl.Token(r.ctx)
	if err != nil {
		return "", err
	}
	all, err := list[api.Action](r.ctx, overNetwork(c.reached, token.Access), "v1/actions", nil)
	if err != nil {
		return "", err
	}
	for _, a := range all.Items {
		if a.Approval != nil && a.Approval.ID == c.Operation {
			return a.ID, nil
		}
	}
	return "", &failure{Code: exitNotFound, Reason: "approval_not_found", Text: fmt.Sprintf("No action of this agent waits, or waited, for %s.", cell(c.Operation, 60)), Next: "Its action id, act_…, is what the call printed."}
}

// list shows the connections that the agent has grants for.
func (c *callCommand) list(r *run) error {
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	ops, err := cl.Operations(r.ctx, c.Connection)
	if err != nil {
		return err
	}
	cons, err := cl.Connections(r.ctx)
	if err != nil {
		return err
	}
	if c.Connection != "" {
		cons = slices.DeleteFunc(cons, func(k api.Connection) bool {
			return k.ID != c.Connection && k.Name != c.Connection && k.Provider != c.Connection
		})
	}
	all := len(ops)
	if !c.All {
		ops = slices.DeleteFunc(ops, func(o api.Operation) bool { return !covered(cons, o) })
	}
	if r.json {
		return r.print(api.Page[api.Operation]{Items: append([]api.Operation{}, ops...)})
	}
	for _, k := range cons {
		for _, g := range k.Grants {
			r.note("%s (%s at %s): %s on %s, %s", cell(k.Name, 60), cell(k.Account, 60), cell(k.Provider, 40), operations(g), resources(g), until(g))
		}
	}
	if err := r.operations(ops); err != nil {
		return err
	}
	if n := all - len(ops); n > 0 {
		r.maybe(fmt.Sprintf("%d more are not granted. To see them, too:", n), c.command(r, "call", nil, "--list", "--all"))
	}
	return nil
}

// covered reports whether a grant of one of cons names an operation. Whether it
// reaches the resource of a call is the server's to judge.
func covered(cons []api.Connection, o api.Operation) bool {
	for _, k := range cons {
		if k.Provider != o.Provider {
			continue
		}
		for _, g := range k.Grants {
			if slices.ContainsFunc(g.Operations, func(p string) bool {
				prefix, wild := strings.CutSuffix(p, "*")
				return p == o.Name || wild && strings.HasPrefix(o.Name, prefix)
			}) {
				return true
			}
		}
	}
	return false
}

// reasons are the sentences of an explanation, each once: without those that
// say in other words what stands beside them anyway.
func reasons(all []string, a api.Action) []string {
	var out []string
	seen := map[string]bool{}
	for _, why := range all {
		bare := strings.ToLower(strings.TrimRight(strings.TrimSpace(why), "."))
		switch {
		case bare == "" || seen[bare]:
		case bare == strings.ToLower(a.Operation+" is "+string(a.Risk)):
		case strings.HasPrefix(bare, "it would pass with a human approval") && a.State == api.StatePending:
		default:
			out = append(out, sentence(why))
		}
		seen[bare] = true
	}
	return out
}

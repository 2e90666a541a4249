package crash_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// load keeps everybody at work until ctx is done.
func (w *world) load(ctx context.Context) (wait func()) {
	var all sync.WaitGroup
	for _, work := range []func(context.Context){
		w.writes, w.writes, w.reads, w.vends, w.decides, w.manages, w.links,
		func(ctx context.Context) { w.asks(ctx, w.asker) }, func(ctx context.Context) { w.asks(ctx, w.careful) },
	} {
		all.Go(func() {
			for ctx.Err() == nil {
				work(ctx)
			}
		})
	}
	return all.Wait
}

// pause lets others have the machine.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// transient are refusals after which an agent comes back: somebody else was
// quicker, or the account needs its provider or its owner.
var transient = []string{"authority_moved", "raced", "refresh_unavailable", "needs_reauth", "storage_unavailable", "storage_uncertain"}

// submit asks for an intent once, and notes the answer.
func (w *world) submit(ctx context.Context, in *intent) {
	tried := in.sent
	w.book.do(func() { in.sent, in.busy = true, true })
	defer w.book.do(func() { in.busy = false })
	out, err := in.agent.Submit(ctx, api.ActionRequest{
		Connection: in.con, Operation: "github.issues.create_comment", IdempotencyKey: in.marker,
		Params: map[string]any{"owner": "octocat", "repo": "hello-world", "number": 1, "body": in.body},
	})
	holds := in.agent != w.writer
	e, _ := errors.AsType[*client.Error](err)
	switch {
	case err == nil && out.Result != nil && holds:
		w.wrong("%s was not asked about: it ran as %s", in.marker, out.Result.Action)
	case err == nil && out.Result != nil:
		w.book.do(func() {
			w.book.actions++
			in.action, in.status, in.saw, in.settled = out.Result.Action, out.Result.Status, out.Result.State, true
		})
	case err == nil && !holds:
		w.wrong("%s was held as %s", in.marker, out.Held.ID)
	case err == nil:
		if in.action != "" && in.action != out.Held.ID {
			w.wrong("%s was held as %s and is held again as %s", in.marker, in.action, out.Held.ID)
		}
		w.book.do(func() { w.book.actions++; in.action = out.Held.ID })
		w.sees(in, out.Held.State)
	case e == nil || e.Status == 0 || slices.Contains(transient, e.Reason):
		// no answer, or one that says to come back
	case e.Reason == "already_ran":
		if !tried {
			w.wrong("%s has run before it was asked for", in.marker)
		}
		w.book.do(func() { in.ran, in.settled = true, true })
	case e.Reason == "unknown" || e.Reason == "failed":
		w.book.do(func() { in.action, in.saw, in.settled = e.Action, api.ActionState(e.Reason), true })
	default:
		w.wrong("submit %s: %v", in.marker, err)
	}
}

// sees notes a state that the server told. A state never goes back, and a last
// one never changes.
func (w *world) sees(in *intent, s api.ActionState) {
	was := in.saw
	if was != "" && (rank(s) < rank(was) || final(was) && s != was) {
		w.book.do(func() { w.book.lost++ })
		w.wrong("%s (%s) was %s and is %s", in.marker, in.action, was, s)
	}
	w.book.do(func() {
		in.saw = s
		if final(s) {
			in.settled = true
		}
	})
}

// writes has one write done that nobody is asked about: first those whose
// answer was lost, with the key that they had.
func (w *world) writes(ctx context.Context) {
	if left := w.book.take(w.draw, func(in *intent) bool { return in.agent == w.writer && !in.settled }); left != nil {
		w.submit(ctx, left)
		return
	}
	in := &intent{marker: w.mark("inline"), agent: w.writer, con: w.pat, busy: true}
	in.body = in.marker
	switch w.draw(8) {
	case 0:
		in.con = w.cons[accounts[w.draw(len(accounts))]]
	case 1:
		in.body += " " + strings.Repeat("x", 60_000) // more than fits in one write to the wire
	}
	w.submit(ctx, w.book.want(in))
}

// asks has one write held.
func (w *world) asks(ctx context.Context, a *agent) {
	open := w.book.open(func(in *intent) bool { return in.agent == a && !in.settled && in.said == "" })
	for _, in := range open {
		if in.action == "" { // its answer was lost
			w.submit(ctx, in)
			return
		}
	}
	if len(open) < 12 {
		in := &intent{marker: w.mark("held"), agent: a, con: w.pat}
		in.body = in.marker
		w.submit(ctx, w.book.want(in))
	}
	pause(ctx, 15*time.Millisecond)
}

// decides answers one question.
func (w *world) decides(ctx context.Context) {
	open := w.book.open(func(in *intent) bool { return in.action != "" && in.agent != w.writer && !in.settled && in.said == "" })
	if len(open) == 0 {
		pause(ctx, 5*time.Millisecond)
		return
	}
	w.decide(ctx, open[w.draw(len(open))], w.draw(8) > 0)
}

func (w *world) decide(ctx context.Context, in *intent, yes bool) {
	a, err := w.look(in.agent, in.action)
	if err != nil {
		w.refused("look at "+in.action, err)
		return
	}
	w.sees(in, a.State)
	answer := "approve"
	if !yes {
		answer = "deny"
	}
	switch {
	case a.State == api.StatePending:
	case in.trying == "":
		w.wrong("%s is %s, and nobody has decided", in.action, a.State)
		fallthrough
	default:
		// What was sent before the last crash got through; its answer did not.
		w.book.do(func() { in.said, in.saidIn = in.trying, w.srv.lives })
		return
	}
	if a.Approval.Level == api.LevelStepUp != (in.agent == w.careful) {
		w.wrong("%s of %s asks for %s", in.action, in.agent.name, a.Approval.Level)
	}
	w.book.do(func() { in.trying = answer })
	life := w.srv.lives
	if err := w.mira.decide(ctx, &a, yes); err != nil {
		w.refused(answer+" "+in.action, err)
		return
	}
	w.book.do(func() { in.said, in.saidIn = answer, life })
	if w.draw(4) == 0 {
		brief, cancel := context.WithTimeout(ctx, 2*time.Second)
		defer cancel()
		if end, err := in.agent.Await(brief, in.action); err == nil {
			w.sees(in, end.State)
		}
	}
}

// refused reports an answer that is a refusal; no answer is no offence.
func (w *world) refused(what string, err error) {
	w.t.Helper()
	if why := reason(err); why != "" && !slices.Contains(transient, why) {
		w.wrong("%s: %v", what, err)
	}
}

// reads reads through one of the accounts whose tokens rotate.
func (w *world) reads(ctx context.Context) {
	login := accounts[w.draw(len(accounts))]
	reader := w.reader.Client
	if w.draw(4) == 0 {
		reader = w.again(w.reader)
	}
	_, err := reader.Submit(ctx, api.ActionRequest{
		Connection: w.cons[login], Operation: "github.issues.list", Params: map[string]any{"owner": "octocat", "repo": "hello-world"},
	})
	w.agentRefused("read as "+login, err)
	pause(ctx, 10*time.Millisecond)
}

// vends takes a token out.
func (w *world) vends(ctx context.Context) {
	login := accounts[w.draw(len(accounts))]
	t, err := w.keeper.Exchange(ctx, client.ExchangeRequest{User: w.user.ID, Connection: w.cons[login], AuditContext: "load"})
	w.agentRefused("exchange for "+login, err)
	if err == nil {
		w.book.do(func() { w.book.vends++ })
		w.up.seen(t.Access.Reveal())
	}
	pause(ctx, 10*time.Millisecond)
}

func (w *world) agentRefused(what string, err error) {
	w.t.Helper()
	e, ok := errors.AsType[*client.Error](err)
	if ok && e.Status != 0 && !slices.Contains(transient, e.Reason) && e.Reason != "unknown" && e.Reason != "failed" {
		w.wrong("%s: %v", what, err)
	}
}

// manages gives an agent a grant and takes it away, freezes it and lifts that.
func (w *world) manages(ctx context.Context) {
	g, err := operator[api.Grant](w, http.MethodPost, "v1/admin/grants", api.GrantRequest{
		Agent: w.idle.id, Connection: w.pat, Operations: []string{"github.issues.list"},
	})
	if err != nil {
		w.refused("grant", err)
		pause(ctx, 5*time.Millisecond)
		return
	}
	w.book.do(func() { w.book.grants[g.ID] = "live" })
	f, err := operator[api.Freeze](w, http.MethodPost, "v1/admin/freezes", api.FreezeRequest{Kind: "agent", Target: "idle", Reason: "load"})
	if err != nil {
		w.refused("freeze", err)
	} else {
		w.book.do(func() { w.book.freezes[f.ID] = "thrown" })
		w.book.do(func() { delete(w.book.freezes, f.ID) }) // until its end is acknowledged
		switch err := w.second.unfreeze(ctx, f.ID); {
		case err == nil:
			w.book.do(func() { w.book.freezes[f.ID] = "lifted" })
		case reason(err) == "form_token" || reason(err) == "login_required":
			// Confirming renews the login, and the answer that held it was lost.
			w.refused("log in", w.second.login(ctx))
		default:
			w.refused("unfreeze", err)
		}
	}
	if w.draw(6) > 0 {
		w.book.do(func() { delete(w.book.grants, g.ID) }) // until its end is acknowledged
		if _, err := operator[api.Grant](w, http.MethodDelete, "v1/admin/grants/"+g.ID, nil); err == nil {
			w.book.do(func() { w.book.grants[g.ID] = "revoked" })
		} else {
			w.refused("revoke", err)
		}
	}
	pause(ctx, 30*time.Millisecond)
}

// links connects a spare account or disconnects it, and connects again what
// lost its tokens.
func (w *world) links(ctx context.Context) {
	defer pause(ctx, 30*time.Millisecond)
	all, err := pages[api.Connection](w, "v1/admin/connections")
	if err != nil {
		w.refused("list connections", err)
		return
	}
	live := map[string]string{}
	for _, c := range all {
		if c.Status == "needs_reauth" && slices.Contains(accounts, c.Account) {
			switch err := w.mira.connect(ctx, w.up, c.Account, c.ID); {
			case err == nil:
				w.book.do(func() { w.book.reconnected++ })
				w.up.proven(c.Account)
			case errors.Is(err, errNotConnected):
				w.wrong("connect %s again: %v", c.Account, err)
			default:
				w.refused("connect again", err)
			}
			return
		}
		if c.Status == "active" {
			live[c.Account] = c.ID
		}
	}
	login := spares[w.draw(len(spares))]
	con := live[login]
	w.book.do(func() { delete(w.book.linked, login) }) // not known until it is acknowledged
	if con == "" {
		err = w.mira.connect(ctx, w.up, login, "")
	} else {
		_, err = w.mira.post(ctx, "connections/"+con+"/disconnect", struct{}{})
	}
	switch {
	case err != nil && errors.Is(err, errNotConnected):
		w.wrong("connect %s: %v", login, err)
	case err != nil:
		w.refused("link "+login, err)
	case con == "":
		w.book.do(func() { w.book.linked[login] = true })
	default:
		w.book.do(func() { w.book.ended[con] = true })
	}
}

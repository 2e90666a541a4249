package crash_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
)

// check looks, while nobody else is at work, whether everything that was
// acknowledged is there.
func (w *world) check() {
	w.t.Helper()
	w.checkReplays()
	w.checkHeld(func(in *intent) bool { return !in.settled })
	w.checkHoldings()
	w.checkAccounts()
	if status, err := operator[api.Status](w, http.MethodGet, "v1/admin/status", nil); err != nil {
		w.wrong("status: %v", err)
	} else if status.Events < 20_000 || w.srv.lives%20 == 0 {
		w.checkLog()
	}
}

// checkReplays sends signed requests a second time: a token was answered for
// each at most once.
func (w *world) checkReplays() {
	w.t.Helper()
	all := w.book.takeRequests()
	// Newest first: what was signed is good for a minute only, and a refusal for
	// its age would prove nothing.
	slices.Reverse(all)
	tries := func(r *tokenRequest) (ok bool, why string) {
		res, err := http.DefaultClient.Post(fmt.Sprintf("http://127.0.0.1:%d/oauth/token", w.srv.port), "application/x-www-form-urlencoded", bytes.NewReader(r.body))
		if err != nil {
			w.wrong("replay: %v", err)
			return false, ""
		}
		raw, err := slurp(res)
		if err != nil {
			w.wrong("replay: %v", err)
		}
		var said api.TokenError
		_ = json.Unmarshal(raw, &said) // an answer without reason is not the one we want
		return res.StatusCode == http.StatusOK, said.Reason
	}
	for i, r := range all {
		if i == 16 || time.Since(r.at) > 45*time.Second {
			break
		}
		ok, why := tries(r)
		w.book.do(func() { w.book.replays++ })
		switch {
		case r.used && ok:
			w.book.do(func() { w.book.duplicates++ })
			w.wrong("a signed request that was answered is answered again: %s", names(r.body))
		case r.used && why != "replayed" && !slices.Contains(transient, why): // whether there is a token to be had is looked at first
			w.wrong("a signed request that was answered is refused as %q", why)
		case ok: // its answer had been lost, and it had not been spent: now it is
			if again, _ := tries(r); again {
				w.book.do(func() { w.book.duplicates++ })
				w.wrong("a signed request is answered twice: %s", names(r.body))
			}
		}
	}
}

// names are the members of a token request, without what was signed.
func names(body []byte) string {
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return err.Error()
	}
	return form.Get("grant_type") + " for " + form.Get("connection") + " by " + form.Get("client_id")
}

// checkHeld fetches held actions: each is there, in the state that it was seen
// in or a later one, and as it was decided.
func (w *world) checkHeld(which func(*intent) bool) {
	w.t.Helper()
	for _, in := range w.book.open(func(in *intent) bool { return in.action != "" && in.agent != w.writer && which(in) }) {
		a, err := w.look(in.agent, in.action)
		if err != nil {
			w.book.do(func() { w.book.lost++ })
			w.wrong("%s was acknowledged as %s: %v", in.action, in.saw, err)
			continue
		}
		w.sees(in, a.State)
		bad := false
		switch in.said {
		case "approve":
			bad = !slices.Contains([]api.ActionState{api.StateApproved, api.StateExecuting, api.StateSucceeded, api.StateFailed, api.StateUnknown}, a.State)
		case "deny":
			bad = a.State != api.StateDenied
		default:
			bad = a.State != api.StatePending && in.trying == ""
		}
		if bad {
			w.book.do(func() { w.book.lost++ })
			w.wrong("%s is %s; what was acknowledged is %q", in.action, a.State, in.said)
		}
	}
}

// checkHoldings looks for grants and freezes.
func (w *world) checkHoldings() {
	w.t.Helper()
	grants, err := pages[api.Grant](w, "v1/admin/grants")
	if err != nil {
		w.wrong("list grants: %v", err)
	}
	live := map[string]bool{}
	for _, g := range grants {
		live[g.ID] = g.RevokedAt.IsZero()
	}
	for id, is := range w.book.grants {
		if live[id] != (is == "live") {
			_, there := live[id]
			w.wrong("grant %s is there: %v, live: %v, and was acknowledged as %s; the log has %v", id, there, live[id], is, w.history(id))
		}
	}
	freezes, err := pages[api.Freeze](w, "v1/admin/freezes")
	if err != nil {
		w.wrong("list freezes: %v", err)
	}
	holds := map[string]bool{}
	for _, f := range freezes {
		holds[f.ID] = f.LiftedAt.IsZero()
	}
	for id, is := range w.book.freezes {
		if holds[id] != (is == "thrown") {
			w.wrong("freeze %s holds: %v, and was acknowledged as %s; the log has %v", id, holds[id], is, w.history(id))
		}
	}
}

// history is what the log says of one thing, newest first.
func (w *world) history(id string) []string {
	events, err := pages[api.Event](w, "v1/admin/events?object="+id)
	if err != nil {
		return []string{err.Error()}
	}
	var out []string
	for _, e := range events {
		out = append(out, fmt.Sprintf("%d %s by %s at %s %v", e.Seq, e.Verb, e.Actor, e.At.Format(time.RFC3339Nano), e.Data))
	}
	return out
}

// checkAccounts looks for connections: none is lost, unless a life ended
// between the provider's answer and our disk.
func (w *world) checkAccounts() {
	w.t.Helper()
	status, byLogin := map[string]string{}, map[string]bool{}
	all, err := pages[api.Connection](w, "v1/admin/connections")
	if err != nil {
		w.wrong("list connections: %v", err)
	}
	for _, c := range all {
		status[c.ID] = c.Status
		if c.Status == "active" {
			byLogin[c.Account] = true
		}
	}
	for id := range w.book.ended {
		if status[id] != "revoked" {
			w.wrong("connection %s was ended and is %q", id, status[id])
		}
	}
	for login := range w.book.linked {
		if !byLogin[login] {
			w.wrong("the account %s was connected and is not", login)
		}
	}
	if status[w.pat] != "active" {
		w.wrong("the steady connection is %q", status[w.pat])
	}
	for login, id := range w.cons {
		if slices.Contains(accounts, login) && status[id] != "active" && !(status[id] == "needs_reauth" && w.up.mayNeedOwner(login)) {
			w.wrong("the connection of %s is %q, and its tokens were not lost", login, status[id])
		}
	}
}

// checkLog reads the whole log: it is sound, and complete to the last
// checkpoint outside.
func (w *world) checkLog() {
	w.t.Helper()
	v, err := operator[api.AuditReport](w, http.MethodGet, "v1/admin/audit/verify", nil)
	if err != nil || !v.OK || v.Integrity != nil || v.Completeness != nil {
		w.wrong("the log does not verify: %v %+v", err, v)
	}
}

// checkLedger compares the upstream's ledger with what is claimed, and with
// the intents in the log. It is for the end, when nothing is under way.
func (w *world) checkLedger() {
	w.t.Helper()
	events := w.events()
	ends, intents := map[string]string{}, map[string]time.Time{}
	var intended []time.Time
	for _, e := range events {
		switch e.Verb {
		case "action.executing", "action.retried":
			intended = append(intended, e.At)
			if intents[e.Object].IsZero() {
				intents[e.Object] = e.At
			}
		case "action.succeeded", "action.failed", "action.unknown", "action.denied":
			if was := ends[e.Object]; was != "" {
				w.wrong("%s ended as %s and as %s", e.Object, was, e.Verb)
			}
			ends[e.Object] = strings.TrimPrefix(e.Verb, "action.")
		}
	}
	w.up.mu.Lock()
	defer w.up.mu.Unlock()
	known := map[string]bool{}
	for _, in := range w.book.intents {
		known[in.marker] = true
		done := w.up.writes[in.marker]
		if len(done) > 1 {
			w.book.duplicates++
			w.wrong("%s (%s) was done %d times", in.marker, in.action, len(done))
		}
		w.checkIntent(in, done, ends[in.action], intents[in.action])
	}
	for marker := range w.up.writes {
		if !known[marker] {
			w.wrong("the upstream did %s, which nobody asked for", marker)
		}
	}
	// The answers that were lost name no action. So count: the nth call of the
	// upstream has at least n intents before it.
	sort.Slice(intended, func(i, j int) bool { return intended[i].Before(intended[j]) })
	calls := slices.SortedFunc(slices.Values(w.up.calls), time.Time.Compare)
	for n, at := range calls {
		if n >= len(intended) || intended[n].After(at) {
			w.wrong("call %d of the upstream came before its intent (%d intents in the log)", n+1, len(intended))
			break
		}
	}
}

// checkIntent compares what happened to one intent with what is claimed.
func (w *world) checkIntent(in *intent, done []time.Time, end string, intent time.Time) {
	w.t.Helper()
	state := string(in.saw)
	if in.agent == w.writer && in.action != "" && in.saw == api.StateSucceeded {
		// The answer came at once, and its outcome was recorded before it.
		if end != "succeeded" {
			w.book.lost++
			w.wrong("%s (%s) was answered with %d and the log says %q", in.marker, in.action, in.status, end)
		}
	}
	if in.agent != w.writer && in.action != "" && final(in.saw) && end != state {
		w.wrong("%s is %s, and the log says %q", in.action, state, end)
	}
	switch {
	case in.agent == w.writer && in.ran: // 0 or 1, whatever it was
	case state == "succeeded" && len(done) != 1:
		w.wrong("%s (%s) succeeded and was done %d times", in.marker, in.action, len(done))
	case (state == "failed" || state == "denied" || state == "pending" || state == "approved") && len(done) > 0:
		w.wrong("%s (%s) is %s and was done", in.marker, in.action, state)
	case state == "unknown" || in.ran:
		w.book.unknown++
	}
	if died, ok := w.book.deaths[in.saidIn]; ok && len(done) == 1 && done[0].After(died) {
		w.book.resumed++ // approved in one life, done in a later one
	}
	if in.action != "" && len(done) > 0 && (intent.IsZero() || intent.After(done[0])) {
		w.wrong("%s (%s) was done at %v, and its intent is of %v", in.marker, in.action, done[0], intent)
	}
}

// events reads the whole log, newest first.
func (w *world) events() []api.Event {
	w.t.Helper()
	return must[[]api.Event](w)(pages[api.Event](w, "v1/admin/events?limit=1000"))
}

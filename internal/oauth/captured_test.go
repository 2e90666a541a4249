package oauth_test

import (
	"testing"

	"github.com/valetkey/valetkey/internal/audit"
)

// Whoever captured a signed token that is good for nothing any more can present
// it as often as they like: that does not write the log full. The same refusals
// of what was signed afresh are one event each, for nobody else can make them.
func TestCapturedTokensAreRecordedAtARate(t *testing.T) {
	w := newWorld(t)
	const times = 100
	stale := []any{"iat", int64(1_700_000_000), "nbf", nil, "exp", int64(1_700_000_060)}
	flood := func(name string, f form, code string, status int) {
		t.Helper()
		since := w.mark()
		w.still.Add(1) // all of it comes from one address, and not from the one before
		for range times {
			if a := w.send(f); a.status != status || a.TokenError.Error != code {
				t.Fatalf("%s: %d %s", name, a.status, a.body)
			}
		}
		events := w.refusals(since)
		// Ten a second, and this takes less than a few of them.
		if len(events) == 0 || len(events) > times/2 {
			t.Errorf("%s: %d events of %d refusals", name, len(events), times)
		}
		for _, e := range events {
			if e.Actor != "agent:"+string(w.one.ID) {
				t.Errorf("%s: recorded of %s", name, e.Actor)
			}
		}
	}
	used := w.one.Assertion(assertionClaims("agent-1"))
	if a := w.send(credentials(used)); a.status != 200 {
		t.Fatalf("%d %s", a.status, a.body)
	}
	flood("an expired assertion", credentials(w.one.Assertion(assertionClaims("agent-1").With(stale...))), "invalid_client", 401)
	flood("an assertion for somebody else", credentials(w.one.Assertion(assertionClaims("agent-1").With("aud", "https://elsewhere.test/"))), "invalid_client", 401)
	flood("an expired subject token", w.ask(w.one).with("subject_token", w.one.Subject(w.claims(w.one).With(stale...))), "invalid_request", 400)
	flood("a used assertion", credentials(used), "invalid_client", 401)
	w.far.Store(true)
	flood("an assertion sent from elsewhere", credentials(w.one.Assertion(assertionClaims("agent-1"))), "access_denied", 403)

	since := w.mark()
	for range times {
		w.send(credentials(w.one.Assertion(assertionClaims("agent-1"))))
	}
	if events := w.refusals(since); len(events) != times {
		t.Errorf("%d events of %d refusals that were signed afresh", len(events), times)
	}
}

// refusals are the refusals that the log has since a mark.
func (w *world) refusals(since int64) []audit.Event {
	w.t.Helper()
	var out []audit.Event
	for _, e := range w.events(since) {
		if e.Verb == "token.refused" || e.Verb == "exchange.refused" {
			out = append(out, e)
		}
	}
	return out
}

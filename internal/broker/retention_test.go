package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/store"
)

// What is deleted cannot be read again: when the last payload of a day is gone
// its key goes too, and a ciphertext that somebody kept is noise. A day of which
// anything is still kept keeps its key.
func TestDeletedPayloadsAreShredded(t *testing.T) {
	s := newScene(t)
	submit := func(text string, at time.Time) broker.Outcome {
		t.Helper()
		out, err := s.App.Broker.Submit(t.Context(), s.caller(), comment(text), at)
		if err != nil {
			t.Fatal(err)
		}
		return out
	}
	sealed := func(out broker.Outcome) []byte {
		t.Helper()
		b, err := s.App.DB.Actions().Payload(t.Context(), s.mira.Org, out.Action.ID, "request")
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	opens := func(out broker.Outcome, b []byte) error {
		a := out.Action
		_, err := s.App.Keys.OpenBytes(t.Context(), seal.Place{Key: seal.PayloadKey(a.Org, a.CreatedAt), Org: a.Org, Table: "payloads", Row: string(a.ID), Column: "request"}, b)
		return err
	}
	now := time.Now()
	// Rules may give people a week to think.
	s.rules(`@id("slow") @reason("there is time") @expires("200h") forbid (principal, action, resource) when { context.operation == Operation::"github.issues.create" } unless { context.assurance >= 1 };`)
	old := submit("of three days ago", now.Add(-72*time.Hour))
	slow, err := s.App.Broker.Submit(t.Context(), s.caller(), broker.Ask{Connection: "github", Operation: "github.issues.create", Params: map[string]any{"owner": "octo", "repo": "api", "title": "slow"}}, now.Add(-120*time.Hour))
	if err != nil || slow.Approval.ExpiresAt.Before(now.Add(24*time.Hour)) {
		t.Fatal(slow.Approval, err)
	}
	fresh := submit("of today", now)
	oldSealed, slowSealed, freshSealed := sealed(old), sealed(slow), sealed(fresh)
	s.ends(old, action.Expired, "expired") // the loop finds it at once
	for out, b := range map[*broker.Outcome][]byte{&old: oldSealed, &slow: slowSealed, &fresh: freshSealed} {
		if err := opens(*out, b); err != nil {
			t.Fatal(err)
		}
	}

	// Ended is not over: for a day its agent may still want the answer.
	s.App.Broker.Tidy(t.Context(), now)
	if err := opens(old, oldSealed); err != nil {
		t.Errorf("shredded before its time: %v", err)
	}
	s.App.Broker.Tidy(t.Context(), time.Now().Add(broker.PayloadKept+time.Minute))
	if err := opens(old, oldSealed); !errors.Is(err, seal.ErrShredded) {
		t.Errorf("a kept copy of what was deleted opens: %v", err)
	}
	if _, err := s.App.Broker.Request(t.Context(), old.Action); fault.From(err).Reason != "payload_gone" {
		t.Errorf("what was deleted is answered with %v", err)
	}
	if err := opens(slow, slowSealed); err != nil {
		t.Errorf("what still waits was shredded: %v", err)
	}
	if err := opens(fresh, freshSealed); err != nil {
		t.Errorf("today was shredded: %v", err)
	}
	recorded, err := s.App.DB.Log().Select(t.Context(), store.Query{Org: s.mira.Org, Verb: "payloads.shredded", Limit: 10})
	if err != nil || len(recorded) != 1 || recorded[0].Data["day"] != old.Action.CreatedAt.UTC().Format(time.DateOnly) {
		t.Errorf("recorded %v (%v), want the day of what was shredded", recorded, err)
	}
	s.Restart()
	if err := opens(old, oldSealed); !errors.Is(err, seal.ErrShredded) {
		t.Errorf("after a restart: %v", err)
	}
	// What waits is executed all the same.
	s.approve(slow)
	s.ends(slow, action.Succeeded, "")
}

// What another replica shredded is forgotten here as soon as the log tells of it.
func TestShreddedElsewhereIsForgotten(t *testing.T) {
	s := newScene(t)
	old := time.Now().Add(-240 * time.Hour)
	day := seal.Place{Key: seal.PayloadKey(s.mira.Org, old), Org: s.mira.Org, Table: "payloads", Row: string(id.NewAction()), Column: "request"}
	con := seal.Place{Key: seal.ConnectionKey(id.NewConnection()), Org: s.mira.Org, Table: "connections", Row: "con", Column: "access"}
	sealed := map[seal.Place][]byte{}
	for _, at := range []seal.Place{day, con} {
		var err error
		if sealed[at], err = s.App.Keys.SealBytes(t.Context(), at, []byte("x")); err != nil {
			t.Fatal(err)
		}
	}
	gone := func(at seal.Place) bool {
		_, err := s.App.Keys.OpenBytes(t.Context(), at, sealed[at])
		return errors.Is(err, seal.ErrShredded)
	}
	// This is what the store of another replica does.
	event := func(verb, object string, data map[string]string) []audit.Event {
		return []audit.Event{{At: time.Now(), Org: s.mira.Org, Verb: verb, Actor: "system", Object: object, Data: data}}
	}
	e := event("payloads.shredded", "", map[string]string{"day": old.UTC().Format(time.DateOnly)})
	if err := s.App.DB.Actions().EndDay(t.Context(), s.mira.Org, old, e); err != nil {
		t.Fatal(err)
	}
	if err := s.App.DB.Keys().Delete(t.Context(), string(con.Key)); err != nil {
		t.Fatal(err)
	}
	if err := s.App.DB.Flows().Record(t.Context(), event("connection.ended", string(con.Key)[len("connection/"):], nil)); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); !gone(day) || !gone(con); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("still opens: of the day %v, of the connection %v", !gone(day), !gone(con))
		}
	}
}

package storetest

import (
	"bytes"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/store"
)

// syncBuffer is a log that several goroutines write.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

// take returns what was written since the last time.
func (s *syncBuffer) take() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.b.Reset()
	return s.b.String()
}

// testForged changes every column of every row that carries authority, one at
// a time, as somebody with the database and without the root key would.
func testForged(t *testing.T, d Database) {
	var log syncBuffer
	db, raw, ctx := d.OpenLogged(t, &log), d.Raw(t), t.Context()
	w := newWorld(db)
	for _, m := range w.mutations() {
		if m.name == "Connections.End" {
			break // leaves nothing live to read
		}
		must(t, m.run(ctx, []audit.Event{event("test.made", "it")}))
	}
	h, err := db.Actions().Held(ctx, org, w.held.ID)
	must(t, err)
	for _, s := range w.signed(db, h.Approval.ID) {
		if !s.once {
			if err := s.read(ctx); err != nil {
				t.Fatalf("%s before anything was forged: %v", s.table, err)
			}
		}
		log.take()
		row := s.row(t, raw)
		if !slices.Contains(row.columns, "mac") {
			t.Errorf("%s carries authority and has no mac", s.table)
		}
		for i, column := range row.columns {
			for _, forged := range forgeries(row.values[i]) {
				update := func(to any, where any) {
					t.Helper()
					// The column may itself be the key by which the row is found.
					args := []any{to, s.key}
					if column == s.by {
						args[1] = where
					}
					res, err := raw.ExecContext(ctx, fmt.Sprintf("update %s set %s = $1 where %s = $2", s.table, column, s.by), args...)
					must(t, err)
					if n, err := res.RowsAffected(); n != 1 || err != nil {
						t.Fatalf("%s.%s: %d rows changed, %v", s.table, column, n, err)
					}
				}
				update(forged, row.values[i])
				err := s.read(ctx)
				said := log.take()
				switch {
				case s.table == "flows" && column == "state":
					// Not found, and the read below takes that for the answer.
				case err == nil:
					t.Errorf("%s.%s changed from %q to %q, and the row was read", s.table, column, row.values[i], forged)
				case slices.Contains(s.found, column):
					// It is not found at all; if it is, it must be refused.
				case fault.From(err).Kind != fault.Internal:
					t.Errorf("%s.%s: %v, want an internal error", s.table, column, err)
				case strings.Count(said, "row is not authentic") != 1 || !strings.Contains(said, `"table":"`+s.table+`"`) || !strings.Contains(said, `"level":"ERROR"`):
					t.Errorf("%s.%s: the operator was told:\n%s", s.table, column, said)
				}
				update(row.values[i], forged)
			}
		}
		if err := s.read(ctx); err != nil {
			t.Errorf("%s after everything was put back: %v", s.table, err)
		}
	}
	testOtherKey(t, d)
}

// testOtherKey: rows made under another root key are as forged as any.
func testOtherKey(t *testing.T, d Database) {
	if d.Engine == "sqlite" {
		return // one process owns the file; the row tags are tested above
	}
	db, other := d.Open(t), d.Open(t)
	other.Authenticate(liar{})
	w := newWorld(db)
	w.user.Name, w.user.Handle = "forged", []byte("forged")
	must(t, other.Users().CreateUser(t.Context(), w.user, nil, nil))
	if _, err := db.Users().User(t.Context(), org, w.user.ID); err == nil {
		t.Error("a row with another's tag was read")
	}
}

// liar signs everything, without a key.
type liar struct{}

func (liar) Sum(string, ...[]byte) []byte          { return make([]byte, 37) }
func (liar) Verify([]byte, string, ...[]byte) bool { return true }

// forgeries are values of the same type, and spellings of the same value.
func forgeries(v any) []any {
	switch v := v.(type) {
	case int64:
		out := []any{v + 1}
		if v == 1 {
			out = append(out, int64(2)) // as true as 1 is
		}
		return out
	case []byte:
		if len(v) == 0 {
			return []any{[]byte{0}}
		}
		b := bytes.Clone(v)
		b[len(b)-1] ^= 1
		return []any{b, b[:len(b)-1]}
	case string:
		return []any{v + "x", v + " ", strings.ToUpper(v) + "x"}
	}
	panic(fmt.Sprintf("storetest: a column of %T", v))
}

// signed is one row that carries authority, and how it is read.
type signed struct {
	table string
	by    string // the column that tells the row from others
	key   any
	found []string // the columns by which it is looked up
	read  func(context.Context) error
	once  bool // reading it uses it up
}

func (s signed) row(t testing.TB, raw *sql.DB) row {
	t.Helper()
	for _, r := range allRows(t, raw, s.table) {
		if i := slices.Index(r.columns, s.by); fmt.Sprint(r.values[i]) == fmt.Sprint(s.key) {
			for i, v := range r.values {
				if b, ok := v.([]byte); ok {
					r.values[i] = append([]byte{}, b...) // empty, but not null
				}
			}
			return r
		}
	}
	t.Fatalf("no row %v in %s", s.key, s.table)
	return row{}
}

func (w *world) signed(db *store.DB, ap any) []signed {
	users, agents := db.Users(), db.Agents()
	only := func(_ any, err error) error { return err }
	keyed := []string{"org", "id"}
	return []signed{
		{table: "ceremonies", by: "hash", key: w.ceremony.Hash, found: []string{"hash"}, once: true, read: func(ctx context.Context) error {
			return only(users.Ceremonies().Take(ctx, w.ceremony.Hash, now))
		}},
		{table: "users", by: "id", key: string(w.user.ID), found: keyed, read: func(ctx context.Context) error { return only(users.User(ctx, org, w.user.ID)) }},
		{table: "links", by: "hash", key: w.link.Hash, found: []string{"hash"}, read: func(ctx context.Context) error { return only(users.Passkeys().Link(ctx, w.link.Hash)) }},
		{table: "passkeys", by: "id", key: string(w.passkey.ID), found: []string{"credential_id"}, read: func(ctx context.Context) error {
			return only(users.Passkeys().ByCredential(ctx, w.passkey.CredentialID))
		}},
		{table: "sessions", by: "id", key: string(w.session.ID), found: []string{"hash"}, read: func(ctx context.Context) error {
			_, _, err := users.Sessions().ByHash(ctx, w.session.Hash)
			return err
		}},
		{table: "devices", by: "hash", key: w.device.Hash, found: []string{"hash"}, read: func(ctx context.Context) error { return only(users.Devices().ByHash(ctx, w.device.Hash)) }},
		{table: "agents", by: "id", key: string(w.agent.ID), found: keyed, read: func(ctx context.Context) error { return only(agents.Agent(ctx, org, w.agent.ID)) }},
		{table: "agent_keys", by: "id", key: string(w.key.ID), found: []string{"org", "agent"}, read: func(ctx context.Context) error {
			ks, err := agents.Keys().OfAgent(ctx, org, w.agent.ID)
			if err == nil && len(ks) != 2 {
				err = fmt.Errorf("%d keys", len(ks))
			}
			return err
		}},
		{table: "agent_tokens", by: "id", key: string(w.token.ID), found: []string{"hash"}, read: func(ctx context.Context) error {
			_, _, _, err := agents.Tokens().ByHash(ctx, w.token.Hash)
			return err
		}},
		{table: "registrations", by: "provider", key: w.registration.Provider, found: []string{"org", "provider"}, read: func(ctx context.Context) error {
			return only(db.Registrations().Registration(ctx, org, w.registration.Provider))
		}},
		{table: "connections", by: "id", key: string(w.connection.ID), found: keyed, read: func(ctx context.Context) error {
			return only(db.Connections().Connection(ctx, org, w.connection.ID))
		}},
		{table: "flows", by: "id", key: string(w.flow.ID), found: []string{"state"}, read: func(ctx context.Context) error {
			// With a wrong session nothing is used up, and an authentic row says so.
			_, err := db.Flows().TakeFlow(ctx, w.flow.State, "ses_other", w.flow.Provider, now)
			if fault.From(err).Reason == "connect_not_started_here" {
				return nil
			}
			return err
		}},
		{table: "grants", by: "id", key: string(w.grant.ID), found: keyed, read: func(ctx context.Context) error { return only(db.Grants().Grant(ctx, org, w.grant.ID)) }},
		{table: "freezes", by: "id", key: string(w.freeze.ID), found: []string{"org", "lifted_at"}, read: func(ctx context.Context) error {
			fs, err := db.Freezes().ActiveFreezes(ctx, org)
			if err == nil && len(fs) != 1 {
				err = fmt.Errorf("%d freezes", len(fs))
			}
			return err
		}},
		{table: "policies", by: "id", key: string(w.policy.ID), found: []string{"org"}, read: func(ctx context.Context) error {
			ps, err := db.Policies().Policies(ctx, org)
			if err == nil && len(ps) != 1 {
				err = fmt.Errorf("%d policies", len(ps))
			}
			return err
		}},
		{table: "proposals", by: "id", key: string(w.proposal.ID), found: keyed, read: func(ctx context.Context) error {
			return only(db.Proposals().Proposal(ctx, org, w.proposal.ID))
		}},
		{table: "actions", by: "id", key: string(w.held.ID), found: keyed, read: func(ctx context.Context) error { return only(db.Actions().Held(ctx, org, w.held.ID)) }},
		{table: "approval_votes", by: "user_id", key: string(w.user.ID), found: []string{"org", "approval"}, read: func(ctx context.Context) error {
			h, err := db.Actions().ByApproval(ctx, org, w.approval.ID)
			if err == nil && len(h.Approval.Votes) != 1 {
				err = fmt.Errorf("%d votes", len(h.Approval.Votes))
			}
			return err
		}},
		{table: "people_groups", by: "id", key: string(w.group.ID), found: []string{"org", "name"}, read: func(ctx context.Context) error { return only(users.Groups().Group(ctx, org, w.group.Name)) }},
		{table: "reliefs", by: "id", key: string(w.relief.ID), found: []string{"org", "agent", "expires_at"}, read: func(ctx context.Context) error {
			rs, err := db.Reliefs().Reliefs(ctx, org, w.agent.ID, now)
			if err == nil && len(rs) != 1 {
				err = fmt.Errorf("%d reliefs", len(rs))
			}
			return err
		}},
		{table: "approvals", by: "id", key: fmt.Sprint(ap), found: keyed, read: func(ctx context.Context) error { return only(db.Actions().Held(ctx, org, w.held.ID)) }},
	}
}

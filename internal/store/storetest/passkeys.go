package storetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
)

// testPasskeyPutBack: an authentic passkey of yesterday, put back after it was
// removed, is found by nobody.
func testPasskeyPutBack(t *testing.T, d Database) {
	var log syncBuffer
	db, raw, ctx := d.OpenLogged(t, &log), d.Raw(t), t.Context()
	w := newWorld(db)
	keys := db.Users().Passkeys()
	other := *w.passkey
	other.ID, other.CredentialID, other.Version = id.NewPasskey(), []byte("another"), 1
	for _, k := range []*user.Passkey{w.passkey, &other} {
		must(t, keys.Enrol(ctx, k, nil, now, []audit.Event{event("passkey.added", k.ID)}))
	}
	sql := func(text string) {
		t.Helper()
		_, err := raw.ExecContext(ctx, text)
		must(t, err)
	}
	sql("create table kept_passkeys as select * from passkeys")
	remove := func(seen *[]*user.Passkey) error {
		return keys.RemovePasskey(ctx, org, w.user.ID, w.passkey.ID, now, func(all []*user.Passkey) ([]audit.Event, error) {
			*seen = all
			if !slices.ContainsFunc(all, func(k *user.Passkey) bool { return k.ID == w.passkey.ID }) {
				return nil, user.ErrPasskey
			}
			return []audit.Event{event("passkey.removed", w.passkey.ID)}, nil
		}, func(*user.Session) bool { return false })
	}
	gone := func() {
		t.Helper()
		_, err := keys.ByCredential(ctx, w.passkey.CredentialID)
		refused(t, "ByCredential", err, user.ErrPasskey)
		left, err := keys.OfUser(ctx, org, w.user.ID)
		same(t, left, []*user.Passkey{&other}, err)
	}

	var seen []*user.Passkey
	must(t, remove(&seen))
	log.take()
	gone()
	if said := log.take(); said != "" {
		t.Errorf("nothing was put back, and the operator was told:\n%s", said)
	}
	sql("delete from passkeys")
	sql("insert into passkeys select * from kept_passkeys")
	gone()
	if said := log.take(); !strings.Contains(said, string(w.passkey.ID)) || !strings.Contains(said, "was put back") || !strings.Contains(said, `"level":"ERROR"`) {
		t.Errorf("the operator was not told:\n%s", said)
	}
	// It is nothing that another removal could leave behind.
	refused(t, "removing it again", remove(&seen), user.ErrPasskey)
	same(t, seen, []*user.Passkey{&other}, nil)
	if p, err := keys.ByCredential(ctx, other.CredentialID); err != nil || p.ID != other.ID {
		t.Errorf("another passkey: %+v, %v", p, err)
	}
}

// raceLockOut: whoever comes in while their passkey is removed, or while they
// are suspended, is out afterwards, whichever was first.
func raceLockOut(t *testing.T, dbs []*store.DB) {
	t.Helper()
	ctx, db := t.Context(), dbs[0]
	for name, lockOut := range map[string]func(context.Context, *user.Passkey) error{
		"a removal": func(ctx context.Context, k *user.Passkey) error {
			return db.Users().Passkeys().RemovePasskey(ctx, org, k.User, k.ID, now,
				func([]*user.Passkey) ([]audit.Event, error) {
					return []audit.Event{event("passkey.removed", k.ID)}, nil
				},
				func(s *user.Session) bool { return s.PasskeyRef == k.ID })
		},
		"a suspension": func(ctx context.Context, k *user.Passkey) error {
			return db.Users().UpdateUser(ctx, org, k.User, func(u *user.User) ([]audit.Event, error) {
				u.Status = user.Suspended
				return []audit.Event{event("user.suspended", u.ID)}, nil
			})
		},
	} {
		for round := range 10 {
			w := newWorld(db)
			w.user.Name, w.user.Handle, w.user.Status = fmt.Sprint(name, round), fmt.Append(nil, name, round), user.Active
			w.passkey.CredentialID = fmt.Append(nil, name, round)
			must(t, db.Users().CreateUser(ctx, w.user, nil, nil))
			must(t, db.Users().Passkeys().Enrol(ctx, w.passkey, nil, now, nil))
			device := func(i int, s user.DeviceStatus) *user.Device {
				v := *w.device
				v.Hash, v.UserCode, v.Status = fmt.Append(nil, name, round, i), fmt.Sprint(name, round, i), s
				must(t, db.Users().Devices().CreateDevice(ctx, &v, nil))
				return &v
			}
			approved, pending := device(0, user.DeviceApproved), device(1, user.DevicePending)
			session := func(i int) *user.Session {
				v := *w.session
				v.ID, v.Hash, v.RevokedAt = id.NewSession(), fmt.Append(nil, name, round, i), time.Time{}
				return &v
			}
			coming := []func(db *store.DB) error{
				func(db *store.DB) error {
					return db.Users().Sessions().CreateSession(ctx, session(0), []audit.Event{event("session.opened", "it")})
				},
				func(db *store.DB) error {
					return db.Users().Devices().Redeem(ctx, approved.Hash, func(d *user.Device) ([]audit.Event, error) {
						if d.Status != user.DeviceApproved {
							return nil, user.ErrDenied
						}
						d.Status = user.DeviceUsed
						return nil, nil
					}, session(1), []audit.Event{event("session.opened", "it")})
				},
				func(db *store.DB) error {
					return db.Users().Devices().UpdateDevice(ctx, pending.Hash, func(d *user.Device) ([]audit.Event, error) {
						d.Status = user.DeviceApproved
						return []audit.Event{event("device.approved", "it")}, nil
					})
				},
			}
			got := make(chan error, len(coming)+1)
			for i, come := range coming {
				go func() { got <- come(dbs[(i+1)%len(dbs)]) }()
			}
			go func() { got <- lockOut(ctx, w.passkey) }()
			for range len(coming) + 1 {
				if err := <-got; err != nil && !errors.Is(err, user.ErrPasskey) && !errors.Is(err, user.ErrSuspended) && !errors.Is(err, user.ErrDenied) {
					t.Errorf("%s: %v", name, err)
				}
			}
			open, err := db.Users().Sessions().OfUser(ctx, org, w.user.ID)
			same(t, open, []*user.Session(nil), err)
			for _, d := range []*user.Device{approved, pending} {
				if d, err := db.Users().Devices().ByHash(ctx, d.Hash); err != nil || d.Status == user.DeviceApproved {
					t.Errorf("%s: a terminal waits for its session: %+v, %v", name, d, err)
				}
			}
		}
	}
}

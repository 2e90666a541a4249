package user

import (
	"context"
	"crypto/rand"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// checkName accepts what can be shown as it is: no control, no invisible and
// no direction-changing characters, which unicode.IsPrint excludes.
func checkName(name string) error {
	n := utf8.RuneCountInString(name)
	if n < 1 || n > 63 || !utf8.ValidString(name) || strings.TrimSpace(name) != name {
		return errBadName
	}
	for _, r := range name {
		if !unicode.IsPrint(r) {
			return errBadName
		}
	}
	// A name must not read as anything else that may stand where a person is
	// named: a role, an id, a word of the rules.
	if strings.Contains(name, ":") || strings.HasPrefix(strings.ToLower(name), "usr_") || strings.EqualFold(name, "connection-owner") {
		return errBadName
	}
	return nil
}

// CreateFirst makes the first person, an owner, when there is nobody yet.
func (s *Service) CreateFirst(ctx context.Context, name string, now time.Time) (*User, secret.Text, error) {
	have, err := s.Store.Users(ctx, s.Org)
	if err != nil {
		return nil, secret.Text{}, err
	}
	if len(have) > 0 {
		return nil, secret.Text{}, errNotFirst
	}
	return s.create(ctx, name, Owner, now, func(verb, object string, subject id.User, data map[string]string) audit.Event {
		return audit.Event{At: now, Org: s.Org, Verb: verb, Actor: "system", Object: object, Subject: string(subject), Data: data}
	})
}

// Create makes a person and the link by which they enrol their first passkey.
func (s *Service) Create(ctx context.Context, by Principal, name string, role Role, now time.Time) (*User, secret.Text, error) {
	if err := s.mayChange(by, role, now); err != nil {
		return nil, secret.Text{}, err
	}
	return s.create(ctx, name, role, now, func(verb, object string, subject id.User, data map[string]string) audit.Event {
		return by.Event(verb, object, subject, now, data)
	})
}

type eventOf func(verb, object string, subject id.User, data map[string]string) audit.Event

func (s *Service) create(ctx context.Context, name string, role Role, now time.Time, log eventOf) (*User, secret.Text, error) {
	if err := checkName(name); err != nil {
		return nil, secret.Text{}, err
	}
	if !role.Valid() {
		return nil, secret.Text{}, errBadRole
	}
	u := &User{
		Org: s.Org, ID: id.NewUser(), Name: name, Role: role, Status: Active,
		Handle: make([]byte, 32), CreatedAt: now, Version: 1,
	}
	rand.Read(u.Handle)
	l, text := newLink(u, now)
	err := s.Store.CreateUser(ctx, u, l, []audit.Event{
		log("user.created", string(u.ID), u.ID, map[string]string{"name": name, "role": string(role)}),
		log("user.link_created", string(u.ID), u.ID, map[string]string{"expires": l.ExpiresAt.UTC().Format(time.RFC3339)}),
	})
	if reason(err) == "exists" {
		return nil, secret.Text{}, errNameTaken
	}
	if err != nil {
		return nil, secret.Text{}, err
	}
	return u, text, nil
}

func newLink(u *User, now time.Time) (*Link, secret.Text) {
	text := secret.Random(32)
	h := text.Hash()
	return &Link{Org: u.Org, Hash: h[:], User: u.ID, CreatedAt: now, ExpiresAt: now.Add(LinkTTL), Version: 1}, text
}

// NewLink makes another enrolment link: for somebody whose first one expired,
// or who lost every device. A passkey that comes this way to somebody who had
// one decides nothing critical for a day; see [Service.BeginStepUp].
func (s *Service) NewLink(ctx context.Context, by Principal, who id.User, now time.Time) (secret.Text, error) {
	// Who may not manage learns nothing about who is here.
	if err := by.MayManage(); err != nil {
		return secret.Text{}, err
	}
	u, err := s.Store.User(ctx, s.Org, who)
	if err != nil {
		return secret.Text{}, err
	}
	// Whoever holds the link becomes that person, so it takes their rank.
	if err := s.mayChange(by, u.Role, now); err != nil {
		return secret.Text{}, err
	}
	if u.Status != Active {
		return secret.Text{}, ErrSuspended
	}
	l, text := newLink(u, now)
	err = s.Store.Passkeys().CreateLink(ctx, l, []audit.Event{
		by.Event("user.link_created", string(u.ID), u.ID, now, map[string]string{"expires": l.ExpiresAt.UTC().Format(time.RFC3339)}),
	})
	if err != nil {
		return secret.Text{}, err
	}
	return text, nil
}

// mayChange says whether by may make, let in or suspend a person of this role:
// a manager who has just touched the passkey, and for an owner only an owner,
// or an admin could become one.
func (s *Service) mayChange(by Principal, role Role, now time.Time) error {
	if err := by.MayManage(); err != nil {
		return err
	}
	if err := by.Fresh(now); err != nil {
		return err
	}
	if role == Owner && !by.Operator && by.Role != Owner {
		return errOwnerOnly
	}
	return nil
}

// Rename changes how others see a person: their own name, or a manager's
// choice.
func (s *Service) Rename(ctx context.Context, by Principal, who id.User, name string, now time.Time) error {
	if err := checkName(name); err != nil {
		return err
	}
	if by.User != who || by.Kind != Browser {
		u, err := s.Store.User(ctx, s.Org, who)
		if err != nil {
			return err
		}
		if err := s.mayChange(by, u.Role, now); err != nil {
			return err
		}
	}
	err := s.Store.UpdateUser(ctx, s.Org, who, func(u *User) ([]audit.Event, error) {
		if u.Name == name {
			return nil, nil
		}
		was := u.Name
		u.Name = name
		return []audit.Event{by.Event("user.renamed", string(u.ID), u.ID, now, map[string]string{"from": was, "to": name})}, nil
	})
	if reason(err) == "exists" {
		return errNameTaken
	}
	return err
}

// SetStatus suspends a person or lets them back in. Suspending takes effect at
// once: no session of theirs is answered any more.
func (s *Service) SetStatus(ctx context.Context, by Principal, who id.User, to Status, now time.Time) error {
	if to != Active && to != Suspended {
		return fault.New(fault.Invalid, "bad_status", "The status is active or suspended.")
	}
	// Who may not manage learns nothing about who is here.
	if err := by.MayManage(); err != nil {
		return err
	}
	verb := "user.suspended"
	if to == Active {
		verb = "user.resumed"
	}
	return s.Store.UpdateAmong(ctx, s.Org, who, func(u *User, all []*User) ([]audit.Event, error) {
		if err := s.mayChange(by, u.Role, now); err != nil {
			return nil, err
		}
		if to == Suspended && lastOwner(u, all) {
			return nil, errLastOwner
		}
		if u.Status == to {
			return nil, errNoChange
		}
		u.Status = to
		return []audit.Event{by.Event(verb, string(u.ID), u.ID, now, nil)}, nil
	})
}

// AnyPasskey reports whether anybody has a passkey yet.
func (s *Service) AnyPasskey(ctx context.Context) (bool, error) {
	if s.anybody.Load() {
		return true, nil
	}
	any, err := s.Store.Passkeys().Any(ctx, s.Org)
	if err != nil {
		return false, err
	}
	if any {
		s.anybody.Store(true)
	}
	return any, nil
}

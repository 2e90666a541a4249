package user

import (
	"context"
	"encoding/json"
	"net/url"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
)

var errBadKeyName = fault.New(fault.Invalid, "bad_name", "A passkey's name has 1 to 63 printable characters.")

// RenamePasskey changes what p calls one of p's passkeys. It takes a fresh
// touch: by its name its person will know which one is not theirs.
func (s *Service) RenamePasskey(ctx context.Context, p Principal, which id.Passkey, name string, now time.Time) error {
	if p.User == "" || p.Org != s.Org {
		return ErrLogin
	}
	if name = clean(name, 63); name == "" {
		return errBadKeyName
	}
	if err := p.Fresh(now); err != nil {
		return err
	}
	return s.Store.Passkeys().UpdatePasskey(ctx, s.Org, which, func(k *Passkey) ([]audit.Event, error) {
		if k.User != p.User {
			return nil, ErrPasskey // somebody else's looks like one that is not there
		}
		if k.Name == name {
			return nil, nil
		}
		was := k.Name
		k.Name = name
		return []audit.Event{p.Event("passkey.renamed", string(k.ID), k.User, now, map[string]string{"from": was, "to": name})}, nil
	})
}

// EndSession ends one of p's own sessions. Somebody else's looks like one that
// is not there.
func (s *Service) EndSession(ctx context.Context, p Principal, which id.Session, now time.Time) error {
	if p.User == "" {
		return ErrLogin
	}
	return s.Store.Sessions().UpdateSession(ctx, s.Org, which, func(v *Session) ([]audit.Event, error) {
		if v.User != p.User || !v.Live(now) {
			return nil, ErrSession
		}
		v.RevokedAt = now
		return []audit.Event{p.Event("session.closed", string(v.ID), v.User, now, map[string]string{"why": "revoked"})}, nil
	})
}

// EndOtherSessions ends every session of p but the one that p is in, and
// reports how many. It is the safe direction: a stolen cookie could only end
// what it competes with.
func (s *Service) EndOtherSessions(ctx context.Context, p Principal, now time.Time) (int, error) {
	if p.User == "" {
		return 0, ErrLogin
	}
	return s.Store.Sessions().EndOthers(ctx, s.Org, p.User, p.Session, now, func(v *Session) audit.Event {
		return p.Event("session.closed", string(v.ID), v.User, now, map[string]string{"why": "others_ended"})
	})
}

// Host is the host name that k works on, as its browser said when it was made;
// "" where that is not known.
func (k *Passkey) Host() string {
	rec, err := k.record()
	if err != nil {
		return ""
	}
	var client struct {
		Origin string `json:"origin"`
	}
	if json.Unmarshal(rec.Attestation.ClientDataJSON, &client) != nil {
		return ""
	}
	u, err := url.Parse(client.Origin)
	if err != nil {
		return ""
	}
	return u.Hostname()
}

// worksOn reports whether k was made for the relying party w, as far as anybody
// can tell: its page's host name was compared with the RP ID when it was made.
func (k *Passkey) worksOn(w *WebAuthn) bool {
	host := k.Host()
	return host == "" || host == w.ID
}

// Stranded lists the active people whose passkeys were all made for another
// host name than this server's, with that name, and how many of all passkeys
// those are. A passkey works on one host name only.
func (s *Service) Stranded(ctx context.Context) (people []*User, elsewhere map[string]int, err error) {
	elsewhere = map[string]int{}
	all, err := s.Store.Users(ctx, s.Org)
	if err != nil {
		return nil, nil, err
	}
	for _, u := range all {
		keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
		if err != nil {
			return nil, nil, err
		}
		here := 0
		for _, k := range keys {
			if k.worksOn(s.WebAuthn) {
				here++
			} else {
				elsewhere[k.Host()]++
			}
		}
		if u.Status == Active && here == 0 && len(keys) > 0 {
			people = append(people, u)
		}
	}
	return people, elsewhere, nil
}

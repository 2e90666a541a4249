package httpapi

import (
	"context"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// errNobody refuses the operator, who is no person, what only a person has.
var errNobody = fault.New(fault.Forbidden, "person_required", "The operator's socket is nobody: log in with 'valetkey login' for what is yours.")

// own is p, who has to be a person.
func own(p user.Principal) error {
	if p.User == "" {
		return errNobody
	}
	return nil
}

// ownPasskeys is GET /v1/me/passkeys.
func (s *Server) ownPasskeys(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Passkey], error) {
	page := list[api.Passkey](nil)
	if err := own(p); err != nil {
		return page, err
	}
	keys, err := s.Users.Keys(ctx, p)
	if err != nil {
		return page, err
	}
	may, err := s.Users.Settled(ctx, p.User, keys, c.now)
	for _, k := range keys {
		page.Items = append(page.Items, passkeyView(k, !may[k.ID]))
	}
	return page, err
}

func passkeyView(k *user.Passkey, rests bool) api.Passkey {
	return api.Passkey{ID: string(k.ID), Name: k.Name, CreatedAt: moment(k.CreatedAt), UsedAt: moment(k.UsedAt), Rests: rests, Host: k.Host()}
}

// renamePasskey is PATCH /v1/me/passkeys/{id}.
func (s *Server) renamePasskey(ctx context.Context, p user.Principal, c *call, in api.PasskeyChange) (api.Passkey, error) {
	if err := own(p); err != nil {
		return api.Passkey{}, err
	}
	ref := c.ref("id")
	if !id.Valid("pky", ref) {
		return api.Passkey{}, user.ErrPasskey
	}
	if err := s.Users.RenamePasskey(ctx, p, id.Passkey(ref), in.Name, c.now); err != nil {
		return api.Passkey{}, err
	}
	page, err := s.ownPasskeys(ctx, p, c, none{})
	for _, k := range page.Items {
		if k.ID == ref {
			return k, err
		}
	}
	return api.Passkey{}, user.ErrPasskey.Because(err)
}

// ownSessions is GET /v1/me/sessions.
func (s *Server) ownSessions(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Session], error) {
	page := list[api.Session](nil)
	if err := own(p); err != nil {
		return page, err
	}
	all, err := s.Users.Logins(ctx, p, p.User, c.now)
	if err != nil {
		return page, err
	}
	opened, err := s.Record.Select(ctx, Selection{Org: s.Org, Actor: p.Actor(), Verb: "session.opened", Limit: 200})
	if err != nil {
		return page, err
	}
	place := map[string]string{}
	for _, e := range opened {
		place[e.Object] = e.Data["source"]
	}
	for _, v := range all {
		page.Items = append(page.Items, api.Session{
			ID: string(v.ID), Kind: string(v.Kind), Label: v.Label, Place: place[string(v.ID)], CreatedAt: moment(v.CreatedAt), SeenAt: moment(v.SeenAt),
			ExpiresAt: moment(v.ExpiresAt), Current: v.ID == p.Session,
		})
	}
	return page, nil
}

// endSession is DELETE /v1/me/sessions/{id}.
func (s *Server) endSession(ctx context.Context, p user.Principal, c *call, _ none) (api.SessionsEnded, error) {
	if err := own(p); err != nil {
		return api.SessionsEnded{}, err
	}
	ref := c.ref("id")
	if !id.Valid("ses", ref) {
		return api.SessionsEnded{}, user.ErrSession
	}
	return api.SessionsEnded{Ended: 1}, s.Users.EndSession(ctx, p, id.Session(ref), c.now)
}

// endOtherSessions is DELETE /v1/me/sessions: all but the one that asks.
func (s *Server) endOtherSessions(ctx context.Context, p user.Principal, c *call, _ none) (api.SessionsEnded, error) {
	if err := own(p); err != nil {
		return api.SessionsEnded{}, err
	}
	n, err := s.Users.EndOtherSessions(ctx, p, c.now)
	return api.SessionsEnded{Ended: n}, err
}

// voidLinks is DELETE /v1/admin/users/{ref}/enrol-link.
func (s *Server) voidLinks(ctx context.Context, p user.Principal, c *call, _ none) (api.LinksVoided, error) {
	u, err := s.find(ctx, p, c.ref("ref"))
	if err != nil {
		return api.LinksVoided{}, err
	}
	n, err := s.Users.VoidLinks(ctx, p, u.ID, c.now)
	return api.LinksVoided{Voided: n}, err
}

// checkPasskeyHosts looks for passkeys that were made for another host name:
// a browser offers none of them on this one.
func (s *Server) checkPasskeyHosts(ctx context.Context) []api.Check {
	people, elsewhere, err := s.Users.Stranded(ctx)
	if err != nil {
		return []api.Check{{Name: "passkey_host", Status: checkFailed, Detail: "The passkeys cannot be read: a row may have been changed from outside.", Fix: "Look at the server's log; 'valetkey audit verify' shows whether the record still holds."}}
	}
	return strandedView(people, elsewhere, s.Users.WebAuthn.ID)
}

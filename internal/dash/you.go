package dash

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// you is the page about how its reader gets in.
func (s *Server) you(ctx context.Context, c *call) (reply, error) {
	v, err := s.youView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.You(w, v) }}, err
}

func (s *Server) youView(ctx context.Context, c *call) (YouPage, error) {
	chrome, err := s.chrome(ctx, c, "You", "")
	if err != nil {
		return YouPage{}, err
	}
	v := YouPage{Chrome: chrome, Host: s.base.Hostname(), Usable: s.Users.WebAuthn.Available() == nil, Fresh: c.who.Fresh(c.now) == nil}
	keys, err := s.Users.Keys(ctx, c.who)
	if err != nil {
		return v, err
	}
	may, err := s.Users.Settled(ctx, c.who.User, keys, c.now)
	if err != nil {
		return v, err
	}
	v.HasPasskey = len(keys) > 0
	for _, k := range keys {
		row := PasskeyRow{ID: string(k.ID), Name: k.Name, CreatedAt: k.CreatedAt, UsedAt: k.UsedAt, Rests: !may[k.ID], Last: len(keys) == 1}
		if host := k.Host(); host != "" && host != v.Host {
			row.Elsewhere = host
		}
		v.Passkeys = append(v.Passkeys, row)
	}
	if v.CodesLeft, v.CodesSince, err = s.Users.Codes(ctx, c.who); err != nil {
		return v, err
	}
	if err := s.logins(ctx, c, &v); err != nil {
		return v, err
	}
	if s.Users.OIDC != nil {
		v.Provider = s.Users.OIDC.Name
	}
	identities, err := s.Users.Identities(ctx, c.who)
	for _, n := range identities {
		v.Identities = append(v.Identities, IdentityRow{ID: string(n.ID), Label: n.Label, Issuer: n.Issuer, CreatedAt: n.CreatedAt, UsedAt: n.UsedAt, Rests: n.Rests(c.now)})
	}
	return v, err
}

// logins lists where the reader is logged in. From where each was opened stands
// in the log only.
func (s *Server) logins(ctx context.Context, c *call, v *YouPage) error {
	all, err := s.Users.Logins(ctx, c.who, c.who.User, c.now)
	if err != nil {
		return err
	}
	opened, err := s.Select(ctx, Query{Org: s.Org, Actor: c.who.Actor(), Verb: "session.opened", Limit: 200})
	if err != nil {
		return err
	}
	place, how := map[string]string{}, map[string]string{}
	for _, e := range opened {
		place[e.Object] = e.Data["source"]
		if e.Data["identity"] != "" {
			how[e.Object] = "identity provider"
		}
	}
	for _, l := range all {
		row := SessionRow{
			ID: string(l.ID), Label: first(l.Label, "unnamed"), Place: place[string(l.ID)], How: how[string(l.ID)], CreatedAt: l.CreatedAt, SeenAt: l.SeenAt,
			ExpiresAt: l.ExpiresAt, This: l.ID == c.who.Session,
		}
		if l.Kind == user.CLI {
			v.Terminals = append(v.Terminals, row)
		} else {
			v.Sessions = append(v.Sessions, row)
		}
	}
	return nil
}

// beginAdd begins another passkey of the reader, who has just used one.
func (s *Server) beginAdd(ctx context.Context, c *call, req confirmed) (reply, error) {
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	options, handle, err := s.Users.BeginAdd(ctx, c.who, c.now)
	return s.ceremony(c, options, handle, err)
}

type added struct {
	Name       string          `json:"name"`
	Credential json.RawMessage `json:"credential"`
}

func (s *Server) finishAdd(ctx context.Context, c *call, req added) (reply, error) {
	_, err := s.Users.FinishEnrol(ctx, c.who, s.answered(c), req.Credential, req.Name, c.peer, c.now)
	return reply{to: "/you?done=passkey_added"}, by(err)
}

type keyNamed struct {
	Name      string          `json:"name"`
	Assertion json.RawMessage `json:"assertion"`
}

// passkeyOf is the passkey that a path names.
func passkeyOf(c *call) (id.Passkey, error) {
	ref := c.http.PathValue("id")
	if !id.Valid("pky", ref) {
		return "", user.ErrPasskey
	}
	return id.Passkey(ref), nil
}

func (s *Server) renamePasskey(ctx context.Context, c *call, req keyNamed) (reply, error) {
	which, err := passkeyOf(c)
	if err != nil {
		return reply{}, err
	}
	if err := s.confirm(ctx, c, req.Assertion); err != nil {
		return reply{}, err
	}
	return reply{to: "/you"}, s.Users.RenamePasskey(ctx, c.who, which, req.Name, c.now)
}

func (s *Server) beginRemoval(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	which, err := passkeyOf(c)
	if err != nil {
		return reply{}, err
	}
	options, handle, err := s.Users.BeginRemoval(ctx, c.who, which, c.now)
	return s.ceremony(c, options, handle, err)
}

// removePasskey may end the very session that asks for it.
func (s *Server) removePasskey(ctx context.Context, c *call, req confirmed) (reply, error) {
	which, err := passkeyOf(c)
	if err != nil {
		return reply{}, err
	}
	err = s.Users.FinishRemoval(ctx, c.who, which, s.answered(c), req.Assertion, c.now)
	return reply{to: "/you?done=passkey_removed"}, by(err)
}

func (s *Server) endSession(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	ref := c.http.PathValue("id")
	if !id.Valid("ses", ref) {
		return reply{}, user.ErrSession
	}
	return reply{to: "/you"}, s.Users.EndSession(ctx, c.who, id.Session(ref), c.now)
}

func (s *Server) endOthers(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	_, err := s.Users.EndOtherSessions(ctx, c.who, c.now)
	return reply{to: "/you?done=others_ended"}, err
}

func (s *Server) beginCodes(ctx context.Context, c *call, _ nothingSent) (reply, error) {
	options, handle, err := s.Users.BeginCodes(ctx, c.who, c.now)
	return s.ceremony(c, options, handle, err)
}

// makeCodes shows new recovery codes, once.
func (s *Server) makeCodes(ctx context.Context, c *call, req confirmed) (reply, error) {
	texts, err := s.Users.FinishCodes(ctx, c.who, s.answered(c), req.Assertion, c.now)
	if err != nil {
		return reply{}, by(err)
	}
	return shown("codes", texts...)
}

// shown answers with what is to be seen once, on the page that asked, and is in
// no address and no history.
func shown(what string, texts ...secret.Text) (reply, error) {
	var lines []string
	for _, t := range texts {
		lines = append(lines, t.Reveal())
	}
	b, err := json.Marshal(map[string]any{"show": map[string]any{what: lines}})
	if err != nil {
		return reply{}, fmt.Errorf("encode an answer: %w", err)
	}
	return reply{data: b}, nil
}

// recoverPage asks somebody without a passkey for a recovery code.
func (s *Server) recoverPage(ctx context.Context, c *call) (reply, error) {
	if c.known() {
		return reply{to: "/you"}, nil
	}
	chrome, err := s.chrome(ctx, c, "Use a recovery code", "")
	v := RecoverPage{Chrome: chrome, Usable: s.Users.WebAuthn.Available() == nil}
	return reply{page: func(w io.Writer) error { return s.Pages.Recover(w, v) }}, err
}

type codeGiven struct {
	Code string `json:"code"`
}

// recover leads whoever has a code to where they make a passkey, and to nothing
// else.
func (s *Server) recover(ctx context.Context, c *call, req codeGiven) (reply, error) {
	link, err := s.Users.Recover(ctx, req.Code, c.peer, c.now)
	if err != nil {
		return reply{}, by(err)
	}
	return reply{to: "/enrol/" + link.Reveal()}, nil
}

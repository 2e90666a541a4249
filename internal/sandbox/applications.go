package sandbox

import (
	"net/http"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/secret"
)

// application adapts a handler of /applications/{client}: the application
// authenticates by Basic and names one of its access tokens in the body. A
// token that does not work is 404, whoever it may have belonged to.
func (s *Server) application(do func(*visit, *access) reply) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-GitHub-Request-Id", requestID())
		w.Header().Set("Cache-Control", "no-store")
		v := s.visit(r)
		id, key, basic := r.BasicAuth()
		switch {
		case !basic:
			notFound().write(w, nil) // as upstream, where an anonymous caller sees nothing
			return
		case !s.isClient(id, secret.New(key)):
			failure(http.StatusUnauthorized, "Bad credentials").write(w, nil)
			return
		case r.PathValue("client") != s.clientID:
			notFound().write(w, nil)
			return
		}
		f, bad := v.object()
		if bad != nil {
			bad.write(w, nil)
			return
		}
		token, given := f.text("access_token")
		if !given {
			invalid(fieldError{Resource: "OauthAccess", Code: "missing_field", Field: "access_token"}).write(w, nil)
			return
		}
		t := s.authority.token(secret.New(token), v.now)
		if t == nil || !t.family.app {
			notFound().write(w, nil)
			return
		}
		do(v, t).write(w, nil)
	})
}

// checkToken is POST /applications/{client}/token. It does not repeat the
// token: who asks has it already.
func (s *Server) checkToken(v *visit, t *access) reply {
	f := t.family
	scopes := f.scopes
	if scopes == nil {
		scopes = []string{}
	}
	return ok(map[string]any{
		"id":         f.id,
		"url":        v.base + "/authorizations/" + strconv.FormatInt(f.id, 10),
		"scopes":     scopes,
		"token":      "",
		"app":        map[string]string{"client_id": s.clientID, "name": s.clientName, "url": v.base},
		"created_at": stamp(f.createdAt),
		"updated_at": stamp(f.createdAt),
		"expires_at": stamp(t.expiresAt.Truncate(time.Second)),
		"user":       userShape(v.base, s.world.user(f.login)),
	})
}

// deleteToken is DELETE /applications/{client}/token: this authorization's
// tokens stop, others of the user stay.
func (s *Server) deleteToken(_ *visit, t *access) reply {
	s.authority.kill(t.family)
	return noContent
}

// deleteGrant is DELETE /applications/{client}/grant: every token that this
// user has given the application stops.
func (s *Server) deleteGrant(_ *visit, t *access) reply {
	s.authority.killAll(t.family.login, false)
	return noContent
}

// Package manage is what people change: agents and their keys, grants,
// connections that end, providers, and the freeze.
//
// It holds the rules of who may change what, so that the dashboard, the API
// and the command line, which all come here, hold none:
//
//   - An agent belongs to who registered it; its owner and those who manage
//     the org may change it. Only the latter relax its profile.
//   - A grant is given by the owner of the connection, by nobody else. To let
//     an agent hold the token itself takes a fresh touch of the passkey.
//   - Stopping is easy, starting again is not: whoever owns a thing may freeze
//     it, the operator may freeze anything; an owner with a fresh passkey lifts.
//   - The operator socket changes nothing else once a passkey exists, unless
//     the configuration says so.
//   - What p may only do elsewhere is refused last, after whatever else is
//     wrong with it: see [Elsewhere].
package manage

import (
	"context"
	"errors"
	"net/url"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
)

// Service makes changes on behalf of people.
type Service struct {
	Org       id.Org
	Agents    *agent.Service
	Grants    grant.Store
	Conns     vault.Store
	Vault     *vault.Service
	Providers *vault.Providers
	Freezes   *freeze.Switch
	Users     user.Store
	// CheckURL judges a provider's address by the rules of the way out.
	CheckURL func(*url.URL) error
	// Seen says when agents last did something: the one named, or all.
	Seen func(ctx context.Context, org id.Org, which id.Agent) (map[id.Agent]time.Time, error)
}

// logger starts p's audit events about subject's things.
func logger(p user.Principal, subject id.User, now time.Time) func(verb, object string, data map[string]string) audit.Event {
	return func(verb, object string, data map[string]string) audit.Event {
		return p.Event(verb, object, subject, now, data)
	}
}

// Elsewhere reports whether a refusal is only about where somebody is: the
// change is open to them, or to whoever confirms it, in a browser. Such a
// change is put to people as a proposal, so each method that returns such a
// refusal has looked at everything else before: nobody is asked for their
// passkey for what cannot be done.
func Elsewhere(refusal error) bool {
	return errors.Is(refusal, user.ErrSocket) || errors.Is(refusal, user.ErrCLI) || errors.Is(refusal, user.ErrConfirm)
}

// final is a refusal that nothing can follow, or nil.
func final(refusal error) error {
	if Elsewhere(refusal) {
		return nil
	}
	return refusal
}

// mayOwn says whether p may change what belongs to owner: p is the owner, or
// manages the org.
func mayOwn(p user.Principal, owner id.User) error {
	if !p.Operator && !p.Role.Manages() && (p.User != owner || p.Role == user.Auditor) {
		return user.ErrNotOwner
	}
	return p.MayChange()
}

// seesAll says whether p may look at everybody's things: not at what is in
// requests, but at what exists.
func seesAll(p user.Principal) bool { return p.Operator || p.Role.Manages() || p.Role == user.Auditor }

func visible[T any](p user.Principal, all []T, owner func(T) id.User) []T {
	if seesAll(p) {
		return all
	}
	var out []T
	for _, x := range all {
		if p.User != "" && owner(x) == p.User {
			out = append(out, x)
		}
	}
	return out
}

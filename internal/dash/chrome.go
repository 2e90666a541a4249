package dash

import (
	"context"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/user"
)

// chrome fills in what surrounds a page.
func (s *Server) chrome(ctx context.Context, c *call, title, section string) (Chrome, error) {
	v := Chrome{Title: title, Section: section, CSRF: c.token(), Now: c.now}
	if !c.known() {
		return v, nil
	}
	v.Program = s.program()
	v.User, v.Role = c.who.Name, string(c.who.Role)
	v.MayFreeze, v.MayUnfreeze = c.who.Role.Manages(), c.who.Role == user.Owner
	v.Notice = s.notice(ctx, c)
	mine, _, err := s.waiting(ctx, c)
	if err != nil {
		return v, err
	}
	proposed, err := s.Proposals.Waiting(ctx, c.who, c.now)
	if err != nil {
		return v, err
	}
	v.Waiting = len(mine) + len(proposed)
	s.stopped(ctx, c, &v)
	v.SeesPeople = seesAll(c.who)
	v.Alerts, err = s.alerts(ctx, c)
	return v, err
}

// stopped says what is frozen: everything, or what concerns this person.
func (s *Server) stopped(ctx context.Context, c *call, v *Chrome) {
	n := s.names(ctx)
	for _, f := range s.freezes() {
		shown := Freeze{ID: string(f.ID), What: n.frozen(f), By: n.actor(f.By), Reason: f.Reason, At: f.At}
		switch f.Kind {
		case freeze.All:
			v.Frozen = &shown
			continue
		case freeze.Agent:
			if _, _, err := s.Manage.Agent(ctx, c.who, f.Target); err != nil {
				continue
			}
		case freeze.Connection:
			if _, err := s.Manage.Connection(ctx, c.who, f.Target); err != nil {
				continue
			}
		case freeze.User:
			if !seesAll(c.who) && string(c.who.User) != f.Target {
				continue
			}
		}
		v.Stopped = append(v.Stopped, shown)
	}
}

// alerts says in every session what happened within a day to how its person
// gets in: who has not done that has to hear of it.
func (s *Server) alerts(ctx context.Context, c *call) ([]Alert, error) {
	all, err := s.Users.Alerts(ctx, c.who, c.now)
	var out []Alert
	for _, a := range all {
		v := Alert{Name: a.Name, At: a.At}
		switch a.Kind {
		case "recovery":
			v.Text = "A recovery code of yours was used"
		case "passkey":
			v.Text = "A passkey was added to your account"
		default:
			v.Text = "An account at the identity provider was linked to you"
		}
		out = append(out, v)
	}
	return out, err
}

// seesAll says whether p is shown what concerns others. It chooses what is
// listed; what may be read or changed is decided by the services.
func seesAll(p user.Principal) bool { return p.Role.Manages() || p.Role == user.Auditor }

// notice is what a page says about what was just done. The address names it
// by a word, so that nobody can put a sentence of theirs on our page, and a
// provider by its id, which is looked up.
func (s *Server) notice(ctx context.Context, c *call) *Notice {
	q := c.http.URL.Query()
	switch q.Get("done") {
	case "connected":
		return &Notice{"good", "The account is connected. Its tokens are sealed here."}
	case "granted":
		return &Notice{"good", "The grant holds from now on."}
	case "revoked":
		return &Notice{"good", "The grant was revoked. It held for the last time."}
	case "key":
		return &Notice{"good", "The key was added. Retire the old one when the agent uses this one."}
	case "retired":
		return &Notice{"good", "The key was retired, and every token that it earned."}
	case "frozen":
		return &Notice{"good", "The agent is frozen: it is refused everything from now on."}
	case "unfrozen":
		return &Notice{"good", "Agents may ask again."}
	case "passkey_added":
		return &Notice{"good", "The passkey was added. It decides nothing critical in its first day."}
	case "passkey_removed":
		return &Notice{"good", "The passkey was removed, and the sessions that it opened have ended."}
	case "others_ended":
		return &Notice{"good", "Every other session of yours has ended."}
	case "identity_linked":
		return &Notice{"good", "The account is linked: you may log in by it. It decides nothing critical in its first day."}
	case "identity_unlinked":
		return &Notice{"warn", "That account belongs to nobody here. Log in with your passkey and link it on your page, or ask for an invitation."}
	case "signin_failed":
		return &Notice{"bad", "The identity provider's answer was not accepted: it does not belong to what you began in this browser, took too long, or was not a login. Nothing was changed; start again."}
	case "confirmed":
		return &Notice{"good", "You have confirmed that it is you. For five minutes you may add a passkey."}
	case "name":
		return &Notice{"warn", "Your passkey works. That name could not be taken, so you kept the one you were invited by."}
	case "not_connected":
		return &Notice{"bad", "Nothing was connected: this answer does not belong to a login that you started in this browser, or it was used already. Start again here."}
	case "cancelled":
		if at := q.Get("at"); s.names(ctx).spec(at) != nil {
			return &Notice{"warn", "You cancelled at " + s.names(ctx).provider(at) + "; nothing was connected."}
		}
		return &Notice{"warn", "You cancelled at the provider; nothing was connected."}
	case "denied":
		return &Notice{"warn", "The provider did not give access; nothing was connected."}
	case "other_account":
		return &Notice{"bad", "That is another account than the one this connection belongs to. Log in at the provider as the right one, or connect it as a new account."}
	case "provider":
		return &Notice{"bad", "The provider did not complete the login; nothing was connected. Try again in a moment."}
	}
	return nil
}

// limits of the inbox.
const (
	maxWaiting = 200
	maxOthers  = 50
	maxCards   = 50
)

// waiting lists the open actions that wait for this person, oldest first, and
// those of others that they may look at.
func (s *Server) waiting(ctx context.Context, c *call) (mine, others []broker.Held, err error) {
	open, err := s.Broker.Inbox(ctx, c.who, approval.Open, noTime, maxWaiting)
	if err != nil {
		return nil, nil, err
	}
	slices.Reverse(open)
	for _, h := range open {
		if !c.now.Before(h.Approval.ExpiresAt) {
			continue // the claim loop has not come by yet
		}
		switch {
		case h.Approval.VotedBy(c.who.User):
			if len(others) < maxOthers {
				others = append(others, h) // it waits for somebody else now
			}
		case h.Action.User == c.who.User && c.who.Role != user.Auditor:
			mine = append(mine, h)
		case !namesApprovers(h.Approval):
			if len(others) < maxOthers {
				others = append(others, h)
			}
		default:
			shown, err := s.Broker.Show(ctx, c.who, h.Approval.ID, c.now)
			if err != nil {
				return nil, nil, err
			}
			if shown.MayAnswer {
				mine = append(mine, h)
			} else if len(others) < maxOthers {
				others = append(others, h)
			}
		}
	}
	return mine, others, nil
}

// namesApprovers reports whether a rule that asked named approvers; without,
// the owner of the account answers. It spares a look at each request in a list,
// and decides nothing: who may answer is asked again when somebody does.
func namesApprovers(p *approval.Approval) bool {
	return slices.ContainsFunc(p.Why, func(why string) bool { return strings.HasPrefix(why, "It is for ") })
}

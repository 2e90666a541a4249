package broker

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// learned tells the vault what an answer says about the token.
func (b *Broker) learned(ctx context.Context, con id.Connection, cred vault.Credential, status int) {
	if status == http.StatusUnauthorized || cred.Proven {
		return
	}
	if err := b.Vault.Worked(ctx, con, cred.Generation); err != nil {
		b.Logger.WarnContext(ctx, "noting that a token worked", slog.String("connection", string(con)), slog.Any("error", err))
	}
}

func retried(a *action.Action, data map[string]string) audit.Event {
	data["effect"] = a.Commitment()
	return audit.Event{At: time.Now(), Org: a.Org, Verb: "action.retried", Actor: "system", Object: string(a.ID), Subject: string(a.User), Data: data}
}

// send makes the call. A complete 401 means that the request was not executed:
// with a fresh token it is made once more, under an intent of its own. Where
// there is no fresh one to be had, because the provider is done with this
// connection, that is the error: its owner can do something about it, and
// whoever asked should not have to guess that from the provider's answer.
func (b *Broker) send(ctx context.Context, a *action.Action, req *action.Request, p *vault.Provider, cred vault.Credential, intent func(map[string]string) error) (*egress.Response, vault.Credential, error) {
	for attempt := 1; ; attempt++ {
		res, err := b.call(ctx, req, p, cred)
		if err != nil || res.Status != http.StatusUnauthorized || attempt == 2 {
			return res, cred, err
		}
		fresh, err := b.Vault.Replace(ctx, a.Connection, cred.Generation, time.Now())
		if errors.Is(err, vault.ErrNeedsReauth) {
			res.Body.Close()
			return nil, cred, vault.ErrNeedsReauth
		}
		if err != nil || fresh.Generation == cred.Generation {
			return res, cred, nil // the 401 is the answer
		}
		if err := intent(map[string]string{"attempt": strconv.Itoa(attempt + 1), "generation": strconv.FormatInt(fresh.Generation, 10)}); err != nil {
			return res, cred, nil
		}
		res.Body.Close()
		cred = fresh
	}
}

// call hands the frozen request to egress.
func (b *Broker) call(ctx context.Context, req *action.Request, p *vault.Provider, cred vault.Credential) (*egress.Response, error) {
	u, err := req.URL()
	if err != nil {
		return nil, fmt.Errorf("%w: %w", egress.ErrNotSent, err)
	}
	place, err := p.Spec.Locate(u.String())
	if err != nil {
		return nil, fmt.Errorf("%w: %w", egress.ErrNotSent, err)
	}
	base, err := url.Parse(place.Base)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", egress.ErrNotSent, err)
	}
	h := http.Header{}
	for _, f := range req.Header {
		h.Add(f.Name, f.Value)
	}
	return b.Egress.Do(ctx, egress.Request{
		Method: req.Method, URL: u, Base: base, Header: h, Body: req.Body, Credential: cred.Token, Attach: attach(p.Spec),
	})
}

func attach(s *provider.Spec) egress.Attach {
	switch s.Credential.Attach {
	case "header":
		return egress.Attach{Kind: egress.InHeader, Name: s.Credential.Header}
	case "basic":
		return egress.Attach{Kind: egress.Basic}
	}
	return egress.Attach{Kind: egress.Bearer}
}

// byStatus reads the outcome from a complete status line. A 403 to a token
// that lacks a scope is put down to that.
func byStatus(status int, lack lack) action.Outcome {
	out := action.Outcome{State: action.Succeeded, Status: status}
	switch {
	case status == http.StatusForbidden && len(lack.scopes) > 0:
		out.State, out.Why = action.Failed, missingScope
	case status >= 300:
		out.State, out.Why = action.Failed, "upstream_"+strconv.Itoa(status)
	}
	return out
}

// lost is the outcome when no answer came, or one that says no more than that
// the token is dead.
func lost(ctx context.Context, err error) action.Outcome {
	frozen := errors.Is(context.Cause(ctx), freeze.ErrFrozen)
	switch {
	case errors.Is(err, vault.ErrNeedsReauth):
		return action.Outcome{State: action.Failed, Why: vault.ErrNeedsReauth.Reason}
	case errors.Is(err, egress.ErrNotSent) && frozen:
		return action.Outcome{State: action.Failed, Why: freeze.ErrFrozen.Reason}
	case errors.Is(err, egress.ErrNotSent):
		return action.Outcome{State: action.Failed, Why: fault.From(err).Reason}
	case frozen:
		return action.Outcome{State: action.Unknown, Why: "frozen_in_flight"}
	}
	return action.Outcome{State: action.Unknown, Why: "answer_lost"}
}

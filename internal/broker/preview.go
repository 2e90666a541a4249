package broker

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// The limits of a preview.
const (
	previewTime = 5 * time.Second // for all looks together
	previewSize = 64 << 10        // of one answer
	maxPreviews = 8               // at a time, in one process
)

// Errors of previews.
var (
	ErrNoPreview   = fault.New(fault.NotFound, "no_preview", "For this kind of action nothing is known that could be looked at before.")
	ErrNoSight     = fault.New(fault.Forbidden, "preview_not_shared", "Only the owner of the account sees what is there now, unless they let approvers see it, too.")
	ErrPreviewBusy = fault.New(fault.TooMany, "previews_busy", "Too many people look at the moment; try again in a few seconds.")
	ErrShown       = fault.New(fault.Conflict, "preview_stale", "It cannot be told what you were shown of what is there now; reload the page and look again.")
)

// Preview is what is there now and what would change, read for one person.
type Preview struct {
	provider.PreviewShown
	Operation string
	Strict    bool
	At        time.Time
	// Token is what an answer brings back to say what it was shown. It is good for
	// this approval and this person; nobody but us can make one.
	Token string
}

// MayPreview says whether p may see what is there now, and whether there is
// anything to look at, without asking anybody upstream.
func (b *Broker) MayPreview(ctx context.Context, p user.Principal, h Held, now time.Time) error {
	_, _, err := b.sight(ctx, p, h, now)
	return err
}

// sight finds the connection to look through, for who may.
func (b *Broker) sight(ctx context.Context, p user.Principal, h Held, now time.Time) (*vault.Connection, *vault.Provider, error) {
	if p.User == "" || p.Operator {
		return nil, nil, user.ErrLogin
	}
	if h.Approval.Status != approval.Open || !now.Before(h.Approval.ExpiresAt) {
		return nil, nil, approval.ErrNotOpen
	}
	con, err := b.Conns.Connection(ctx, b.Org, h.Action.Connection)
	if err != nil {
		return nil, nil, err
	}
	prov, err := b.Vault.Providers.Find(ctx, con.Provider)
	if err != nil {
		return nil, nil, err
	}
	op, listed := prov.Spec.Operation(h.Action.Operation)
	if !listed || op.Preview == nil {
		return nil, nil, ErrNoPreview
	}
	if con.AccountID != h.Action.Account || con.User != h.Action.User {
		return nil, nil, ErrNoSight // it is another account, or another person's
	}
	if p.User != con.User {
		if con.Previews != vault.ApproversLook {
			return nil, nil, ErrNoSight
		}
		if _, err := b.mayAnswer(ctx, p, h, now); err != nil {
			return nil, nil, ErrNoSight
		}
	}
	if err := b.Freezes.Check(b.Org, h.Action.Agent, con.ID, con.User); err != nil {
		return nil, nil, err
	}
	return con, prov, b.alive(ctx, con)
}

// Preview looks at what is there now, with the owner's right, for p. Each look
// is in the log, as p's, before it is made. What cannot be read is a gap, not an
// error: nobody is kept from answering.
func (b *Broker) Preview(ctx context.Context, p user.Principal, ap id.Approval, now time.Time) (*Preview, error) {
	if b.looking.Add(1) > maxPreviews {
		b.looking.Add(-1)
		return nil, ErrPreviewBusy
	}
	defer b.looking.Add(-1)
	for range maxJudgements {
		v, err := b.previewOnce(ctx, p, ap, now)
		if !errors.Is(err, ErrMoved) {
			return v, err
		}
	}
	return nil, ErrMoved
}

func (b *Broker) previewOnce(ctx context.Context, p user.Principal, ap id.Approval, now time.Time) (*Preview, error) {
	epoch, err := b.now(ctx)
	if err != nil {
		return nil, err
	}
	shown, err := b.Show(ctx, p, ap, now)
	if err != nil {
		return nil, err
	}
	h := shown.Held
	con, prov, err := b.sight(ctx, p, h, now)
	if err != nil {
		return nil, err
	}
	req, err := b.Request(ctx, h.Action)
	if err != nil {
		return nil, err
	}
	plan, err := planned(prov.Spec, req)
	if err != nil {
		return nil, err
	}
	if plan == nil {
		return nil, ErrNoPreview
	}
	found, err := b.observe(ctx, observer{actor: p.Actor(), held: h, con: con, prov: prov, plan: plan, epoch: epoch, now: now})
	if err != nil {
		return nil, err
	}
	v := &Preview{PreviewShown: plan.Show(found), Operation: plan.Operation, Strict: plan.Strict, At: now}
	if v.Precondition == "" {
		return v, nil
	}
	sealed, err := b.Keys.SealBytes(ctx, shownPlace(h, p.User), []byte(v.Precondition))
	if err != nil {
		return nil, fmt.Errorf("seal what was shown of %s: %w", ap, err)
	}
	v.Token = base64.RawURLEncoding.EncodeToString(sealed)
	return v, nil
}

// shownPlace binds what was shown to the approval and to who saw it, so that
// a browser can carry it and cannot choose it.
func shownPlace(h Held, who id.User) seal.Place {
	return seal.Place{Key: seal.PayloadKey(h.Action.Org, h.Action.CreatedAt), Org: h.Action.Org, Table: "shown", Row: string(h.Approval.ID), Column: string(who)}
}

// Shown opens the token of a preview: what this person was shown of what the
// approval is about. Without a token nothing was.
func (b *Broker) Shown(ctx context.Context, p user.Principal, h Held, token string) (string, error) {
	if token == "" {
		return "", nil
	}
	sealed, err := base64.RawURLEncoding.DecodeString(token)
	if err != nil {
		return "", ErrShown.Because(err)
	}
	plain, err := b.Keys.OpenBytes(ctx, shownPlace(h, p.User), sealed)
	switch {
	case errors.Is(err, seal.ErrRefused), errors.Is(err, seal.ErrShredded):
		return "", ErrShown.Because(err)
	case err != nil:
		return "", err
	}
	return string(plain), nil
}

// planned plans the preview of a stored request by today's description.
func planned(spec *provider.Spec, req *action.Request) (*provider.PreviewPlan, error) {
	in, err := given(spec, req)
	if err != nil {
		return nil, err
	}
	plan, err := spec.PlanPreview(in)
	if err != nil {
		return nil, refused(err)
	}
	return plan, nil
}

// observer is who looks at what, by whose account.
type observer struct {
	actor string
	held  Held
	con   *vault.Connection
	prov  *vault.Provider
	plan  *provider.PreviewPlan
	epoch int64
	now   time.Time
}

// observe makes the looks of a plan. An error means that nothing was looked at;
// a look that fails is missing in what is found.
func (b *Broker) observe(ctx context.Context, o observer) (map[string]*provider.Observation, error) {
	cred, err := b.Vault.UseOf(ctx, o.con, o.now)
	if err != nil {
		return nil, err
	}
	// A freeze cancels a look as it cancels a call. It is no execution of the
	// action, so it goes by a name of its own.
	as := *o.held.Action
	as.ID = id.NewAction()
	run, done := b.running.add(ctx, &as)
	defer done()
	run, cancel := context.WithTimeout(run, previewTime)
	defer cancel()
	var events []audit.Event
	for _, k := range o.plan.Looks {
		events = append(events, o.looks(k))
	}
	if err := b.Store.Begin(ctx, Begin{Org: b.Org, Epoch: o.epoch, Events: events}); err != nil {
		return nil, err
	}
	if err := b.Freezes.Check(b.Org, as.Agent, as.Connection, as.User); err != nil {
		return nil, err
	}
	found := map[string]*provider.Observation{}
	for _, k := range o.plan.Looks {
		var seen *provider.Observation
		if seen, cred, err = b.look(run, o, k, cred); err != nil {
			b.Logger.InfoContext(ctx, "a preview could not read", slog.String("action", string(o.held.Action.ID)), slog.String("look", k.Operation), slog.Any("error", err))
			continue
		}
		found[k.Name] = seen
	}
	return found, nil
}

// looks is the event of a look. It tells what is read, and nothing of what is
// there.
func (o observer) looks(k provider.PlannedLook) audit.Event {
	a := o.held.Action
	return audit.Event{At: o.now, Org: a.Org, Verb: "preview.read", Actor: o.actor, Object: string(a.ID), Subject: string(a.User), Data: map[string]string{
		"operation": k.Operation, "for": a.Operation, "connection": string(a.Connection), "approval": string(o.held.Approval.ID), "agent": string(a.Agent),
	}}
}

// look makes one read. A token that the provider ended early is replaced once.
func (b *Broker) look(ctx context.Context, o observer, k provider.PlannedLook, cred vault.Credential) (*provider.Observation, vault.Credential, error) {
	m, err := o.prov.Spec.Match(k.Request)
	if err != nil {
		return nil, cred, refused(err)
	}
	if m.Operation != k.Operation || !m.Read {
		return nil, cred, fmt.Errorf("look %s: it would be %s", k.Operation, m.Operation)
	}
	req, err := frozen(&m, k.Request)
	if err != nil {
		return nil, cred, err
	}
	for attempt := 1; ; attempt++ {
		res, err := b.call(ctx, req, o.prov, cred)
		if err != nil {
			return nil, cred, err
		}
		b.learned(ctx, o.con.ID, cred, res.Status)
		if res.Status == http.StatusUnauthorized && attempt == 1 {
			res.Body.Close()
			fresh, err := b.Vault.Replace(ctx, o.con.ID, cred.Generation, time.Now())
			if err != nil || fresh.Generation == cred.Generation {
				return &provider.Observation{Status: res.Status}, cred, nil
			}
			cred = fresh
			if err := b.Store.Begin(ctx, Begin{Org: b.Org, Epoch: o.epoch, Events: []audit.Event{o.looks(k)}}); err != nil {
				return nil, cred, err
			}
			continue
		}
		body, err := io.ReadAll(io.LimitReader(res.Body, previewSize+1))
		res.Body.Close()
		if err != nil {
			return nil, cred, fmt.Errorf("read the answer of %s: %w", k.Operation, err)
		}
		seen := &provider.Observation{Status: res.Status, ETag: res.Header.Get("ETag"), Body: body[:min(len(body), previewSize)], Cut: len(body) > previewSize}
		return seen, cred, nil
	}
}

package broker

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/vault"
)

// Answer is what came back from the provider, as far as an agent may see it.
// Reading Body to its end and closing it records the outcome.
type Answer struct {
	Status int
	Header http.Header
	Body   io.ReadCloser
}

// inline performs a permitted action at once. Its intent is durable before the
// first byte leaves; its outcome is recorded when the answer is closed.
func (b *Broker) inline(ctx context.Context, c agent.Caller, a *action.Action, req *action.Request, con *vault.Connection, p *vault.Provider, j *judgement, r *approval.Relief, epoch int64, now time.Time) (Outcome, error) {
	cred, err := b.Vault.UseOf(ctx, con, now)
	if err != nil {
		return Outcome{}, err
	}
	intent, err := a.Start(now)
	if err != nil {
		return Outcome{}, err
	}
	intent.Data["policy"], intent.Data["source"] = j.decision.PolicyVersion, c.Source.String()
	begin := Begin{Org: b.Org, Epoch: epoch, Proofs: c.Proofs, Events: []audit.Event{intent}, Intent: a.ID}
	why := j.facts
	if r != nil {
		intent.Data["relief"], intent.Data["relieved_by"] = string(r.ID), string(r.By)
		begin.Relief, why = r.ID, append(slices.Clone(why), relievedWhy(r))
	}
	proofs := c.Proofs
	if a.Key != "" && !j.match.Read {
		// An inline action is not kept, so a repeat has nothing to attach to. Its
		// key is spent like a signature: whoever lost the answer is told that it
		// ran, instead of running it again.
		proofs = append(slices.Clone(proofs), agent.Proof{Agent: c.Agent, JTI: "inline\x00" + a.Key, Until: now.Add(PayloadKept)})
	}
	// The caller may go away; what has begun is still recorded. A freeze
	// cancels the call all the same, from before its intent is durable.
	run, done := b.running.add(ctx, a)
	begin.Proofs = proofs
	err = b.Store.Begin(ctx, begin)
	if err != nil {
		done()
		if errors.Is(err, agent.ErrReplayed) && len(proofs) > len(c.Proofs) && len(c.Proofs) == 0 {
			err = ErrRan
		}
		return Outcome{}, err
	}
	if err := b.Freezes.Check(b.Org, a.Agent, a.Connection, a.User); err != nil {
		defer done()
		if ended := b.ended(context.WithoutCancel(ctx), a, action.Outcome{State: action.Failed, Why: fault.From(err).Reason}); ended != nil {
			return Outcome{}, ended
		}
		return Outcome{}, err
	}
	res, cred, err := b.send(run, a, req, p, cred, func(data map[string]string) error {
		return b.Store.Begin(ctx, Begin{Org: b.Org, Epoch: epoch, Events: []audit.Event{retried(a, data)}})
	})
	if err != nil {
		out := lost(run, err)
		done()
		if err := b.ended(context.WithoutCancel(ctx), a, out); err != nil {
			return Outcome{}, err
		}
		if errors.Is(err, vault.ErrNeedsReauth) {
			return Outcome{}, err
		}
		return Outcome{Action: a, Explain: why}, nil
	}
	b.learned(ctx, a.Connection, cred, res.Status)
	body := &inlineBody{res: res, lack: j.lack, end: func(out action.Outcome) {
		defer done()
		if err := b.ended(context.WithoutCancel(ctx), a, out); err != nil {
			b.Logger.ErrorContext(ctx, "recording an outcome", slog.String("action", string(a.ID)), slog.Any("error", err))
		}
	}}
	return Outcome{Action: a, Answer: &Answer{Status: res.Status, Header: res.Header, Body: body}, Explain: why}, nil
}

// ended records how an inline action ended.
func (b *Broker) ended(ctx context.Context, a *action.Action, out action.Outcome) error {
	e, err := a.Finish(out, time.Now())
	if err != nil {
		return err
	}
	return b.Store.End(ctx, b.Org, a.ID, []audit.Event{e})
}

// inlineBody streams an answer and records the outcome once, when it is
// closed.
type inlineBody struct {
	res  *egress.Response
	lack lack
	end  func(action.Outcome)
	once sync.Once
	size int64
	err  error
}

func (i *inlineBody) Read(p []byte) (int, error) {
	n, err := i.res.Body.Read(p)
	i.size += int64(n)
	if err != nil {
		i.err = err
	}
	return n, err
}

// Close records the outcome. The status line was complete, so the upstream has
// answered, whether or not all of its body was read.
func (i *inlineBody) Close() error {
	err := i.res.Body.Close()
	i.once.Do(func() {
		out := byStatus(i.res.Status, i.lack)
		out.AnswerSize, out.Redacted = i.size, i.res.Redacted()
		if i.err != nil && i.err != io.EOF {
			out.Why = fault.From(i.err).Reason
		}
		i.end(out)
	})
	return err
}

// kept is an answer as it is sealed.
type kept struct {
	Status int         `json:"status"`
	Header http.Header `json:"header"`
	Body   []byte      `json:"body"`
}

func (k *kept) encode() []byte {
	b, err := json.Marshal(k)
	if err != nil {
		panic("broker: an answer is plain data: " + err.Error())
	}
	return b
}

// Kept is the stored answer of a held action.
type Kept struct {
	Status int
	Header http.Header
	Body   []byte
}

// Answer returns the stored answer of one of the caller's actions.
func (b *Broker) Answer(ctx context.Context, c agent.Caller, h Held) (Kept, error) {
	if h.Action.Agent != c.Agent {
		return Kept{}, ErrUnknown
	}
	return b.kept(ctx, h)
}

// Result returns the stored answer of a held action to a person, if the request
// is theirs to see: what came of it is no secret from who owns the account or
// may answer.
func (b *Broker) Result(ctx context.Context, s Shown) (Kept, error) {
	if s.Request == nil {
		return Kept{}, ErrNoPayload
	}
	return b.kept(ctx, s.Held)
}

func (b *Broker) kept(ctx context.Context, h Held) (Kept, error) {
	sealed, err := b.Store.Payload(ctx, b.Org, h.Action.ID, "answer")
	if err != nil {
		return Kept{}, err
	}
	plain, err := b.Keys.OpenBytes(ctx, payloadPlace(h.Action, "answer"), sealed)
	if err != nil {
		return Kept{}, fmt.Errorf("open answer of %s: %w", h.Action.ID, err)
	}
	var k kept
	if err := json.Unmarshal(plain, &k); err != nil {
		return Kept{}, fmt.Errorf("decode answer of %s: %w", h.Action.ID, err)
	}
	return Kept(k), nil
}

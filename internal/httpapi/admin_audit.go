package httpapi

import (
	"context"
	"errors"
	"iter"
	"log/slog"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
)

var (
	errNoCheckpoint = fault.New(fault.NotFound, "no_checkpoint", "Nothing was signed yet; the first checkpoint comes a second after the first event.")
	errNoEvent      = fault.New(fault.NotFound, "event_not_found", "The log has no event of this number.")
	errNotAnchored  = fault.New(fault.Unavailable, "not_anchored", "No checkpoint covers this event yet; ask again in a second.")
	errVerifying    = fault.New(fault.TooMany, "verifying", "Somebody has the log verified right now; try again when that is done.")
)

// listEvents is GET /v1/admin/events, newest first.
func (s *Server) listEvents(ctx context.Context, p user.Principal, c *call, _ none) (api.Page[api.Event], error) {
	page := list[api.Event](nil)
	if err := mayLook(p); err != nil {
		return page, err
	}
	limit, err := c.number("limit", 1, 1000, 100)
	if err != nil {
		return page, err
	}
	before, err := c.number("before", 1, 1<<62, 0)
	if err != nil {
		return page, err
	}
	cursor, err := c.number("cursor", 1, 1<<62, before)
	if err != nil {
		return page, err
	}
	found, err := s.Record.Select(ctx, Selection{
		Org: s.Org, Before: cursor, Object: c.query.Get("object"), Actor: c.query.Get("actor"), Verb: c.query.Get("verb"), Limit: int(limit),
	})
	if err != nil {
		return page, err
	}
	for _, e := range found {
		page.Items = append(page.Items, eventView(e, ""))
	}
	if last := len(found) - 1; len(found) == int(limit) && found[last].Seq > 0 {
		page.Next = strconv.FormatInt(found[last].Seq, 10)
	}
	return page, nil
}

// followEvents is GET /v1/admin/events/stream: every event of the log, from
// where the reader left off or from now on. The id of a message is the event's
// number.
func (s *Server) followEvents(ctx context.Context, p user.Principal, c *call, _ none) (answerer, error) {
	if err := mayLook(p); err != nil {
		return nil, err
	}
	head, err := s.Record.Head(ctx)
	if err != nil {
		return nil, err
	}
	next, err := c.number("after", -1, 1<<62, head.Size-1)
	if err != nil {
		return nil, err
	}
	next++
	if last := c.r.Header.Get("Last-Event-Id"); last != "" {
		if n, err := strconv.ParseInt(last, 10, 64); err == nil && n >= 0 && n < head.Size {
			next = n + 1
		}
	}
	return stream{func(ctx context.Context, out *events) error {
		for {
			woken := s.Record.Woken()
			if again, err := c.again(context.WithoutCancel(ctx)); err != nil || mayLook(*again.person) != nil || s.leaving() {
				return out.reconnect()
			}
			for {
				leaves, err := s.Record.Leaves(ctx, next, 200)
				if err != nil {
					return errors.Join(err, out.reconnect())
				}
				if len(leaves) == 0 {
					break
				}
				for _, leaf := range leaves {
					e, err := audit.Decode(leaf)
					if err != nil {
						return errors.Join(err, out.reconnect())
					}
					if err := out.send("event", strconv.FormatInt(e.Seq, 10), eventView(e, string(leaf))); err != nil {
						return err
					}
					next = e.Seq + 1
				}
			}
			beat := time.NewTimer(s.beats())
			select {
			case <-ctx.Done():
				beat.Stop()
				return ctx.Err()
			case <-woken:
			case <-s.Leaving:
			case <-beat.C:
				if err := out.beat(); err != nil {
					return err
				}
			}
			beat.Stop()
		}
	}}, nil
}

// checkpoint is GET /v1/admin/checkpoint.
func (s *Server) checkpoint(ctx context.Context, p user.Principal, _ *call, _ none) (api.Checkpoint, error) {
	if err := mayLook(p); err != nil {
		return api.Checkpoint{}, err
	}
	signed, cp, _ := s.Checkpointer.Last()
	if signed == nil {
		return api.Checkpoint{}, errNoCheckpoint
	}
	head, err := s.Record.Head(ctx)
	if err != nil {
		return api.Checkpoint{}, err
	}
	return api.Checkpoint{
		Origin: cp.Origin, Size: cp.Size, Root: cp.Root.String(), At: moment(cp.At), Note: string(signed),
		Key: s.Checkpointer.Signer.VerifierKey(), Lag: max(head.Size-cp.Size, 0),
	}, nil
}

// verifier knows every key that signed checkpoints of this log.
func (s *Server) verifier() (*audit.Verifier, error) {
	if s.Checkpointer.Verifier != nil {
		return s.Checkpointer.Verifier, nil
	}
	return s.Checkpointer.Signer.Verifier()
}

// verify is GET /v1/admin/audit/verify: the whole log, read against every
// checkpoint outside of it.
func (s *Server) verify(ctx context.Context, p user.Principal, _ *call, _ none) (api.AuditReport, error) {
	if err := mayLook(p); err != nil {
		return api.AuditReport{}, err
	}
	if !s.verifying.TryLock() {
		return api.AuditReport{}, errVerifying
	}
	defer s.verifying.Unlock()
	v, err := s.verifier()
	if err != nil {
		return api.AuditReport{}, err
	}
	// The checkpoints are read before the log is: one that is signed meanwhile
	// would speak of events that the snapshot does not have.
	var outside []iter.Seq2[[]byte, error]
	for _, sink := range s.Checkpointer.Sinks {
		var all [][]byte
		for signed, err := range sink.All(ctx) {
			if err != nil {
				return api.AuditReport{}, err
			}
			all = append(all, signed)
		}
		outside = append(outside, audit.Checkpoints(all...))
	}
	snapshot, err := s.Record.Snapshot(ctx)
	if err != nil {
		return api.AuditReport{}, err
	}
	defer snapshot.Close()
	r, err := audit.Verify(ctx, snapshot, v, outside...)
	if err != nil {
		return api.AuditReport{}, err
	}
	return api.AuditReport{
		OK: r.OK(), Events: r.Events, Root: r.Root.String(), Integrity: findingView(r.Integrity), Completeness: findingView(r.Completeness),
		Checkpoints: r.Checkpoints, Anchored: r.Anchor.Size, AnchoredAt: moment(r.Anchor.At), Tail: r.Tail,
		Lines: strings.Split(strings.TrimSpace(r.String()), "\n"),
	}, nil
}

func findingView(f *audit.Finding) *api.AuditFinding {
	if f == nil {
		return nil
	}
	return &api.AuditFinding{First: f.First, Last: f.Last, What: f.What}
}

// prove is GET /v1/admin/audit/prove.
func (s *Server) prove(ctx context.Context, p user.Principal, c *call, _ none) (api.Proof, error) {
	if err := mayLook(p); err != nil {
		return api.Proof{}, err
	}
	seq, err := c.number("seq", 0, 1<<62, -1)
	if err != nil {
		return api.Proof{}, err
	}
	if seq < 0 {
		return api.Proof{}, invalid("missing_parameter", "Name the event by its number: ?seq=.")
	}
	leaves, err := s.Record.Leaves(ctx, seq, 1)
	if err != nil {
		return api.Proof{}, err
	}
	if len(leaves) == 0 {
		return api.Proof{}, errNoEvent
	}
	signed, cp, _ := s.Checkpointer.Last()
	if signed == nil || cp.Size <= seq {
		return api.Proof{}, errNotAnchored
	}
	v, err := s.verifier()
	if err != nil {
		return api.Proof{}, err
	}
	proof, err := audit.Prove(leaves[0], signed, v, tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		return s.Record.ReadHashes(ctx, indexes)
	}))
	if err != nil {
		return api.Proof{}, err
	}
	out := api.Proof{Event: proof.Event, Checkpoint: proof.Checkpoint, Path: []string{}}
	for _, h := range proof.Path {
		out.Path = append(out.Path, h.String())
	}
	return out, nil
}

// export is GET /v1/admin/audit/export: the log up to the last checkpoint, in
// the form that anybody can verify offline.
func (s *Server) export(ctx context.Context, p user.Principal, _ *call, _ none) (answerer, error) {
	if err := mayLook(p); err != nil {
		return nil, err
	}
	// The checkpoint comes first: the snapshot is then at least as long.
	signed, _, _ := s.Checkpointer.Last()
	if signed == nil {
		return nil, errNoCheckpoint
	}
	v, err := s.verifier()
	if err != nil {
		return nil, err
	}
	snapshot, err := s.Record.Snapshot(ctx)
	if err != nil {
		return nil, err
	}
	return &exported{snapshot: snapshot, checkpoint: signed, verifier: v, log: s.Log}, nil
}

type exported struct {
	snapshot   Snapshot
	checkpoint []byte
	verifier   *audit.Verifier
	log        *slog.Logger
}

func (e *exported) answer(ctx context.Context, c *call) error {
	defer e.snapshot.Close()
	h := c.w.Header()
	h.Set("Content-Type", api.MediaLines)
	h.Set("Content-Disposition", `attachment; filename="valetkey-audit.ndjson"`)
	c.w.WriteHeader(http.StatusOK)
	out := patient{c.w, http.NewResponseController(c.w)}
	if err := audit.WriteExport(ctx, out, e.snapshot, e.checkpoint, e.verifier); err != nil {
		e.log.WarnContext(ctx, "audit export cut off", slog.String("request", c.id), slog.Any("error", err))
		// A broken connection shows that it is not all of it.
		panic(http.ErrAbortHandler)
	}
	return nil
}

// patient gives each piece of a long answer its own time to be written.
type patient struct {
	w  http.ResponseWriter
	rc *http.ResponseController
}

func (p patient) Write(b []byte) (int, error) {
	_ = p.rc.SetWriteDeadline(time.Now().Add(writeIn)) // not every writer has one
	return p.w.Write(b)
}

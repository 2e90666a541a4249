package dash

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider"
)

// previewLater is the panel before anybody has looked; nil where there is
// nothing to look at.
func (s *Server) previewLater(ctx context.Context, c *call, n *names, shown broker.Shown) *PreviewPanel {
	v := &PreviewPanel{ID: string(shown.Action.ID), Now: c.now, Provider: n.connection(shown.Action.Connection).Provider, State: "later"}
	err := s.Broker.MayPreview(ctx, c.who, shown.Held, c.now)
	switch {
	case err == nil:
		return v
	case errors.Is(err, broker.ErrNoSight) && shown.MayAnswer:
		v.State, v.Problem = "failed", broker.ErrNoSight.Detail
		return v
	}
	return nil
}

// peek fills the panel. A failure is told in it, and keeps nobody from deciding.
func (s *Server) peek(ctx context.Context, c *call, shown broker.Shown, v *PreviewPanel) error {
	got, err := s.Broker.Preview(ctx, c.who, shown.Approval.ID, c.now)
	if err != nil {
		f := s.known(c, err)
		if f.Kind == fault.NotFound && f.Reason != broker.ErrNoPreview.Reason {
			return err
		}
		v.State, v.Problem = "failed", f.Detail
		return nil
	}
	v.State, v.Strict, v.Token, v.At = "shown", got.Strict, got.Token, got.At
	for _, f := range got.Now {
		v.Facts = append(v.Facts, previewFact(f))
	}
	for _, ch := range got.Changes {
		v.Changes = append(v.Changes, previewChange(ch))
	}
	for _, g := range got.Gaps {
		v.Gaps = append(v.Gaps, gap(g, v.Provider))
	}
	return nil
}

// preview is the panel alone, which the page asks for when it stands.
func (s *Server) preview(ctx context.Context, c *call) (reply, error) {
	shown, err := s.find(ctx, c)
	if err != nil {
		return reply{}, err
	}
	v := s.previewLater(ctx, c, s.names(ctx), shown)
	if v == nil {
		return reply{}, broker.ErrNoPreview
	}
	if v.State == "later" {
		if err := s.peek(ctx, c, shown, v); err != nil {
			return reply{}, err
		}
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Preview(w, v) }}, nil
}

func previewFact(v provider.ShownValue) PreviewFact {
	f := PreviewFact{Label: v.Label, Kind: string(v.Type), There: v.There, Text: v.Text, Left: v.Left}
	if v.Type == provider.ShowTime {
		if at, err := time.Parse(time.RFC3339, v.Text); err == nil {
			f.At = at
		}
	}
	if v.Type == provider.ShowFlag {
		f.Text = map[string]string{"true": "yes", "false": "no"}[v.Text]
		f.There = f.Text != ""
	}
	return f
}

func previewChange(ch provider.ShownChange) PreviewChange {
	v := PreviewChange{
		Label: ch.Label, Form: string(ch.Does), Kind: string(ch.Type), Known: ch.Known, Same: ch.Same,
		Before: previewFact(ch.Before), After: previewFact(ch.After),
	}
	// What is cut off is not compared: a change there would be denied by silence.
	if ch.Does == provider.Replaces && ch.Known && ch.Type == provider.ShowLines && ch.Before.Left == 0 && ch.After.Left == 0 {
		v.Diff = NewDiff(ch.Before.Text, ch.After.Text)
	}
	return v
}

// gap says in a sentence what could not be read.
func gap(g provider.PreviewGap, who string) string {
	switch g.Kind {
	case provider.GapMissing:
		if g.Words != "" {
			return fmt.Sprintf("%s, or none that this account may see (HTTP %d).", sentence(g.Words), g.Status)
		}
		return fmt.Sprintf("It is not there, or this account may not see it (HTTP %d).", g.Status)
	case provider.GapMoved:
		return fmt.Sprintf("%s says that it is somewhere else now: it was renamed or moved (HTTP %d).", who, g.Status)
	case provider.GapLarge:
		return who + " answered with more than can be shown here, or with what cannot be read."
	}
	if g.Status != 0 {
		return fmt.Sprintf("It could not be read now: %s answered with HTTP %d.", who, g.Status)
	}
	return "It could not be read now: " + who + " did not answer in time."
}

type sharing struct {
	With string `json:"with"` // "approvers", or "owner" for nobody else
}

// sharePreviews says who may look through a connection.
func (s *Server) sharePreviews(ctx context.Context, c *call, req sharing) (reply, error) {
	with := vault.Sight(req.With)
	if req.With == "owner" {
		with = vault.OwnerLooks
	}
	if err := s.Manage.SharePreviews(ctx, c.who, c.http.PathValue("id"), with, c.now); err != nil {
		return reply{}, err
	}
	return reply{to: "/connections#" + c.http.PathValue("id")}, nil
}

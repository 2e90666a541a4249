package dash

import (
	"context"
	"encoding/json"
	"net/url"
	"strings"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/internal/fault"
)

// Limits of what is taken out of a provider's answer.
const (
	resultRead = 1 << 20 // bytes of an answer that are looked into
	saidMost   = 300     // characters of its message
	linkMost   = 2000
)

// result adds to an outcome what the provider's answer tells a person: where
// the thing is that came of it, or why it was refused. Nothing else of the
// answer is shown; it is the agent's.
func (s *Server) result(ctx context.Context, n *names, shown broker.Shown, v *Outcome) error {
	a := shown.Action
	if shown.Request == nil || a.State != action.Succeeded && a.State != action.Failed || a.Status == 0 {
		return nil
	}
	kept, err := s.Broker.Result(ctx, shown)
	if fault.From(err).Reason == broker.ErrNoPayload.Reason {
		return nil
	}
	if err != nil || len(kept.Body) > resultRead {
		return err
	}
	// Each by itself: a link that is no text must not take the message with it.
	var said map[string]json.RawMessage
	if json.Unmarshal(kept.Body, &said) != nil {
		return nil
	}
	text := func(name string) (out string) {
		_ = json.Unmarshal(said[name], &out) // what is no text is left out
		return out
	}
	if a.State == action.Failed {
		v.Said, _ = display.Clip(text("message"), saidMost)
		return nil
	}
	if spec := n.spec(a.Provider); spec != nil {
		v.LinkURL = resultLink(text("html_url"), spec.Endpoints.WebBase)
	}
	return nil
}

// resultLink is link if it leads to the provider's own pages, else "": what an
// answer holds was in part written by others, and a page of ours sends nobody
// where they say. Scheme, host and port are compared, and the path has to lie
// below that of base.
func resultLink(link, base string) string {
	if link == "" || len(link) > linkMost || base == "" || strings.ContainsFunc(link, func(r rune) bool { return r <= ' ' || r > '~' || r == '\\' }) {
		return ""
	}
	to, err := url.Parse(link)
	if err != nil {
		return ""
	}
	home, err := url.Parse(base)
	if err != nil || to.Scheme != home.Scheme || to.Host != home.Host || to.User != nil || to.Opaque != "" || to.Scheme != "https" && to.Scheme != "http" {
		return ""
	}
	if !strings.HasPrefix(to.Path+"/", strings.TrimSuffix(home.Path, "/")+"/") || strings.Contains(to.Path+"/", "/../") {
		return ""
	}
	return to.String()
}

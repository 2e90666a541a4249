package httpapi

import (
	"bytes"
	"cmp"
	"context"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
)

// proposes says whether a refusal becomes a proposal: a change that p may make,
// only not from where they are.
func (rt route) proposes(p *user.Principal, refusal error) bool {
	if p == nil || !p.Operator && p.Kind != user.CLI || !rt.proposable() {
		return false
	}
	return manage.Elsewhere(refusal)
}

// proposable says whether a route is one that may be proposed: a change by
// people. Decisions have a page of their own.
func (rt route) proposable() bool {
	return rt.who == people && !strings.HasPrefix(rt.pattern, http.MethodGet+" ") && rt.pattern != "POST /v1/approvals/{id}/decision"
}

// proposed is a result with status 202: it waits for a person.
type proposed struct{ api.Proposal }

func (a proposed) answer(_ context.Context, c *call) error {
	return c.json(http.StatusAccepted, "/v1/proposals/"+a.ID, a.Proposal)
}

// propose makes a proposal of the request that c is, exactly as it came.
func (s *Server) propose(ctx context.Context, p user.Principal, c *call) (proposed, error) {
	v, err := s.Proposals.Open(ctx, p, proposal.Request{
		Method: c.r.Method, Path: c.r.URL.EscapedPath(), Query: c.r.URL.RawQuery, Body: c.body, Frozen: s.frozen(ctx, c),
	}, c.now)
	if err != nil {
		return proposed{}, err
	}
	return proposed{s.proposalView(proposal.Shown{Proposal: v}, c.now)}, nil
}

// frozen is what the freeze holds that c is about, if it is about one.
func (s *Server) frozen(ctx context.Context, c *call) proposal.Frozen {
	for _, f := range s.Manage.Freezes.Active() {
		if string(f.ID) == c.ref("id") {
			v := s.directory(ctx).freeze(freezeView(f))
			return proposal.Frozen{Kind: v.Kind, Name: cmp.Or(v.TargetName, v.Target)}
		}
	}
	return proposal.Frozen{}
}

func (s *Server) proposalView(v proposal.Shown, now time.Time) api.Proposal {
	return api.Proposal{
		ID: string(v.ID), State: api.ProposalState(v.At(now)), Summary: v.Summary, URL: s.page("proposals/" + string(v.ID)),
		ExpiresAt: moment(v.ExpiresAt), Status: v.Status, Answer: v.Outcome,
	}
}

// getProposal is GET /v1/proposals/{id}. It waits, if wanted, until nothing more
// will become of it.
func (s *Server) getProposal(ctx context.Context, p user.Principal, c *call, _ none) (api.Proposal, error) {
	wait, err := c.number("wait", 0, api.MaxWaitSeconds, 0)
	if err != nil {
		return api.Proposal{}, err
	}
	ref := c.ref("id")
	if !id.Valid("prp", ref) {
		return api.Proposal{}, proposal.ErrUnknown
	}
	waiting, done := s.until(ctx, time.Duration(wait)*time.Second)
	defer done()
	for {
		woken, now := s.Record.Woken(), time.Now()
		v, err := s.Proposals.Get(ctx, p, id.Proposal(ref), now)
		if err != nil {
			return api.Proposal{}, err
		}
		if v.Settled(now) || waiting.Err() != nil || wait == 0 {
			return s.proposalView(v, now), nil
		}
		expiry := time.NewTimer(v.ExpiresAt.Sub(now))
		if v.At(now) != proposal.Open {
			expiry.Stop()
		}
		select {
		case <-woken:
		case <-expiry.C:
		case <-waiting.Done():
		}
		expiry.Stop()
		who, err := c.again(context.WithoutCancel(ctx))
		if err != nil {
			return api.Proposal{}, err
		}
		p = *who.person
	}
}

// Perform carries out what a person has confirmed, as if they had sent it from
// their browser just now: through the route that it names, which judges it like
// any other request. p is somebody whose passkey was touched for it.
func (s *Server) Perform(ctx context.Context, p user.Principal, r proposal.Request) (status int, answer []byte) {
	out := &kept{header: http.Header{}}
	u, err := url.ParseRequestURI(r.Path)
	if err == nil {
		u.RawQuery = r.Query
	} else {
		u = &url.URL{Path: "/"} // which is nothing that there is
	}
	req := (&http.Request{
		Method: r.Method, URL: u, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody,
	}).WithContext(ctx)
	if len(r.Body) > 0 {
		req.Header.Set("Content-Type", api.MediaJSON)
		req.Body, req.ContentLength = readCloser{bytes.NewReader(r.Body)}, int64(len(r.Body))
	}
	who := func(context.Context, *call, time.Time) (caller, error) { return caller{person: &p}, nil }
	s.handler(who, route.proposable).ServeHTTP(out, req)
	return out.status, out.body.Bytes()
}

type readCloser struct{ *bytes.Reader }

func (readCloser) Close() error { return nil }

// kept is an answer that goes nowhere yet.
type kept struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (k *kept) Header() http.Header { return k.header }

func (k *kept) WriteHeader(status int) {
	if k.status == 0 {
		k.status = status
	}
}

func (k *kept) Write(b []byte) (int, error) {
	k.WriteHeader(http.StatusOK)
	return k.body.Write(b)
}

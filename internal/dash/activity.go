package dash

import (
	"context"
	"io"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/user"
)

// How much of the log one page shows, and how much it looks through for it.
const (
	eventsShown  = 60  // that a filter let through, a row each
	eventsFolded = 240 // without one, many to a row
	eventsLooked = 3000
	eventsBatch  = 300
)

func (s *Server) activity(ctx context.Context, c *call) (reply, error) {
	v, err := s.activityView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.Activity(w, v) }}, err
}

func (s *Server) activityList(ctx context.Context, c *call) (reply, error) {
	v, err := s.activityView(ctx, c)
	return reply{page: func(w io.Writer) error { return s.Pages.ActivityList(w, v) }}, err
}

func (s *Server) activityView(ctx context.Context, c *call) (ActivityPage, error) {
	chrome, err := s.chrome(ctx, c, "Activity", "activity")
	if err != nil {
		return ActivityPage{}, err
	}
	q := c.http.URL.Query()
	v := ActivityPage{Chrome: chrome, Filter: strings.TrimSpace(q.Get("q"))}
	if len(v.Filter) > 200 {
		v.Filter = v.Filter[:200]
	}
	before, err := strconv.ParseInt(q.Get("before"), 10, 64)
	if err != nil || before < 0 {
		before = 0
	}
	if v.Checkpoint, err = s.checkpoint(ctx); err != nil {
		return v, err
	}
	events, older, err := s.browse(ctx, c, v.Filter, before)
	if err != nil {
		return v, err
	}
	if older > 0 {
		v.Older = strconv.FormatInt(older, 10)
	}
	if v.Filter == "" {
		events = folded(events)
	}
	for _, e := range events {
		date := dayOf(e.At)
		if len(v.Days) == 0 || !v.Days[len(v.Days)-1].Date.Equal(date) {
			v.Days = append(v.Days, Day{Date: date})
		}
		last := &v.Days[len(v.Days)-1]
		last.Events = append(last.Events, e)
	}
	return v, nil
}

// browse reads the log backwards from before, and returns what this person may
// see of it and what the filter lets through, with the place to go on from; 0
// at the beginning of the log.
func (s *Server) browse(ctx context.Context, c *call, filter string, before int64) (out []Event, older int64, err error) {
	n := s.names(ctx)
	query := Query{Org: s.Org, Before: before, Limit: eventsBatch}
	if isVerb(filter) {
		query.Verb = filter // found by its index
	}
	needle, most := strings.ToLower(filter), eventsShown
	if filter == "" {
		most = eventsFolded
	}
	for looked := 0; looked < eventsLooked; {
		events, err := s.Select(ctx, query)
		if err != nil {
			return nil, 0, err
		}
		for _, e := range events {
			looked++
			query.Before = e.Seq
			if !concerns(c.who, e) {
				continue
			}
			v := eventView(n, e)
			if !matches(needle, e, v) {
				continue
			}
			if out = append(out, v); len(out) == most {
				return out, e.Seq, nil
			}
		}
		if len(events) < eventsBatch {
			return out, 0, nil
		}
	}
	return out, query.Before, nil
}

// concerns reports whether an event is p's to see: what they did, and what was
// done to what is theirs.
func concerns(p user.Principal, e audit.Event) bool {
	return seesAll(p) || e.Actor == p.Actor() || e.Subject == string(p.User)
}

// isVerb recognizes "action.approved" and "action.".
func isVerb(s string) bool {
	word, rest, ok := strings.Cut(s, ".")
	return ok && word != "" && strings.Trim(word+rest, "abcdefghijklmnopqrstuvwxyz_.") == ""
}

func matches(needle string, e audit.Event, v Event) bool {
	if needle == "" {
		return true
	}
	for _, hay := range []string{e.Verb, e.Actor, e.Object, e.Subject, v.Actor, v.Object, v.Sentence} {
		if strings.Contains(strings.ToLower(hay), needle) {
			return true
		}
	}
	for _, hay := range e.Data {
		if strings.Contains(strings.ToLower(hay), needle) {
			return true
		}
	}
	return false
}

func (s *Server) checkpoint(ctx context.Context) (*Checkpoint, error) {
	signed, at, _ := s.Checkpoint()
	if signed == nil {
		return nil, nil
	}
	head, err := s.Broker.Log.Head(ctx)
	if err != nil {
		return nil, err
	}
	return &Checkpoint{Size: at.Size, Root: at.Root.String(), Key: at.Origin, At: at.At, Lag: max(head.Size-at.Size, 0)}, nil
}

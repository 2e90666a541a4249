package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/display"
)

// How long to wait for news of a proposal.
const (
	newsIn     = "5"              // seconds; one request's
	patience   = 15 * time.Minute // longer than a proposal is open
	outcomeFor = 3 * time.Minute  // from the confirmation
)

const reasonOpen = "proposal_open"

// confirming is how a command waits until a person has confirmed with their
// passkey what the command line may only propose.
type confirming struct {
	*terminal
	wait bool
}

// settle follows a proposal to its end, and returns the answer that the request
// would have had without it.
func (r *remote) settle(ctx context.Context, path string, raw []byte) ([]byte, error) {
	var p api.Proposal
	if json.Unmarshal(raw, &p) != nil || !strings.HasPrefix(p.ID, "prp_") {
		return nil, notOurs(http.StatusAccepted)
	}
	page := display.VisibleText(p.URL)
	if r.confirm == nil {
		return nil, openProposal(exitHeld, page)
	}
	if !r.confirm.wait {
		return nil, r.confirm.leave(p, page)
	}
	// Where the result is JSON, this is said all the same: without it nobody
	// would know what is waited for.
	said := display.VisibleText(p.Summary)
	if r.by != "" {
		said += "\n" + r.by
	}
	fmt.Fprintf(r.confirm.err, "%s\nConfirm with your passkey: %s\n", said, page)
	defer r.confirm.clear()
	began, confirmed := time.Now(), time.Time{}
	for {
		now, err := get[api.Proposal](ctx, r, "v1/proposals/"+segment(p.ID), url.Values{"wait": {newsIn}})
		switch {
		case ctx.Err() != nil:
			return nil, openProposal(exitInterrupted, page)
		case err != nil && judge(err).code == exitUnavailable && time.Since(began) < patience:
			if !sleep(ctx, reconnect) {
				return nil, openProposal(exitInterrupted, page)
			}
			continue
		case err != nil:
			// It can be confirmed all the same.
			v := judge(err)
			return nil, &failure{Code: v.code, Reason: reasonOpen, Text: sentence(v.problem.Detail), Next: "It still waits: " + page, Err: err}
		}
		switch now.State {
		case api.ProposalRefused:
			return nil, &failure{Code: exitRefused, Reason: "proposal_refused", Text: "It was refused in the browser; nothing was done."}
		case api.ProposalExpired:
			return nil, &failure{Code: exitHeld, Reason: "proposal_expired", Text: "Nobody confirmed it in time; nothing was done.", Next: "Give the command again."}
		case api.ProposalFailed:
			return r.carriedOut(now, path)
		case api.ProposalConfirmed:
			if now.Status != 0 {
				return r.carriedOut(now, path)
			}
			if confirmed.IsZero() {
				confirmed = time.Now()
			}
			if time.Since(confirmed) > outcomeFor {
				return nil, &failure{Code: exitUnknown, Reason: "answer_lost", Text: "It was confirmed and its outcome lost: it may have happened.", Next: "Look before repeating it."}
			}
		case api.ProposalOpen:
		default:
			return nil, notOurs(http.StatusOK)
		}
		r.confirm.progress("Waiting for your passkey… %s", time.Since(began).Round(time.Second))
	}
}

// carriedOut is what a confirmed request was answered with.
func (r *remote) carriedOut(p api.Proposal, path string) ([]byte, error) {
	if p.Status/100 == 2 {
		return p.Answer, nil
	}
	var problem api.Problem
	if json.Unmarshal(p.Answer, &problem) != nil || problem.Reason == "" {
		return nil, notOurs(p.Status)
	}
	return nil, &answerError{status: p.Status, problem: problem, public: r.public, path: path}
}

// leave says where to confirm, as the result of a command that does not wait.
func (c *confirming) leave(p api.Proposal, page string) error {
	if c.json {
		if err := c.print(p); err != nil {
			return err
		}
		return openProposal(exitHeld, page)
	}
	c.note("%s", display.VisibleText(p.Summary))
	c.say("%s", page)
	return openProposal(exitHeld, page)
}

func openProposal(code int, page string) error {
	return &failure{Code: code, Reason: reasonOpen, Text: "Nothing is done before it is confirmed with a passkey.", Next: "Here, within ten minutes: " + page}
}

// isOpen reports whether what was asked for may still come about.
func isOpen(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.Reason == reasonOpen
}

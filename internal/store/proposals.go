package store

import (
	"context"
	"fmt"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/proposal"
)

var _ proposal.Store = (*Proposals)(nil)

// Proposals implements [proposal.Store].
type Proposals struct{ db *DB }

// Proposals returns the store of proposals.
func (db *DB) Proposals() *Proposals { return &Proposals{db} }

var proposals = newTable("proposals", "org id", true, func(p *proposal.Proposal) []field {
	return []field{
		text("org", &p.Org), text("id", &p.ID), text("proposer", &p.By), text("user_id", &p.User), text("session", &p.Session), text("label", &p.Label),
		text("method", &p.Method), text("path", &p.Path), text("query", &p.Query), text("summary", &p.Summary), blob("body", &p.Body),
		array32("digest", &p.Digest), blob("nonce", &p.Nonce), moment("created_at", &p.CreatedAt), moment("expires_at", &p.ExpiresAt),
		text("state", &p.State), moment("decided_at", &p.DecidedAt), text("decided_by", &p.DecidedBy), blob("evidence", &p.Evidence),
		integer("status", &p.Status), blob("answer", &p.Answer), integer("version", &p.Version),
	}
})

const (
	countProposalsQ  = `select count(*) from proposals where org = $1 and proposer = $2 and state = 'open' and expires_at > $3`
	forgetProposalsQ = `delete from proposals where org = $1 and created_at < $2`
)

// CreateProposal stores a new proposal, unless its proposer has too many open.
func (s *Proposals) CreateProposal(ctx context.Context, p *proposal.Proposal, most int, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		open := func() (int, error) {
			var n int
			if err := tx.QueryRowContext(tx.ctx, countProposalsQ, string(p.Org), p.By, micros(p.CreatedAt)).Scan(&n); err != nil {
				return 0, fmt.Errorf("count open proposals: %w", err)
			}
			return n, nil
		}
		if n, err := open(); err != nil {
			return err
		} else if n >= most {
			return proposal.ErrTooMany
		}
		tx.confirm(func() error {
			if n, err := open(); err != nil {
				return err
			} else if n > most {
				return fmt.Errorf("propose %s: %w", p.ID, errStale)
			}
			return nil
		})
		tx.Emit(events...)
		return proposals.insert(tx, p)
	})
}

// Proposal returns one proposal.
func (s *Proposals) Proposal(ctx context.Context, org id.Org, p id.Proposal) (*proposal.Proposal, error) {
	v, err := proposals.one(ctx, s.db, s.db.reader, "where org = $1 and id = $2", string(org), string(p))
	return v, named(err, proposal.ErrUnknown)
}

// OpenProposals lists the proposals that nobody has decided, newest first.
func (s *Proposals) OpenProposals(ctx context.Context, org id.Org) ([]*proposal.Proposal, error) {
	return proposals.many(ctx, s.db, s.db.reader, "where org = $1 and state = 'open' order by created_at desc, id desc", string(org))
}

// UpdateProposal changes a proposal.
func (s *Proposals) UpdateProposal(ctx context.Context, org id.Org, p id.Proposal, change func(*proposal.Proposal) ([]audit.Event, error)) error {
	return s.db.write(ctx, func(tx *Tx) error {
		return named(modify(tx, proposals, change, "where org = $1 and id = $2", string(org), string(p)), proposal.ErrUnknown)
	})
}

// ForgetProposals removes old proposals.
func (s *Proposals) ForgetProposals(ctx context.Context, org id.Org, before time.Time) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(tx.ctx, forgetProposalsQ, string(org), micros(before)); err != nil {
			return fmt.Errorf("forget proposals: %w", err)
		}
		return nil
	})
}

package store

import (
	"context"
	"errors"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
)

// Policies implements [broker.PolicyStore].
type Policies struct{ db *DB }

// Policies returns the store of policies.
func (db *DB) Policies() *Policies { return &Policies{db} }

var policies = newTable("policies", "org id", true, func(d *policy.Document) []field {
	return []field{
		text("org", &d.Org), text("id", &d.ID), text("name", &d.Name), text("owner", &d.Owner), text("body", &d.Text),
		text("updated_by", &d.UpdatedBy), moment("updated_at", &d.UpdatedAt), integer("version", &d.Version),
	}
})

// Policies lists all policies, the org's first.
func (s *Policies) Policies(ctx context.Context, org id.Org) ([]*policy.Document, error) {
	return policies.many(ctx, s.db, s.db.reader, "where org = $1 order by owner, name", string(org))
}

// PutPolicy creates a policy (version 0) or replaces the version that d names.
func (s *Policies) PutPolicy(ctx context.Context, d *policy.Document, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		put := *d
		if put.Version == 0 {
			put.Version = 1
			return policies.insert(tx, &put)
		}
		err := policies.update(tx, &put)
		if errors.Is(err, errStale) {
			return broker.ErrPolicyChanged
		}
		return err
	})
}

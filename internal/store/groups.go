package store

import (
	"context"
	"fmt"
	"log/slog"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// Groups implements [user.GroupStore].
type Groups struct{ db *DB }

var groups = newTable("people_groups", "org id", true, func(g *user.Group) []field {
	return []field{
		text("org", &g.Org), text("id", &g.ID), text("name", &g.Name), asJSON("members", &g.Members), moment("created_at", &g.CreatedAt),
		integer("version", &g.Version),
	}
})

// CreateGroup stores a new group.
func (s *Groups) CreateGroup(ctx context.Context, g *user.Group, events []audit.Event) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		tx.Emit(events...)
		return groups.insert(tx, g)
	})
}

// staleGroupsQ finds groups of which the log knows more changes than the row
// has seen: somebody put an old one back, with members who have left.
const staleGroupsQ = `select count(*) from people_groups g where g.org = $1 and g.version <
	(select count(*) from audit_events e where e.object = g.id and e.verb in ('group.created', 'group.member_added', 'group.member_removed'))`

func (s *Groups) fresh(ctx context.Context, org id.Org) error {
	var n int
	if err := s.db.reader.QueryRowContext(ctx, staleGroupsQ, string(org)).Scan(&n); err != nil {
		return fmt.Errorf("compare groups with the log: %w", err)
	}
	if n > 0 {
		s.db.logger.Error("a row that had ended was put back: the database was changed outside of Valetkey", slog.String("table", groups.name))
		return fmt.Errorf("read %s: %w", groups.name, errForged)
	}
	return nil
}

// Groups lists all groups, by name.
func (s *Groups) Groups(ctx context.Context, org id.Org) ([]*user.Group, error) {
	all, err := groups.many(ctx, s.db, s.db.reader, "where org = $1 order by name", string(org))
	if err != nil || len(all) == 0 {
		return nil, err
	}
	return all, s.fresh(ctx, org)
}

// Group finds a group by its name.
func (s *Groups) Group(ctx context.Context, org id.Org, name string) (*user.Group, error) {
	g, err := groups.one(ctx, s.db, s.db.reader, "where org = $1 and name = $2", string(org), name)
	if err != nil {
		return nil, named(err, user.ErrGroup)
	}
	return g, s.fresh(ctx, org)
}

// UpdateGroup changes a group.
func (s *Groups) UpdateGroup(ctx context.Context, org id.Org, g id.Group, c user.Change[user.Group]) error {
	return s.db.write(ctx, func(tx *Tx) error {
		tx.moveAuthority()
		return named(modify(tx, groups, c, "where org = $1 and id = $2", string(org), string(g)), user.ErrGroup)
	})
}

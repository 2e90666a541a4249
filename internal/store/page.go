package store

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/valetkey/valetkey/internal/grant"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/vault"
)

// keyset selects a page of rows of one org by their ids, which sort by the time
// at which they were made: the latest first. However the table changes between
// two pages, no row that stays is listed twice or left out.
type keyset struct {
	where string
	args  []any
}

func ofOrg(org id.Org) *keyset { return &keyset{"where org = $1", []any{string(org)}} }

func (k *keyset) add(cond string, arg any) {
	k.args = append(k.args, arg)
	k.where += cond + "$" + strconv.Itoa(len(k.args))
}

// equal narrows it to rows with this value; "" does not.
func (k *keyset) equal(column, value string) {
	if value != "" {
		k.add(" and "+column+" = ", value)
	}
}

// before narrows it to rows that were made before the one of this id; "" does
// not.
func (k *keyset) before(id string) {
	if id != "" {
		k.add(" and id < ", id)
	}
}

// page is everything after "from", and its arguments.
func (k *keyset) page(limit int) (where string, args []any) {
	k.add(" order by id desc limit ", limit)
	return k.where, k.args
}

// Page lists a page of connections.
func (s *Connections) Page(ctx context.Context, org id.Org, u id.User, before id.Connection, limit int) ([]*vault.Connection, error) {
	k := ofOrg(org)
	k.equal("user_id", string(u))
	k.before(string(before))
	where, args := k.page(limit)
	return connections.many(ctx, s.db, s.db.reader, where, args...)
}

// Page lists a page of grants, as the log knows them.
func (s *Grants) Page(ctx context.Context, org id.Org, which grant.Listing) ([]*grant.Grant, error) {
	k := ofOrg(org)
	k.equal("user_id", string(which.User))
	k.equal("agent", string(which.Agent))
	k.equal("connection", string(which.Connection))
	k.before(string(which.Before))
	where, args := k.page(which.Limit)
	got, err := grants.many(ctx, s.db, s.db.reader, where, args...)
	if err != nil {
		return nil, err
	}
	// Only what stands on the page is compared with the log, and of that what
	// looks alive.
	var these strings.Builder
	args = []any{string(org)}
	for _, g := range got {
		if g.RevokedAt.IsZero() {
			args = append(args, string(g.ID))
			fmt.Fprintf(&these, ", $%d", len(args))
		}
	}
	if these.Len() == 0 {
		return got, nil
	}
	return s.asRevoked(ctx, got, " and g.id in ("+these.String()[2:]+")", args...)
}

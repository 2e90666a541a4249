package store

import (
	"context"
	"fmt"
	"strings"

	"github.com/valetkey/valetkey/internal/id"
)

// kindsQ lists the verbs with a prefix that the log has, a step of the index
// each, however many events there are of one.
const kindsQ = `with recursive kinds(verb) as (
	select min(verb) from audit_events where verb >= $1 and verb < $2
	union all
	select (select min(verb) from audit_events where verb > kinds.verb and verb < $2) from kinds where kinds.verb is not null
) select verb from kinds where verb is not null`

// kinds are the verbs that begin with prefix and a dot.
func (l *Log) kinds(ctx context.Context, prefix string) ([]string, error) {
	// The slash is the character after the dot.
	rows, err := l.db.reader.QueryContext(ctx, kindsQ, prefix+".", prefix+"/")
	if err != nil {
		return nil, fmt.Errorf("list kinds of events: %w", err)
	}
	defer rows.Close()
	var out []string
	for rows.Next() {
		var verb string
		if err := rows.Scan(&verb); err != nil {
			return nil, fmt.Errorf("list kinds of events: %w", err)
		}
		out = append(out, verb)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list kinds of events: %w", err)
	}
	return out, nil
}

// newestOf is a query for the newest events of several kinds: the newest of
// each, and of those the newest. Neither engine finds that way by itself; they
// sort all of them, or read the log until they have enough.
func newestOf(verbs []string, org id.Org, before int64, limit int) (string, []any) {
	if before <= 0 {
		before = 1<<63 - 1
	}
	args := []any{string(org), before, limit}
	var each []string
	for _, v := range verbs {
		args = append(args, v)
		each = append(each, fmt.Sprintf("select * from (select seq from audit_events where verb = $%d and org = $1 and seq < $2 order by seq desc limit $3) as k%d", len(args), len(args)))
	}
	return "select leaf from audit_events where seq in (" + strings.Join(each, " union all ") + ") order by seq desc limit $3", args
}

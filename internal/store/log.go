package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

// eventLog is the writer's side of the audit log: it holds the frontier of the
// tree in memory and appends to it inside the writer's transaction. Only the
// writer uses it.
type eventLog struct {
	frontier audit.Frontier
	texts    map[insertText]string
}

const (
	headQ       = `select size, root from audit_head where id = 1`
	takeHeadQ   = `update audit_head set size = size + $1 where id = 1 returning size - $2`
	setHeadQ    = `update audit_head set root = $1 where id = 1`
	readHashQ   = `select idx, hash from audit_hashes where idx in (%s)`
	eventRangeQ = `select seq, leaf from audit_events where seq >= $1 and seq < $2 order by seq`

	insertEventsQ = `insert into audit_events (seq, at, org, verb, actor, object, subject, leaf) values `
	insertHashesQ = `insert into audit_hashes (idx, hash) values `
)

// storedHash is one hash and where it is stored.
type storedHash struct {
	index int64
	hash  tlog.Hash
}

// append writes events and the new head into tx and returns the frontier after
// them, which counts once tx has committed, with the first hash stored. The
// head is taken last, and so held only to the commit: sequence order is commit
// order, without gaps.
func (l *eventLog) append(ctx context.Context, tx queries, events []audit.Event) (audit.Frontier, *storedHash, error) {
	from := l.frontier
	if len(events) == 0 {
		return from, nil, nil
	}
	var size int64
	n := int64(len(events))
	if err := tx.QueryRowContext(ctx, takeHeadQ, n, n).Scan(&size); err != nil {
		return from, nil, fmt.Errorf("take audit head: %w", err)
	}
	if size != from.Size() {
		// Another replica has appended since.
		var err error
		if from, err = audit.Restore(size, hashReader{ctx, tx}); err != nil {
			return from, nil, err
		}
	}
	next, b, err := from.Append(events)
	if err != nil {
		return from, nil, err
	}
	if err := l.insertEvents(ctx, tx, b); err != nil {
		return from, nil, err
	}
	if err := l.insertHashes(ctx, tx, b); err != nil {
		return from, nil, err
	}
	if _, err := tx.ExecContext(ctx, setHeadQ, b.Head.Root[:]); err != nil {
		return from, nil, fmt.Errorf("set audit head: %w", err)
	}
	return next, &storedHash{b.FirstHash, b.Hashes[0]}, nil
}

func (l *eventLog) insertEvents(ctx context.Context, tx queries, b audit.Batch) error {
	for at := 0; at < len(b.Events); {
		rows := piece(len(b.Events) - at)
		args := make([]any, 0, 8*rows)
		for i := at; i < at+rows; i++ {
			e := &b.Events[i]
			args = append(args, e.Seq, micros(e.At), string(e.Org), e.Verb, e.Actor, e.Object, e.Subject, string(b.Encoded[i]))
		}
		if _, err := tx.ExecContext(ctx, l.insert(insertEventsQ, rows, 8), args...); err != nil {
			return fmt.Errorf("append audit events: %w", err)
		}
		at += rows
	}
	return nil
}

func (l *eventLog) insertHashes(ctx context.Context, tx queries, b audit.Batch) error {
	for at := 0; at < len(b.Hashes); {
		rows := piece(len(b.Hashes) - at)
		args := make([]any, 0, 2*rows)
		for i := at; i < at+rows; i++ {
			args = append(args, b.FirstHash+int64(i), b.Hashes[i][:])
		}
		if _, err := tx.ExecContext(ctx, l.insert(insertHashesQ, rows, 2), args...); err != nil {
			return fmt.Errorf("append audit hashes: %w", err)
		}
		at += rows
	}
	return nil
}

// maxPiece is how many rows one insert statement carries at most.
const maxPiece = 32

// piece is how many of the remaining rows the next statement carries: a power
// of two, so that there are few different statements to compile.
func piece(left int) int {
	n := maxPiece
	for n > left {
		n /= 2
	}
	return n
}

type insertText struct {
	into string
	rows int
}

func (l *eventLog) insert(into string, rows, width int) string {
	k := insertText{into, rows}
	q, ok := l.texts[k]
	if !ok {
		if l.texts == nil {
			l.texts = make(map[insertText]string)
		}
		q = into + marks(rows, width)
		l.texts[k] = q
	}
	return q
}

// marks is "($1, $2), ($3, $4)" for rows of width columns.
func marks(rows, width int) string {
	b := make([]byte, 0, 6*rows*width)
	for i := range rows {
		if i > 0 {
			b = append(b, ", "...)
		}
		b = append(b, '(')
		for j := range width {
			if j > 0 {
				b = append(b, ", "...)
			}
			b = strconv.AppendInt(append(b, '$'), int64(i*width+j+1), 10)
		}
		b = append(b, ')')
	}
	return string(b)
}

// hashReader reads stored hashes of the tree.
type hashReader struct {
	ctx context.Context
	q   queries
}

// ReadHashes implements [tlog.HashReader].
func (r hashReader) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	if len(indexes) == 0 {
		return nil, nil
	}
	args, at := make([]any, len(indexes)), make(map[int64][]int, len(indexes))
	for i, x := range indexes {
		args[i] = x
		at[x] = append(at[x], i)
	}
	list := strings.Trim(marks(1, len(indexes)), "()")
	rows, err := r.q.QueryContext(r.ctx, fmt.Sprintf(readHashQ, list), args...)
	if err != nil {
		return nil, fmt.Errorf("read audit hashes: %w", err)
	}
	defer rows.Close()
	out, found := make([]tlog.Hash, len(indexes)), 0
	for rows.Next() {
		var idx int64
		var h []byte
		if err := rows.Scan(&idx, &h); err != nil {
			return nil, fmt.Errorf("read audit hashes: %w", err)
		}
		if len(h) != tlog.HashSize {
			return nil, fmt.Errorf("audit hash %d has %d bytes", idx, len(h))
		}
		for _, i := range at[idx] {
			copy(out[i][:], h)
			found++
		}
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read audit hashes: %w", err)
	}
	if found != len(indexes) {
		return nil, fmt.Errorf("read audit hashes: %d of %d are missing", len(indexes)-found, len(indexes))
	}
	return out, nil
}

// Log reads the audit log.
type Log struct{ db *DB }

// Log returns the reading side of the audit log.
func (db *DB) Log() *Log { return &Log{db} }

// Head returns size and root of the whole tree.
func (l *Log) Head(ctx context.Context) (audit.Head, error) {
	var h audit.Head
	var root []byte
	if err := l.db.reader.QueryRowContext(ctx, headQ).Scan(&h.Size, &root); err != nil {
		return audit.Head{}, fmt.Errorf("read audit head: %w", err)
	}
	if len(root) != tlog.HashSize {
		return audit.Head{}, errors.New("read audit head: root has the wrong size")
	}
	copy(h.Root[:], root)
	return h, nil
}

// ReadHashes implements [tlog.HashReader] with a context.
func (l *Log) ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error) {
	var out []tlog.Hash
	for len(indexes) > 0 {
		n := min(len(indexes), 500)
		h, err := hashReader{ctx, l.db.reader}.ReadHashes(indexes[:n])
		if err != nil {
			return nil, err
		}
		out, indexes = append(out, h...), indexes[n:]
	}
	return out, nil
}

// Leaves returns the encoded events from seq on, at most limit.
func (l *Log) Leaves(ctx context.Context, from int64, limit int) ([][]byte, error) {
	rows, err := l.db.reader.QueryContext(ctx, eventRangeQ, from, from+int64(limit))
	if err != nil {
		return nil, fmt.Errorf("read audit events: %w", err)
	}
	defer rows.Close()
	var out [][]byte
	for rows.Next() {
		var seq int64
		var leaf string
		if err := rows.Scan(&seq, &leaf); err != nil {
			return nil, fmt.Errorf("read audit events: %w", err)
		}
		out = append(out, []byte(leaf))
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("read audit events: %w", err)
	}
	return out, nil
}

// Events returns the events from seq on, at most limit.
func (l *Log) Events(ctx context.Context, from int64, limit int) ([]audit.Event, error) {
	leaves, err := l.Leaves(ctx, from, limit)
	if err != nil {
		return nil, err
	}
	out := make([]audit.Event, len(leaves))
	for i, leaf := range leaves {
		if out[i], err = audit.Decode(leaf); err != nil {
			return nil, fmt.Errorf("read audit event %d: %w", from+int64(i), err)
		}
	}
	return out, nil
}

// The verb is an expression, so that the index of objects is what finds it.
const latestQ = `select leaf from audit_events where object = $1 and verb || '' = $2 and org = $3 and (actor = $4 or $4 = '') order by seq desc limit 1`

// Latest returns the newest event with this verb and object, by this actor (""
// for any), as it was hashed, or nil.
func (l *Log) Latest(ctx context.Context, org id.Org, verb, object, actor string) ([]byte, error) {
	if !findable([]any{object, verb, actor}) {
		return nil, nil
	}
	var leaf string
	err := l.db.reader.QueryRowContext(ctx, latestQ, object, verb, string(org), actor).Scan(&leaf)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("find the latest %s of %s: %w", verb, object, err)
	}
	return []byte(leaf), nil
}

// Query selects events for people to read: newest first, before a sequence
// number, optionally about one object, by one actor, or of one kind of verb.
type Query struct {
	Org    id.Org
	Before int64 // exclusive; 0 means from the newest
	Object string
	Actor  string
	Verb   string // exact, or a prefix ending in "."
	Limit  int
}

// Select runs a query.
func (l *Log) Select(ctx context.Context, s Query) ([]audit.Event, error) {
	if !findable([]any{s.Object, s.Actor, s.Verb}) {
		return nil, nil
	}
	where, args := []string{"org = $1"}, []any{string(s.Org)}
	add := func(cond string, arg any) {
		args = append(args, arg)
		where = append(where, fmt.Sprintf(cond, len(args)))
	}
	if s.Before > 0 {
		add("seq < $%d", s.Before)
	}
	if s.Object != "" {
		add("object = $%d", s.Object)
	}
	if s.Actor != "" {
		add("actor = $%d", s.Actor)
	}
	limit := min(max(s.Limit, 1), 1000)
	// Of one object or one actor there are few, and their own indexes find them;
	// an expression keeps the one of verbs out of it.
	verb := "verb"
	if s.Object != "" || s.Actor != "" {
		verb = "verb || ''"
	}
	prefix, several := strings.CutSuffix(s.Verb, ".")
	if several {
		add(verb+" >= $%d", prefix+".")
		add(verb+" < $%d", prefix+"/") // the character after the dot
	} else if s.Verb != "" {
		add(verb+" = $%d", s.Verb)
	}
	args = append(args, limit)
	q := `select leaf from audit_events where ` + strings.Join(where, " and ") + fmt.Sprintf(` order by seq desc limit $%d`, len(args))
	if several && verb == "verb" {
		kinds, err := l.kinds(ctx, prefix)
		if err != nil || len(kinds) == 0 {
			return nil, err
		}
		q, args = newestOf(kinds, s.Org, s.Before, limit)
	}
	rows, err := l.db.reader.QueryContext(ctx, q, args...)
	if err != nil {
		return nil, fmt.Errorf("select audit events: %w", err)
	}
	defer rows.Close()
	var out []audit.Event
	for rows.Next() {
		var leaf string
		if err := rows.Scan(&leaf); err != nil {
			return nil, fmt.Errorf("select audit events: %w", err)
		}
		e, err := audit.Decode([]byte(leaf))
		if err != nil {
			return nil, fmt.Errorf("select audit events: %w", err)
		}
		out = append(out, e)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("select audit events: %w", err)
	}
	return out, nil
}

// Woken returns a channel that is closed at the next commit with events. Take
// it before reading, so that nothing between the two is missed.
func (l *Log) Woken() <-chan struct{} { return l.db.wake.wait() }

package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/valetkey/valetkey/internal/fault"
)

// field is one column of one record: how to read it from the record and how
// to put a database value back.
type field struct {
	col string
	get func() any      // string, int64 or []byte
	set func(any) error // takes what a driver gives
}

// cell is a field being read. It keeps what the database really says: two
// spellings of one value (a 2 for true, a space in JSON) are two rows to the
// row's MAC.
type cell struct {
	field *field
	raw   []byte
	err   error
}

// Scan implements [sql.Scanner]. It never fails: whether the row is authentic
// has to be known before it matters that a value cannot be read.
func (c *cell) Scan(src any) error {
	c.raw = macField(src)
	if err := c.field.set(src); err != nil {
		c.err = fmt.Errorf("column %s: %w", c.field.col, err)
	}
	return nil
}

func text[T ~string](col string, p *T) field {
	return field{col, func() any { return string(*p) }, func(src any) error {
		s, err := asString(src)
		*p = T(s)
		return err
	}}
}

func integer[T ~int | ~int64](col string, p *T) field {
	return field{col, func() any { return int64(*p) }, func(src any) error {
		n, err := asInt(src)
		*p = T(n)
		return err
	}}
}

func flag(col string, p *bool) field {
	return field{col, func() any {
		if *p {
			return int64(1)
		}
		return int64(0)
	}, func(src any) error {
		n, err := asInt(src)
		*p = n != 0
		return err
	}}
}

// moment stores a time as Unix microseconds; the zero time is 0.
func moment(col string, p *time.Time) field {
	return field{col, func() any { return micros(*p) }, func(src any) error {
		n, err := asInt(src)
		*p = fromMicros(n)
		return err
	}}
}

func blob(col string, p *[]byte) field {
	return field{col, func() any {
		if *p == nil {
			return []byte{}
		}
		return *p
	}, func(src any) error {
		switch v := src.(type) {
		case nil:
			*p = nil
		case []byte:
			*p = append([]byte(nil), v...)
		case string:
			*p = []byte(v)
		default:
			return fmt.Errorf("unexpected %T", src)
		}
		if len(*p) == 0 {
			*p = nil
		}
		return nil
	}}
}

// array32 stores a digest.
func array32[T ~[32]byte](col string, p *T) field {
	return field{col, func() any { b := [32]byte(*p); return b[:] }, func(src any) error {
		b, ok := src.([]byte)
		if !ok || len(b) != 32 {
			return fmt.Errorf("not 32 bytes")
		}
		*p = T(b)
		return nil
	}}
}

// list stores a list of strings as a JSON array.
func list(col string, p *[]string) field {
	return field{col, func() any {
		if len(*p) == 0 {
			return "[]"
		}
		b, err := json.Marshal(*p)
		if err != nil {
			panic("store: strings always marshal: " + err.Error())
		}
		return string(b)
	}, func(src any) error {
		s, err := asString(src)
		if err != nil {
			return err
		}
		*p = nil
		if s == "[]" {
			return nil
		}
		return json.Unmarshal([]byte(s), p)
	}}
}

// asJSON stores plain data as JSON text.
func asJSON[T any](col string, p *T) field {
	return field{col, func() any {
		b, err := json.Marshal(*p)
		if err != nil {
			panic("store: column " + col + " is plain data: " + err.Error())
		}
		return string(b)
	}, func(src any) error {
		s, err := asString(src)
		if err != nil {
			return err
		}
		return json.Unmarshal([]byte(s), p)
	}}
}

func prefixes(col string, p *[]netip.Prefix) field {
	return field{col, func() any {
		s := make([]string, len(*p))
		for i, x := range *p {
			s[i] = x.String()
		}
		return strings.Join(s, " ")
	}, func(src any) error {
		s, err := asString(src)
		if err != nil {
			return err
		}
		*p = nil
		for _, x := range strings.Fields(s) {
			pre, err := netip.ParsePrefix(x)
			if err != nil {
				return err
			}
			*p = append(*p, pre)
		}
		return nil
	}}
}

func asString(src any) (string, error) {
	switch v := src.(type) {
	case nil:
		return "", nil
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	}
	return "", fmt.Errorf("unexpected %T", src)
}

func asInt(src any) (int64, error) {
	switch v := src.(type) {
	case nil:
		return 0, nil
	case int64:
		return v, nil
	case []byte:
		return strconv.ParseInt(string(v), 10, 64)
	case string:
		return strconv.ParseInt(v, 10, 64)
	}
	return 0, fmt.Errorf("unexpected %T", src)
}

func micros(t time.Time) int64 {
	if t.IsZero() {
		return 0
	}
	return t.UnixMicro()
}

func fromMicros(n int64) time.Time {
	if n == 0 {
		return time.Time{}
	}
	return time.UnixMicro(n).UTC()
}

// table describes how one noun is stored. keys are the primary key; a signed
// table has a mac column over all others.
type table[T any] struct {
	name   string
	keys   []string
	signed bool
	fields func(*T) []field
	added  map[string]bool // columns that a migration added; see sums

	columns string // "org, id, …", with mac last where signed
	selectQ string // to be followed by a where clause
	insertQ string
	updateQ string
}

func newTable[T any](name, keys string, signed bool, fields func(*T) []field) *table[T] {
	t := &table[T]{name: name, keys: strings.Fields(keys), signed: signed, fields: fields}
	var cols, marks, sets []string
	for _, f := range fields(new(T)) {
		cols = append(cols, f.col)
	}
	if signed {
		cols = append(cols, "mac")
	}
	for i, c := range cols {
		marks = append(marks, "$"+strconv.Itoa(i+1))
		sets = append(sets, c+" = $"+strconv.Itoa(i+1))
	}
	where := make([]string, 0, len(t.keys)+1)
	for i, k := range append(append([]string(nil), t.keys...), "version") {
		where = append(where, k+" = $"+strconv.Itoa(len(cols)+i+1))
	}
	t.columns = strings.Join(cols, ", ")
	t.selectQ = "select " + t.columns + " from " + name + " "
	t.insertQ = "insert into " + name + " (" + t.columns + ") values (" + strings.Join(marks, ", ") + ")"
	t.updateQ = "update " + name + " set " + strings.Join(sets, ", ") + " where " + strings.Join(where, " and ")
	return t
}

// later names the columns that a migration added: rows of before have them
// empty, or zero, and a MAC that does not know them.
func (t *table[T]) later(columns ...string) *table[T] {
	t.added = map[string]bool{}
	for _, c := range columns {
		t.added[c] = true
	}
	return t
}

// sums lists what a MAC covers. An added column counts only where it is not
// empty, and then with its name, so that a value moved to another one shows.
func (t *table[T]) sums(col func(int) string, raw [][]byte) [][]byte {
	if len(t.added) == 0 {
		return raw
	}
	out := make([][]byte, 0, len(raw))
	for i, b := range raw {
		switch {
		case !t.added[col(i)]:
			out = append(out, b)
		case !empty(b):
			out = append(out, append([]byte("+"+col(i)+"\x00"), b...))
		}
	}
	return out
}

// empty reports whether a column, written by macField, has what a migration
// gave it: no text, no bytes, or the number 0.
func empty(b []byte) bool {
	s := string(b)
	return s == "s" || s == "b" || s == "i0"
}

// errStale means that another replica changed the row first: the change is run
// again on what is there now.
var errStale = errors.New("store: row changed underneath")

// errForged means that a row does not bear the MAC it must: somebody changed
// the database behind our back.
var errForged = errors.New("store: row is not authentic")

var (
	errNotFound = fault.New(fault.NotFound, "not_found", "There is no such thing.")
	errExists   = fault.New(fault.Conflict, "exists", "It exists already.")
)

// errText refuses what only one of the two databases could store.
var errText = fault.New(fault.Invalid, "bad_text", "Text must be valid UTF-8 without NUL characters.")

// storable reports whether both databases can take s as text.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

// findable reports whether a row with these values can exist at all.
func findable(args []any) bool {
	for _, a := range args {
		if s, ok := a.(string); ok && !storable(s) {
			return false
		}
	}
	return true
}

func (t *table[T]) values(db *DB, v *T) ([]any, error) {
	fs := t.fields(v)
	args := make([]any, 0, len(fs)+1)
	for _, f := range fs {
		args = append(args, f.get())
	}
	if !findable(args) {
		return nil, errText
	}
	if t.signed {
		raw := make([][]byte, len(args))
		for i, a := range args {
			raw[i] = macField(a)
		}
		args = append(args, db.mac.Sum(t.name, t.sums(func(i int) string { return fs[i].col }, raw)...))
	}
	return args, nil
}

// macField writes a value with a mark of its type, so that no two rows have
// the same fields. A driver may read an empty blob as nil; no column is null.
func macField(a any) []byte {
	switch v := a.(type) {
	case string:
		return append([]byte{'s'}, v...)
	case int64:
		return strconv.AppendInt([]byte{'i'}, v, 10)
	case []byte:
		return append([]byte{'b'}, v...)
	case nil:
		return []byte{'b'}
	default:
		// A type that we never store: not equal to anything we do.
		return fmt.Appendf([]byte{'?'}, "%T", v)
	}
}

// reading is a record on its way from the database.
type reading[T any] struct {
	t     *table[T]
	v     *T
	cells []cell
	mac   []byte
	dst   []any // where to scan the table's columns to
}

func (t *table[T]) reading() *reading[T] {
	r := &reading[T]{t: t, v: new(T)}
	fs := t.fields(r.v)
	r.cells = make([]cell, len(fs))
	r.dst = make([]any, 0, len(fs)+1)
	for i := range fs {
		r.cells[i].field = &fs[i]
		r.dst = append(r.dst, &r.cells[i])
	}
	if t.signed {
		r.dst = append(r.dst, &r.mac)
	}
	return r
}

// done returns the record that was scanned, if its row is authentic.
func (r *reading[T]) done(db *DB) (*T, error) {
	if r.t.signed {
		raw := make([][]byte, len(r.cells))
		for i := range r.cells {
			raw[i] = r.cells[i].raw
		}
		if !db.mac.Verify(r.mac, r.t.name, r.t.sums(func(i int) string { return r.cells[i].field.col }, raw)...) {
			// Whoever reads gets an internal error; the operator has to know
			// what it means.
			db.logger.Error("row is not authentic: the database was changed outside of Valetkey", slog.String("table", r.t.name))
			return nil, fmt.Errorf("read %s: %w", r.t.name, errForged)
		}
	}
	for i := range r.cells {
		if err := r.cells[i].err; err != nil {
			return nil, fmt.Errorf("read %s: %w", r.t.name, err)
		}
	}
	return r.v, nil
}

func (t *table[T]) scan(db *DB, row interface{ Scan(...any) error }) (*T, error) {
	r := t.reading()
	if err := row.Scan(r.dst...); errors.Is(err, sql.ErrNoRows) {
		return nil, errNotFound
	} else if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.name, err)
	}
	return r.done(db)
}

// columnsOf is the list of columns where the table is called as.
func (t *table[T]) columnsOf(as string) string {
	return as + "." + strings.ReplaceAll(t.columns, ", ", ", "+as+".")
}

// one reads the record that where selects; where is everything after "from".
func (t *table[T]) one(ctx context.Context, db *DB, q queries, where string, args ...any) (*T, error) {
	if !findable(args) {
		return nil, errNotFound
	}
	return t.scan(db, q.QueryRowContext(ctx, t.selectQ+where, args...))
}

// many reads all records that where selects, in its order.
func (t *table[T]) many(ctx context.Context, db *DB, q queries, where string, args ...any) ([]*T, error) {
	if !findable(args) {
		return nil, nil
	}
	rows, err := q.QueryContext(ctx, t.selectQ+where, args...)
	if err != nil {
		return nil, fmt.Errorf("list %s: %w", t.name, err)
	}
	defer rows.Close()
	var out []*T
	for rows.Next() {
		v, err := t.scan(db, rows)
		if err != nil {
			return nil, err
		}
		out = append(out, v)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("list %s: %w", t.name, err)
	}
	return out, nil
}

func (t *table[T]) insert(tx *Tx, v *T) error {
	args, err := t.values(tx.db, v)
	if err != nil {
		return err
	}
	if _, err := tx.ExecContext(tx.ctx, t.insertQ, args...); err != nil {
		if tx.db.engine.isDuplicate(err) {
			return errExists.Because(err)
		}
		return fmt.Errorf("insert into %s: %w", t.name, err)
	}
	return nil
}

// update writes v back, if the row still has the version that v was read with;
// v's version is counted up.
func (t *table[T]) update(tx *Tx, v *T) error {
	fs := t.fields(v)
	var where []any
	var version *field
	for _, k := range t.keys {
		for _, f := range fs {
			if f.col == k {
				where = append(where, f.get())
			}
		}
	}
	for i := range fs {
		if fs[i].col == "version" {
			version = &fs[i]
		}
	}
	old := version.get().(int64)
	if err := version.set(old + 1); err != nil {
		return err
	}
	args, err := t.values(tx.db, v)
	if err != nil {
		return err
	}
	args = append(args, where...)
	res, err := tx.ExecContext(tx.ctx, t.updateQ, append(args, old)...)
	if err != nil {
		if tx.db.engine.isDuplicate(err) {
			return errExists.Because(err)
		}
		return fmt.Errorf("update %s: %w", t.name, err)
	}
	if n, err := res.RowsAffected(); err != nil {
		return fmt.Errorf("update %s: %w", t.name, err)
	} else if n != 1 {
		return errStale
	}
	return nil
}

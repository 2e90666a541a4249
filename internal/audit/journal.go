package audit

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"sync"
	"time"
	"unicode/utf8"
)

// Journal keeps freezes and revocations on disk outside the database, so
// that they hold when the database cannot be written, and so that a database
// restored from a backup can be told what it has forgotten. It is a file of
// JSON lines, only appended to, beside the checkpoint file. Replaying an
// entry twice must do no harm.
type Journal struct {
	file *appendFile

	mu   sync.Mutex
	next int64
}

// JournalEntry is one record. Kind and Data are the caller's; ids and
// reasons, never secrets.
type JournalEntry struct {
	N    int64
	At   time.Time
	Kind string
	Data map[string]string
}

// kindSettled marks one entry as recorded in the database; kindSettledTo, which
// is read and not written, all entries up to a number.
const (
	kindSettled   = "recorded"
	kindSettledTo = "settled"
)

func settles(kind string) bool { return kind == kindSettled || kind == kindSettledTo }

// OpenJournal opens or creates the file, readable by the server alone.
func OpenJournal(path string) (*Journal, error) {
	file, err := openAppendFile(path, 0o600)
	if err != nil {
		return nil, fmt.Errorf("open journal: %w", err)
	}
	j := &Journal{file: file, next: 1}
	all, err := j.read()
	if err != nil {
		_ = file.close() // the reason for closing is the error that counts
		return nil, err
	}
	if len(all) > 0 {
		j.next = all[len(all)-1].N + 1
	}
	return j, nil
}

// Close closes the file.
func (j *Journal) Close() error { return j.file.close() }

// Append records an entry and returns its number. The entry is durable when
// Append returns.
func (j *Journal) Append(now time.Time, kind string, data map[string]string) (int64, error) {
	if settles(kind) {
		return 0, fmt.Errorf("append to journal: %q is reserved", kind)
	}
	return j.append(now, kind, data)
}

// Settle marks the entry of number n as recorded in the database, so that
// [Journal.Pending] leaves it out. It says nothing about those before it: one of
// them may still be on its way.
func (j *Journal) Settle(now time.Time, n int64) error {
	_, err := j.append(now, kindSettled, map[string]string{"n": strconv.FormatInt(n, 10)})
	return err
}

func (j *Journal) append(now time.Time, kind string, data map[string]string) (int64, error) {
	if !validKey(kind) || len(data) > MaxMembers {
		return 0, fmt.Errorf("append to journal: %w", malformed("kind %q with %d members", clip(kind), len(data)))
	}
	for k, v := range data {
		if !validKey(k) || len(v) > MaxValue || !utf8.ValidString(v) {
			return 0, fmt.Errorf("append to journal: %w", malformed("%s: member %q", kind, clip(k)))
		}
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	e := JournalEntry{j.next, now.UTC(), kind, data}
	if err := j.file.append(e.encode()); err != nil {
		return 0, fmt.Errorf("append to journal: %w", err)
	}
	j.next++
	return e.N, nil
}

func (e JournalEntry) encode() []byte {
	b := append([]byte(nil), `{"n":`...)
	b = strconv.AppendInt(b, e.N, 10)
	b = append(b, `,"at":`...)
	b = strconv.AppendInt(b, e.At.UnixMicro(), 10)
	b = appendMember(b, `,"kind":`, e.Kind)
	b = append(b, `,"data":{`...)
	for i, k := range slices.Sorted(maps.Keys(e.Data)) {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendString(b, k), ':')
		b = appendString(b, e.Data[k])
	}
	return append(b, "}}"...)
}

// Entries returns every entry ever appended, settled or not.
func (j *Journal) Entries() ([]JournalEntry, error) {
	all, err := j.read()
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(e JournalEntry) bool { return settles(e.Kind) }), nil
}

// Pending returns the entries that are not settled: what to replay at start.
func (j *Journal) Pending() ([]JournalEntry, error) {
	all, err := j.read()
	if err != nil {
		return nil, err
	}
	var upTo int64
	settled := map[int64]bool{}
	for _, e := range all {
		if !settles(e.Kind) {
			continue
		}
		n, err := strconv.ParseInt(e.Data["n"], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("read journal: entry %d settles %q", e.N, clip(e.Data["n"]))
		}
		if settled[n] = true; e.Kind == kindSettledTo {
			upTo = max(upTo, n)
		}
	}
	return slices.DeleteFunc(all, func(e JournalEntry) bool { return settles(e.Kind) || e.N <= upTo || settled[e.N] }), nil
}

// read returns all entries. A line that is whole but unreadable is an error:
// it may have been a revocation, and passing over it would undo it.
func (j *Journal) read() ([]JournalEntry, error) {
	var all []JournalEntry
	for line, err := range j.file.lines() {
		if err != nil {
			return nil, fmt.Errorf("read journal: %w", err)
		}
		var w struct {
			N    int64             `json:"n"`
			At   int64             `json:"at"`
			Kind string            `json:"kind"`
			Data map[string]string `json:"data"`
		}
		if json.Unmarshal(line, &w) != nil || w.N < 1 || w.Kind == "" {
			return nil, fmt.Errorf("read journal: %s: the line after entry %d cannot be read; repair it by hand, it may hold a revocation", j.file.path, len(all))
		}
		all = append(all, JournalEntry{w.N, time.UnixMicro(w.At).UTC(), w.Kind, w.Data})
	}
	return all, nil
}

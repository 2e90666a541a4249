package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/valetkey/valetkey/internal/seal"
)

var _ seal.Store = (*Keys)(nil)

// Keys implements [seal.Store]: wrapped data keys by name.
type Keys struct{ db *DB }

// Keys returns the store of wrapped data keys.
func (db *DB) Keys() *Keys { return &Keys{db} }

const (
	loadKeyQ   = `select wrapped from data_keys where name = $1`
	createKeyQ = `insert into data_keys (name, wrapped) values ($1, $2) on conflict (name) do nothing`
	deleteKeyQ = `delete from data_keys where name = $1`
	countKeysQ = `select count(*) from data_keys`
)

// Load returns a wrapped key.
func (s *Keys) Load(ctx context.Context, name string) ([]byte, bool, error) {
	var wrapped []byte
	err := s.db.reader.QueryRowContext(ctx, loadKeyQ, name).Scan(&wrapped)
	if errors.Is(err, sql.ErrNoRows) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, fmt.Errorf("load key %s: %w", name, err)
	}
	return wrapped, true, nil
}

// Create stores a wrapped key unless one of that name is there already, and
// returns the one that is.
func (s *Keys) Create(ctx context.Context, name string, wrapped []byte) ([]byte, error) {
	var stored []byte
	err := s.db.write(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(tx.ctx, createKeyQ, name, wrapped); err != nil {
			return fmt.Errorf("create key %s: %w", name, err)
		}
		stored = nil
		return tx.QueryRowContext(tx.ctx, loadKeyQ, name).Scan(&stored)
	})
	return stored, err
}

// Delete forgets a wrapped key: what it sealed is gone.
func (s *Keys) Delete(ctx context.Context, name string) error {
	return s.db.write(ctx, func(tx *Tx) error {
		if _, err := tx.ExecContext(tx.ctx, deleteKeyQ, name); err != nil {
			return fmt.Errorf("delete key %s: %w", name, err)
		}
		return nil
	})
}

// Empty reports whether there is no key at all.
func (s *Keys) Empty(ctx context.Context) (bool, error) {
	var n int
	if err := s.db.reader.QueryRowContext(ctx, countKeysQ).Scan(&n); err != nil {
		return false, fmt.Errorf("count keys: %w", err)
	}
	return n == 0, nil
}

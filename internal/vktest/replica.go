package vktest

import (
	"context"
	"path/filepath"

	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
)

// On keeps the world in the database that dsn names, instead of in a file of
// its own.
func On(dsn secret.Text) Option {
	return func(c *config.Config, _ *sandbox.Options) { c.DB = dsn.Reveal() }
}

// Replica starts another server on the world's database, as a second process
// would: its own pools, loops, caches and checkpoints, with the same keys. It
// serves nothing; its parts are called. SQLite lets nobody in twice, so the
// world has to be [On] PostgreSQL.
func (w *World) Replica() *app.App {
	w.t.Helper()
	cfg := w.Config
	cfg.Data = filepath.Join(w.t.TempDir(), "replica")
	cfg.RootKeyFile, cfg.CheckpointSink = w.Config.RootKeyFile, ""
	if cfg.RootKeyFile == "" {
		cfg.RootKeyFile = filepath.Join(w.Config.Data, "root.key")
	}
	if err := cfg.Check(); err != nil {
		w.t.Fatal(err)
	}
	a, err := app.New(w.t.Context(), cfg, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- a.Background(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("replica: %v", err)
		}
		if err := a.Close(); err != nil {
			w.t.Errorf("close the replica: %v", err)
		}
	})
	return a
}

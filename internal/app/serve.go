package app

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valetkey/valetkey/internal/httpapi"
)

const drainFor = 10 * time.Second

// Serve answers requests on l until ctx is done, then stops in order: the
// listener, open requests, the loops.
func (a *App) Serve(ctx context.Context, l net.Listener) error {
	background, stop := context.WithCancel(context.WithoutCancel(ctx))
	defer stop()
	srv := &http.Server{
		Handler:           a.Handler(),
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		ErrorLog:          slog.NewLogLogger(a.Log.Handler(), slog.LevelDebug),
	}
	socket, err := httpapi.ListenOperator(ctx, a.Config.Socket())
	if err != nil {
		return errors.Join(err, l.Close())
	}
	operator := a.API.OperatorServer()
	g, gctx := errgroup.WithContext(background)
	g.Go(func() error { return closed(operator.Serve(socket)) })
	g.Go(func() error { return a.Background(gctx) })
	g.Go(func() error {
		var err error
		if a.Config.TLSCert != "" {
			err = srv.ServeTLS(l, a.Config.TLSCert, a.Config.TLSKey)
		} else {
			err = srv.Serve(l)
		}
		return closed(err)
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-gctx.Done():
		}
		close(a.leaving) // waiters are told to come back
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainFor)
		defer cancel()
		err := errors.Join(srv.Shutdown(drain), operator.Shutdown(drain))
		if err != nil {
			err = errors.Join(err, srv.Close(), operator.Close())
		}
		if drained := a.Broker.Drain(drain); drained != nil {
			a.Log.Warn("calls in flight did not end in time; their outcome is unknown")
		}
		stop()
		if errors.Is(err, context.DeadlineExceeded) {
			a.Log.Warn("open requests were cut off")
			return nil
		}
		return err
	})
	return g.Wait()
}

// closed is the error of a server that ended, unless it was told to.
func closed(err error) error {
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

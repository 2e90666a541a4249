package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/valetkey/valetkey/internal/app"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/secret"
)

type demoCommand struct {
	Auto bool `help:"Play the person, too, with a software passkey."`
}

// Run plays the story of the main road on a real server, over its real routes,
// and says at each step what is asserted. It succeeds only if every assertion
// held, and removes all that it made.
func (c *demoCommand) Run(r *run) (err error) {
	dir, err := os.MkdirTemp(r.getenv("TMPDIR"), "valetkey-demo-")
	if err != nil {
		return fmt.Errorf("make a directory for the demo: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(dir))
		if _, stat := os.Stat(dir); err == nil && !errors.Is(stat, fs.ErrNotExist) {
			err = fmt.Errorf("the demo left %s behind", dir)
		}
		if err == nil {
			r.say("\n%s Every step held. Nothing was left behind.", r.tick())
		}
	}()
	// With a person at a browser, everything but what they came for (passkey,
	// account, approval) is done for them at the command line, which the server
	// is told to trust; with --auto the server is as it comes.
	operator := "passkey"
	if !c.Auto {
		operator = "socket"
	}
	d, err := openDemo(r, dir, operator)
	if err != nil {
		return err
	}
	if c.Auto {
		d.person, err = newSoftwarePerson(d.base)
	} else {
		d.person = &humanPerson{d}
	}
	if err == nil {
		err = d.tell(r.ctx)
	}
	return errors.Join(err, d.close())
}

// demo is the stage: a server, its upstream, and what is known of them.
type demo struct {
	*run
	dir    string // of everything
	data   string // the server's
	base   string // public URL, with its trailing slash
	app    *app.App
	box    *playground
	log    *journal
	person person

	canaries *canaries
	steps    int
	ended    bool // the server was stopped
	stop     context.CancelFunc
	done     chan error

	story
}

func openDemo(r *run, dir, operator string) (_ *demo, err error) {
	d := &demo{run: r, dir: dir, data: filepath.Join(dir, "data"), log: &journal{}, canaries: &canaries{}, done: make(chan error, 1)}
	listener, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(listener.Addr().String())
	if err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	cfg := config.Default()
	cfg.Data, cfg.Listen, cfg.PublicURL = d.data, listener.Addr().String(), "http://localhost:"+port+"/"
	cfg.CheckpointSink = filepath.Join(dir, "outside", "checkpoints")
	cfg.AllowInternal, cfg.Operator = loopbacks(), operator
	if err := cfg.Check(); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	d.base = cfg.PublicURL
	log := slog.New(slog.NewTextHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	if d.app, err = app.New(r.ctx, cfg, log); err != nil {
		return nil, errors.Join(err, listener.Close())
	}
	up, err := listen("127.0.0.1:0")
	if err != nil {
		return nil, errors.Join(err, listener.Close(), d.app.Close())
	}
	client := secret.Random(32)
	d.box = startSandbox(up, client, slog.New(slog.DiscardHandler), d.canaries.watch)
	d.box.AllowRedirect(d.app.Connect.RedirectURI("github"))
	if err := registerSandbox(r.ctx, d.app, "github", d.box.url, client); err != nil {
		d.box.close()
		return nil, errors.Join(err, listener.Close(), d.app.Close())
	}
	d.canaries.add(client.Reveal())
	ctx, stop := context.WithCancel(context.WithoutCancel(r.ctx))
	d.stop = stop
	go func() { d.done <- d.app.Serve(ctx, listener) }()
	return d, nil
}

// end stops the server, once.
func (d *demo) end() error {
	if d.ended {
		return nil
	}
	d.ended = true
	d.stop()
	return errors.Join(<-d.done, d.app.Close())
}

func (d *demo) close() error {
	err := d.end()
	d.box.close()
	return err
}

// tell plays all steps, in order, and stops at the first that does not hold.
func (d *demo) tell(ctx context.Context) error {
	for _, s := range d.all() {
		if err := ctx.Err(); err != nil {
			return err
		}
		d.steps++
		d.say("%s", d.bold(fmt.Sprintf("%2d. %s", d.steps, s.title)))
		if err := s.play(ctx); err != nil {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			return &failure{Code: exitFailed, Reason: "demo_failed", Err: err,
				Text: fmt.Sprintf("Step %d (%s) did not hold: %s", d.steps, s.title, strings.TrimSuffix(judge(err).problem.Detail, ".")+"."), Next: d.lastWords()}
		}
	}
	return nil
}

// lastWords is the newest warning or error of the server's log, which helps to
// see why a step failed.
func (d *demo) lastWords() string {
	lines := strings.Split(strings.TrimSpace(string(d.log.bytes())), "\n")
	for i := len(lines) - 1; i >= 0; i-- {
		if strings.Contains(lines[i], "level=ERROR") || strings.Contains(lines[i], "level=WARN") {
			return "The server's log said last: " + lines[i]
		}
	}
	return ""
}

// holds prints an assertion that held, or returns why it did not.
func (d *demo) holds(ok bool, format string, args ...any) error {
	what := fmt.Sprintf(format, args...)
	if !ok {
		return fmt.Errorf("not so: %s", what)
	}
	d.say("    %s %s", d.tick(), what)
	return nil
}

// shows prints something to look at.
func (d *demo) shows(format string, args ...any) {
	d.say("      %s", d.dim(fmt.Sprintf(format, args...)))
}

// eventually waits for a condition that comes about soon.
func eventually(ctx context.Context, most time.Duration, cond func() (bool, error)) error {
	deadline := time.Now().Add(most)
	for {
		ok, err := cond()
		if err != nil || ok {
			return err
		}
		if time.Now().After(deadline) {
			return errors.New("it did not come about in time")
		}
		if !sleep(ctx, 50*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// journal is the server's log, kept in memory to be searched.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(p []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(p)
}

func (j *journal) bytes() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	return bytes.Clone(j.buf.Bytes())
}

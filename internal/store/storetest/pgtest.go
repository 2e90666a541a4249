package storetest

import (
	"bytes"
	"cmp"
	"context"
	"crypto/rand"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/valetkey/valetkey/secret"
)

// Cluster is a throwaway PostgreSQL server. The zero value starts one when its
// first database is asked for; TestMain stops it. It listens on a Unix socket
// only, keeps nothing durable, and ends with the test binary, however that
// ends.
type Cluster struct {
	once  sync.Once
	err   error
	dir   string // with data and socket, owned by the server's user
	admin *sql.DB
	lease io.Closer // the server runs until this is closed
	cmd   *exec.Cmd
	log   bytes.Buffer
}

// ErrNoPostgres means that the server's programs are not installed.
var ErrNoPostgres = errors.New("PostgreSQL's programs (initdb, postgres) are not installed; on Debian: apt-get install postgresql")

// Database makes an empty database for t. Where PostgreSQL is not installed
// the test is skipped, or fails if VALETKEY_REQUIRE names postgres.
func (c *Cluster) Database(t testing.TB) Database {
	t.Helper()
	c.once.Do(func() { c.err = c.start() })
	if errors.Is(c.err, ErrNoPostgres) && !slices.Contains(strings.Split(os.Getenv("VALETKEY_REQUIRE"), ","), "postgres") {
		t.Skip("SKIPPED, PostgreSQL is not tested here: ", c.err)
	}
	if c.err != nil {
		t.Fatal(c.err)
	}
	name := "t_" + strings.ToLower(rand.Text())
	if _, err := c.admin.ExecContext(t.Context(), "create database "+name); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if _, err := c.admin.ExecContext(context.Background(), "drop database "+name+" with (force)"); err != nil {
			t.Errorf("drop database: %v", err)
		}
	})
	return Database{Engine: "postgres", DSN: secret.New(c.dsn(name)), dir: t.TempDir()}
}

// Stop ends the server and removes its files.
func (c *Cluster) Stop() error {
	if c.cmd == nil {
		return nil
	}
	return errors.Join(c.admin.Close(), c.lease.Close(), c.cmd.Wait(), os.RemoveAll(c.dir))
}

func (c *Cluster) dsn(database string) string {
	return "postgres:///" + database + "?" + url.Values{"host": {c.dir}, "user": {"postgres"}}.Encode()
}

// serve runs the server until standard input ends, which it does when the
// process that holds the other end dies. $1 is the program, $2 the directory.
const serve = `
"$1" -D "$2/data" -c listen_addresses= -c unix_socket_directories="$2" -c max_connections=200 \
	-c fsync=off -c full_page_writes=off -c deadlock_timeout=100ms -c log_min_messages=fatal </dev/null &
server=$!
cat >/dev/null
kill -INT $server
wait $server
rm -rf "$2"
exit 0
`

func (c *Cluster) start() error {
	bin, err := binaries()
	if err != nil {
		return err
	}
	// Sockets have short paths, so the directory is not the test's own.
	if c.dir, err = os.MkdirTemp("", "vkpg"); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	// The server refuses to run as root.
	var as []string
	if os.Getuid() == 0 {
		if as, err = c.giveAway(); err != nil {
			return fmt.Errorf("start PostgreSQL: %w", err)
		}
	}
	run := func(name string, args ...string) *exec.Cmd {
		line := append(append(slices.Clone(as), name), args...)
		cmd := exec.Command(line[0], line[1:]...)
		cmd.Dir = c.dir
		return cmd
	}
	// A language's own collation shows where the store would depend on one.
	initdb := []string{"-D", filepath.Join(c.dir, "data"), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--locale=C"}
	err = run(filepath.Join(bin, "initdb"), append(slices.Clone(initdb), "--locale-provider=icu", "--icu-locale=en-US")...).Run()
	if err != nil {
		if out, err := run(filepath.Join(bin, "initdb"), initdb...).CombinedOutput(); err != nil {
			return fmt.Errorf("start PostgreSQL: initdb: %w: %s", err, out)
		}
	}
	cmd := run("/bin/sh", "-c", serve, "serve", filepath.Join(bin, "postgres"), c.dir)
	cmd.Stdout, cmd.Stderr = &c.log, &c.log
	// Whatever the server leaves running must not keep Wait waiting.
	cmd.WaitDelay = 10 * time.Second
	if c.lease, err = cmd.StdinPipe(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	c.cmd = cmd
	if c.admin, err = sql.Open("pgx", c.dsn("postgres")); err != nil {
		return fmt.Errorf("start PostgreSQL: %w", err)
	}
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err = c.admin.Ping(); err == nil {
			return nil
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("start PostgreSQL: %w: %s", err, c.log.String())
		}
	}
}

// giveAway hands the directory to the user postgres and returns the command
// that runs another as that user.
func (c *Cluster) giveAway() ([]string, error) {
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	if out, err := exec.Command("chown", u.Uid+":"+u.Gid, c.dir).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("chown: %w: %s", err, out)
	}
	return []string{"setpriv", "--reuid=" + u.Uid, "--regid=" + u.Gid, "--init-groups", "--"}, nil
}

// binaries finds the directory of the server's programs, the newest version's
// where Debian has several.
func binaries() (string, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil {
		return "", err
	}
	if len(found) > 0 {
		slices.SortFunc(found, func(a, b string) int { return cmp.Or(len(a)-len(b), strings.Compare(a, b)) })
		return filepath.Dir(found[len(found)-1]), nil
	}
	path, err := exec.LookPath("initdb")
	if err != nil {
		return "", ErrNoPostgres
	}
	return filepath.Dir(path), nil
}

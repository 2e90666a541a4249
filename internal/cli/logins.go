package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/secret"
)

// logins are the sessions of `valetkey login`, one for each server, in a file
// that only this user can read. It lies apart from the default data directory
// of a server, so that a backup of one does not hold the other.
type logins struct {
	path    string
	current string
	servers map[string]login
}

// login is one session.
type login struct {
	user  string
	token secret.Text
}

// loginFile is the file's form.
type loginFile struct {
	Current string                `json:"current"`
	Servers map[string]loginEntry `json:"servers"`
}

type loginEntry struct {
	User  string `json:"user,omitempty"`
	Token string `json:"token"`
}

func loginPath(getenv func(string) string) (string, error) {
	if p := getenv("VALETKEY_LOGIN_FILE"); p != "" {
		return p, nil
	}
	dir, err := os.UserConfigDir()
	if err != nil {
		return "", &failure{Code: exitFailed, Reason: "no_home", Text: "There is no place to keep logins.", Next: "Set HOME, or VALETKEY_LOGIN_FILE.", Err: err}
	}
	return filepath.Join(dir, "valetkey-cli", "login.json"), nil
}

func readLogins(path string) (*logins, error) {
	l := &logins{path: path, servers: map[string]login{}}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return l, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the stored login: %w", err)
	}
	if perm := info.Mode().Perm(); perm&0o077 != 0 && runtime.GOOS != "windows" {
		return nil, usage(fmt.Sprintf("Log out and in again, or if nobody read it: chmod 600 %s", display.Shell(path)), "Others can read %s, which holds your login.", path)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the stored login: %w", err)
	}
	var f loginFile
	if err := json.Unmarshal(raw, &f); err != nil {
		return nil, usage("Delete it and log in again.", "%s cannot be read.", path)
	}
	l.current = f.Current
	for server, e := range f.Servers {
		l.servers[server] = login{e.User, secret.New(e.Token)}
	}
	return l, nil
}

// of returns the login for a server, or the current one for "".
func (l *logins) of(server string) (string, login, bool) {
	if server == "" {
		server = l.current
	}
	got, ok := l.servers[server]
	return server, got, ok
}

// save replaces the file in one step, so that a crash leaves one or the other.
func (l *logins) save() error {
	f := loginFile{Current: l.current, Servers: map[string]loginEntry{}}
	for server, e := range l.servers {
		f.Servers[server] = loginEntry{e.user, e.token.Reveal()}
	}
	raw, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return fmt.Errorf("store the login: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(l.path), 0o700); err != nil {
		return fmt.Errorf("store the login: %w", err)
	}
	tmp, err := os.CreateTemp(filepath.Dir(l.path), ".login-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("store the login: %w", err)
	}
	_, err = tmp.Write(append(raw, '\n'))
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), l.path)
	}
	if err != nil {
		return fmt.Errorf("store the login: %w", errors.Join(err, os.Remove(tmp.Name())))
	}
	return nil
}

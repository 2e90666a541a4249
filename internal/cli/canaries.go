package cli

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// canaries are the secrets of the demo: all that the upstream was sent or gave
// away as a credential. At the end they are looked for where they must not be.
type canaries struct {
	mu    sync.Mutex
	known map[string]bool
	seen  bytes.Buffer // everything that the agent was answered
}

// add remembers a secret; short values would be found by accident.
func (c *canaries) add(s string) {
	if len(s) < 12 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.known == nil {
		c.known = map[string]bool{}
	}
	c.known[s] = true
}

func (c *canaries) count() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.known)
}

// watch stands before the upstream and learns the credentials that pass.
func (c *canaries) watch(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok {
			c.add(token)
		}
		if r.URL.Path != "/login/oauth/access_token" {
			next.ServeHTTP(w, r)
			return
		}
		t := &tee{ResponseWriter: w}
		next.ServeHTTP(t, r)
		var given struct {
			Access  string `json:"access_token"`
			Refresh string `json:"refresh_token"`
		}
		if json.Unmarshal(t.body.Bytes(), &given) == nil {
			c.add(given.Access)
			c.add(given.Refresh)
		}
	})
}

// tee copies what is answered.
type tee struct {
	http.ResponseWriter
	body bytes.Buffer
}

func (t *tee) Write(p []byte) (int, error) {
	t.body.Write(p)
	return t.ResponseWriter.Write(p)
}

// find reports whether a canary sings in text, in any of its usual spellings.
func (c *canaries) find(text []byte) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	for s := range c.known {
		for _, form := range []string{
			s, base64.StdEncoding.EncodeToString([]byte(s)), base64.RawURLEncoding.EncodeToString([]byte(s)), hex.EncodeToString([]byte(s)),
		} {
			if bytes.Contains(text, []byte(form)) {
				return true
			}
		}
	}
	return false
}

// files searches every file below dir, and returns those in which a canary
// sings, and how many it read.
func (c *canaries) files(dir string) (bad []string, read int, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || !e.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		read++
		if c.find(text) {
			bad = append(bad, path)
		}
		return nil
	})
	return bad, read, err
}

// ears is a transport that keeps what an agent sent to the token endpoint, and
// all that it was answered.
type ears struct {
	canaries *canaries
	mu       sync.Mutex
	token    []byte // the newest request to the token endpoint
}

func (e *ears) RoundTrip(r *http.Request) (*http.Response, error) {
	if strings.HasSuffix(r.URL.Path, "/oauth/token") && r.Body != nil {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return nil, err
		}
		e.mu.Lock()
		e.token = body
		e.mu.Unlock()
		r = r.Clone(r.Context())
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	res, err := http.DefaultTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	body, err := io.ReadAll(res.Body)
	if closed := res.Body.Close(); err == nil {
		err = closed
	}
	if err != nil {
		return nil, err
	}
	e.canaries.mu.Lock()
	e.canaries.seen.Write(body)
	for _, values := range res.Header {
		e.canaries.seen.WriteString("\n" + strings.Join(values, "\n"))
	}
	e.canaries.mu.Unlock()
	res.Body = io.NopCloser(bytes.NewReader(body))
	return res, nil
}

func (e *ears) lastTokenRequest() []byte {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.token
}

func (c *canaries) answered() []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return bytes.Clone(c.seen.Bytes())
}

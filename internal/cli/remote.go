package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"syscall"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

const (
	maxAnswer = 32 << 20
	answerIn  = 2 * time.Minute // disconnecting talks to the provider while we wait
)

// remote is a server as one caller reaches it: the operator over the socket,
// or a person with a stored login.
type remote struct {
	base   string // with its trailing slash
	public string // where browsers reach the server, with its trailing slash; "" if not known
	http   *http.Client
	bearer secret.Text // none over the socket
	// confirm is how it is waited for a passkey; nil where nobody waits.
	confirm *confirming
	by      string  // who proposes, in a sentence for people; "" where it goes without saying
	changes *remote // what changes go through instead; nil for this one
}

// answerError is a refusal in the words of the API.
type answerError struct {
	status  int
	problem api.Problem
	public  string // where browsers reach that server; "" if not known
	path    string // what was asked for
}

// page is where a person gives the answer that a command line may not give: it
// takes a touch of their passkey. It is "" for other refusals.
func (e *answerError) page() string {
	switch e.problem.Reason {
	case "browser_required", "presence_required":
		if e.public != "" && strings.HasPrefix(e.path, "v1/approvals") {
			return e.public + "inbox"
		}
	}
	return ""
}

func (e *answerError) Error() string {
	return fmt.Sprintf("%s: %s", e.problem.Reason, e.problem.Detail)
}

func (e *answerError) code() int {
	if missing(e.problem.Reason) {
		return exitNotFound
	}
	return statusCode(e.status)
}

func refusedFor(err error, reason string) bool {
	var a *answerError
	return errors.As(err, &a) && a.problem.Reason == reason
}

// overSocket reaches the server through its operator socket.
func overSocket(path, public string) *remote {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "unix", path)
	}
	return &remote{
		base: "http://operator/", public: public,
		http: &http.Client{Transport: &http.Transport{DialContext: dial}, CheckRedirect: noRedirect},
	}
}

// overNetwork reaches a server as the person whose login this is.
func overNetwork(server string, bearer secret.Text) *remote {
	// A redirect would carry the login to wherever it points.
	return &remote{base: server, public: server, bearer: bearer, http: &http.Client{CheckRedirect: noRedirect}}
}

func noRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// ask sends one request and decodes the answer into out, which may be nil.
func (r *remote) ask(ctx context.Context, method, path string, query url.Values, in, out any) error {
	// A freeze goes the way that is open to it in any case.
	if r.changes != nil && method != http.MethodGet && (method != http.MethodPost || path != "v1/admin/freezes") {
		err := r.changes.ask(ctx, method, path, query, in, out)
		if !refusedFor(err, user.ErrNotOwner.Reason) {
			return err
		}
		// That person may not even propose it; the operator may.
	}
	var body []byte
	if in != nil {
		var b bytes.Buffer
		enc := json.NewEncoder(&b)
		enc.SetEscapeHTML(false)
		if err := enc.Encode(in); err != nil {
			return fmt.Errorf("encode the request: %w", err)
		}
		body = b.Bytes()
	}
	short, cancel := context.WithTimeout(ctx, answerIn)
	defer cancel()
	res, err := r.send(short, method, path, query, body)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, maxAnswer+1))
	if err != nil {
		return lostAnswer(short, method, err)
	}
	if res.StatusCode == http.StatusAccepted && method != http.MethodGet {
		if raw, err = r.settle(ctx, path, raw); err != nil {
			return err
		}
	}
	if out == nil || len(raw) == 0 && res.StatusCode == http.StatusNoContent {
		return nil
	}
	if len(raw) > maxAnswer {
		return notOurs(res.StatusCode)
	}
	if text, ok := out.(*string); ok {
		*text = string(raw)
		return nil
	}
	if err := json.Unmarshal(raw, out); err != nil {
		return notOurs(res.StatusCode)
	}
	return nil
}

// send sends one request and returns the answer if it is a success, else the
// refusal as an error.
func (r *remote) send(ctx context.Context, method, path string, query url.Values, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, r.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("build the request: %w", err)
	}
	req.URL.RawQuery = query.Encode()
	req.Header.Set("Accept", api.MediaJSON+", "+api.MediaProblem)
	req.Header.Set("User-Agent", "valetkey-cli")
	if body != nil {
		req.Header.Set("Content-Type", api.MediaJSON)
	}
	if !r.bearer.IsZero() {
		req.Header.Set("Authorization", "Bearer "+r.bearer.Reveal())
	}
	res, err := r.http.Do(req)
	if err != nil {
		return nil, r.unreachable(ctx, method, err)
	}
	if res.StatusCode/100 == 2 {
		return res, nil
	}
	defer res.Body.Close()
	return nil, r.refusal(res)
}

func (r *remote) refusal(res *http.Response) error {
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	var p api.Problem
	if err != nil || kind != api.MediaProblem || json.Unmarshal(raw, &p) != nil || p.Reason == "" {
		return notOurs(res.StatusCode)
	}
	return &answerError{status: res.StatusCode, problem: p, public: r.public, path: strings.TrimPrefix(res.Request.URL.Path, "/")}
}

func notOurs(status int) error {
	return &failure{
		Code: exitUnavailable, Reason: "bad_answer",
		Text: fmt.Sprintf("What answered (HTTP %d) does not speak this API.", status), Next: "Check the address, and any proxy before it.",
	}
}

// neverSent reports whether err came before anything could be sent.
func neverSent(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}

func (r *remote) unreachable(ctx context.Context, method string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if !neverSent(err) {
		return lostAnswer(ctx, method, err)
	}
	f := &failure{Code: exitUnavailable, Reason: "unreachable", Err: err}
	if r.bearer.IsZero() {
		f.Text, f.Next = "No server is running on this data directory.", "Start it with 'valetkey serve', or name another with --data DIR or --server URL."
		if errors.Is(err, os.ErrPermission) || errors.Is(err, syscall.EACCES) {
			f.Text, f.Next = "The operator socket belongs to another user.", "Run this as the user of the server, or log in: valetkey login --server URL"
		}
		return f
	}
	f.Text, f.Next = fmt.Sprintf("The server at %s cannot be reached.", r.base), "Check that it runs, and the address (--server URL)."
	return f
}

// lostAnswer is for a request that was sent and brought no whole answer.
func lostAnswer(ctx context.Context, method string, err error) error {
	if errors.Is(ctx.Err(), context.Canceled) {
		return context.Canceled
	}
	if method == http.MethodGet {
		return &failure{Code: exitUnavailable, Reason: "unreachable", Text: "The server's answer did not arrive.", Next: "Try again.", Err: err}
	}
	return &failure{Code: exitUnknown, Reason: "answer_lost", Text: "The request was sent and its answer lost: it may have happened.", Next: "Look before repeating it.", Err: err}
}

// get asks for one thing.
func get[T any](ctx context.Context, r *remote, path string, query url.Values) (T, error) {
	var out T
	err := r.ask(ctx, http.MethodGet, path, query, nil, &out)
	return out, err
}

// change sends something and returns what it became.
func change[T any](ctx context.Context, r *remote, method, path string, in any) (T, error) {
	var out T
	err := r.ask(ctx, method, path, nil, in, &out)
	return out, err
}

// list collects all pages of a list.
func list[T any](ctx context.Context, r *remote, path string, query url.Values) (api.Page[T], error) {
	all := api.Page[T]{Items: []T{}}
	q := url.Values{}
	for k, v := range query {
		q[k] = v
	}
	for seen := map[string]bool{}; ; {
		page, err := get[api.Page[T]](ctx, r, path, q)
		if err != nil {
			return all, err
		}
		all.Items = append(all.Items, page.Items...)
		if page.Next == "" || seen[page.Next] {
			return all, nil
		}
		seen[page.Next] = true
		q.Set("cursor", page.Next)
	}
}

// segment makes what a person typed one segment of a path.
func segment(s string) string { return url.PathEscape(s) }

// withScheme completes an address as people type it: http on this machine,
// https elsewhere.
func withScheme(raw string) string {
	s := strings.TrimSpace(raw)
	if strings.Contains(s, "://") {
		return s
	}
	host := s
	if h, _, err := net.SplitHostPort(s); err == nil {
		host = h
	}
	if isLoopback(host) {
		return "http://" + s
	}
	return "https://" + s
}

// serverURL reads the address of a server as a person types it.
func serverURL(raw string) (string, error) {
	s := withScheme(raw)
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" || strings.Trim(u.Path, "/") != "" {
		return "", usage("It looks like https://valetkey.example.com.", "%q is not the address of a server.", raw)
	}
	if u.Scheme == "http" && !isLoopback(u.Hostname()) {
		return "", usage("Use https.", "%s is plain http to another machine: your login would cross the network in the clear.", s)
	}
	return u.Scheme + "://" + strings.ToLower(u.Host) + "/", nil
}

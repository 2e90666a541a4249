package crash_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
)

// wire is how agents, people and the operator reach the server. It names what
// passes for the trap, and reads answers whole: what a caller gets from it has
// arrived.
type wire struct {
	w    *world
	base *http.Transport
}

// kind names a request for the trap; "" for what nobody waits for.
func kind(req *http.Request, form url.Values) string {
	path := req.URL.Path
	post := req.Method == http.MethodPost
	switch {
	case post && path == "/v1/actions":
		return "submit"
	case post && path == "/oauth/token" && form.Get("grant_type") == api.GrantVaultExchange:
		return "vend"
	case post && path == "/oauth/token":
		return "token"
	case post && strings.HasPrefix(path, "/actions/") && strings.HasSuffix(path, "/decision"):
		return "decide"
	case strings.HasPrefix(path, "/connect/"):
		return "callback"
	case post && strings.HasSuffix(path, "/disconnect"):
		return "disconnect"
	case post && path == "/v1/admin/freezes":
		return "freeze"
	case post && path == "/v1/admin/grants":
		return "grant"
	case req.Method == http.MethodDelete && strings.HasPrefix(path, "/v1/admin/grants/"):
		return "revoke"
	}
	return ""
}

// RoundTrip implements [http.RoundTripper].
func (x *wire) RoundTrip(req *http.Request) (*http.Response, error) {
	var form url.Values
	var body []byte
	if req.URL.Path == "/oauth/token" {
		var err error
		if body, err = io.ReadAll(req.Body); err != nil {
			return nil, err
		}
		req.Body = io.NopCloser(bytes.NewReader(body))
		if form, err = url.ParseQuery(string(body)); err != nil {
			return nil, err
		}
	}
	what := kind(req, form)
	if what != "" {
		trap := x.w.trap
		req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			WroteRequest:         func(httptrace.WroteRequestInfo) { trap.pass("sent:" + what) },
			GotFirstResponseByte: func() { trap.pass("first:" + what) },
		}))
	}
	began := time.Now()
	res, err := x.base.RoundTrip(req)
	if err == nil {
		_, err = slurp(res)
	}
	if form != nil {
		x.w.book.signed(body, err == nil && res.StatusCode == http.StatusOK, err != nil, began)
	}
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusUnauthorized && strings.HasPrefix(req.URL.Path, "/v1/") {
		x.w.wrong("a token that was handed out is refused: %s %s", req.Method, req.URL.Path)
	}
	if what != "" && res.StatusCode/100 < 4 {
		x.w.trap.pass("read:" + what)
	}
	return res, nil
}

// problem is a refusal in the words of the API.
type problem struct {
	status int
	reason string
	detail string
}

func (p *problem) Error() string { return p.reason + ": " + p.detail }

// reason is the stable reason of a refusal by the server; "" for a request that
// got no answer.
func reason(err error) string {
	if p, ok := errors.AsType[*problem](err); ok {
		return p.reason
	}
	return ""
}

// ask sends one request and decodes the answer.
func ask[T any](w *world, c *http.Client, method, to, bearer string, in any) (T, error) {
	var out T
	var body io.Reader
	if in != nil {
		raw, err := json.Marshal(in)
		if err != nil {
			return out, err
		}
		body = bytes.NewReader(raw)
	}
	req, err := http.NewRequestWithContext(w.t.Context(), method, to, body)
	if err != nil {
		return out, err
	}
	req.Header.Set("Accept", api.MediaJSON+", "+api.MediaProblem)
	if in != nil {
		req.Header.Set("Content-Type", api.MediaJSON)
	}
	if bearer != "" {
		req.Header.Set("Authorization", "Bearer "+bearer)
	}
	res, err := c.Do(req)
	if err != nil {
		return out, err
	}
	raw, err := slurp(res)
	if err != nil {
		return out, err
	}
	if res.StatusCode/100 != 2 {
		var p api.Problem
		_ = json.Unmarshal(raw, &p) // what is no problem document has no reason
		return out, &problem{res.StatusCode, p.Reason, p.Detail}
	}
	return out, json.Unmarshal(raw, &out)
}

// pages collects all pages of a list over the operator socket.
func pages[T any](w *world, path string) ([]T, error) {
	var all []T
	for next := ""; ; {
		to, query, _ := strings.Cut(path, "?")
		values, err := url.ParseQuery(query)
		if err != nil {
			return nil, err
		}
		if next != "" {
			values.Set("cursor", next)
		}
		page, err := operator[api.Page[T]](w, http.MethodGet, to+"?"+values.Encode(), nil)
		if err != nil {
			return nil, err
		}
		all = append(all, page.Items...)
		if next = page.Next; next == "" {
			return all, nil
		}
	}
}

// operator asks over the operator socket.
func operator[T any](w *world, method, path string, in any) (T, error) {
	return ask[T](w, w.socket, method, "http://operator/"+path, "", in)
}

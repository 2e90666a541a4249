package egress

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/valetkey/valetkey/secret"
)

const (
	defaultMaxResponse = 10 << 20
	defaultTimeout     = 60 * time.Second
	defaultHeaderWait  = 30 * time.Second
	maxResponseHeader  = 64 << 10
	maxOAuthResponse   = 1 << 20
	// maxFresh is how often a request that provably did not leave is tried
	// again, because the kept-alive connection it was given had died.
	maxFresh = 3
)

// Options make a [Client]. The zero value is usable and strict.
type Options struct {
	Guard *Guard
	// Resolver resolves names; nil is Go's own resolver.
	Resolver *net.Resolver
	// Dial connects to an address that the guard accepted; nil dials TCP and
	// lets the guard check the socket's address once more. For tests.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// RootCAs verify upstreams; nil is the system's.
	RootCAs   *x509.CertPool
	UserAgent string
	// MaxResponse bounds a body, after inflation; 0 is 10 MiB.
	MaxResponse int64
	// Timeout bounds a call from resolution to the last byte of the body;
	// 0 is one minute.
	Timeout time.Duration
	// HeaderTimeout bounds the wait for the response's head; 0 is 30 seconds.
	HeaderTimeout time.Duration
	// Ports, AllowHTTP and Internal widen the rules, see [URLRules].
	Ports     []uint16
	AllowHTTP func(host string) bool
	Internal  func(host string) bool
	Log       *slog.Logger
}

// Client makes calls. It is safe for concurrent use.
type Client struct {
	rules       URLRules
	calls       *http.Transport // of Do
	oauth       *http.Transport // of HTTPClient: other traffic, other pool
	userAgent   string
	maxResponse int64
	timeout     time.Duration
}

// New makes a Client.
func New(o Options) *Client {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Resolver == nil {
		o.Resolver = &net.Resolver{PreferGo: true}
	}
	d := &dialer{
		guard:    o.Guard,
		resolver: o.Resolver,
		dial:     o.Dial,
		log:      o.Log,
		tls: &tls.Config{
			MinVersion:         tls.VersionTLS12,
			RootCAs:            o.RootCAs,
			NextProtos:         []string{"http/1.1"},
			ClientSessionCache: tls.NewLRUClientSessionCache(64),
		},
	}
	if d.dial == nil {
		d.dial = guarded(o.Guard)
	}
	wait := cmp.Or(o.HeaderTimeout, defaultHeaderWait)
	return &Client{
		rules:       URLRules{Guard: o.Guard, Ports: o.Ports, AllowHTTP: o.AllowHTTP, Internal: o.Internal},
		calls:       transport(d, wait),
		oauth:       transport(d, wait),
		userAgent:   cmp.Or(o.UserAgent, "valetkey"),
		maxResponse: cmp.Or(o.MaxResponse, defaultMaxResponse),
		timeout:     cmp.Or(o.Timeout, defaultTimeout),
	}
}

// transport makes the HTTP machinery over d. Proxy stays nil: a proxy from the
// environment would be dialled in place of the address that was judged.
func transport(d *dialer, wait time.Duration) *http.Transport {
	http1 := new(http.Protocols)
	http1.SetHTTP1(true)
	return &http.Transport{
		DialContext:            d.plain,
		DialTLSContext:         d.secure,
		Protocols:              http1,
		DisableCompression:     true, // we inflate, with a cap
		MaxIdleConns:           256,
		MaxIdleConnsPerHost:    32,
		IdleConnTimeout:        90 * time.Second,
		ResponseHeaderTimeout:  wait,
		MaxResponseHeaderBytes: maxResponseHeader,
	}
}

// CloseIdle closes the connections that serve nobody.
func (c *Client) CloseIdle() {
	c.calls.CloseIdleConnections()
	c.oauth.CloseIdleConnections()
}

// CheckURL judges a URL that is about to be configured by the client's rules.
func (c *Client) CheckURL(u *url.URL) error { return c.rules.Check(u) }

// Request is one call upstream.
type Request struct {
	Method string
	// URL is where the call goes, built from parts by the caller. Base is the
	// origin that the connection is pinned to; the two must agree on scheme,
	// host and port. A port that Base names need not be in the client's list,
	// which was asked when Base was configured.
	URL, Base *url.URL
	// Header is what the agent sent along; see [HeaderAllowed].
	Header http.Header
	// Body is sent as it is. GET and HEAD have none.
	Body []byte
	// Credential is attached as Attach says.
	Credential secret.Text
	Attach     Attach
	// Idempotent says that upstream treats a repetition as the same request,
	// by a key that the provider declares. Only then, or for GET, HEAD and
	// OPTIONS, may the request be written to a second connection when the first
	// died under it; [Response.Resent] tells.
	Idempotent bool
}

// safe reports whether a method has no effect by definition (RFC 9110 §9.2.1).
func safe(method string) bool {
	return method == http.MethodGet || method == http.MethodHead || method == http.MethodOptions
}

// Do makes the call. A refusal or an error before the first byte is
// [ErrNotSent] in the sense of [errors.Is]; every other error is [ErrUnknown].
// Redirects and statuses of failure are responses. The body must be closed.
func (c *Client) Do(ctx context.Context, r Request) (*Response, error) {
	req, red, err := c.build(r)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	res, resent, err := send(ctx, c.calls, req, r.Body, safe(r.Method) || r.Idempotent, red.hide)
	if err != nil {
		cancel()
		return nil, err
	}
	return newResponse(res, red, resent, c.maxResponse, cancel), nil
}

// build checks r and makes the request of it, with the credential attached.
func (c *Client) build(r Request) (*http.Request, *Redactor, error) {
	switch r.Method {
	case http.MethodGet, http.MethodHead:
		if len(r.Body) > 0 {
			return nil, nil, refuse(ErrRequest, "%s with a body", r.Method)
		}
	case http.MethodOptions, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return nil, nil, refuse(ErrRequest, "method %q", r.Method)
	}
	if err := c.checkPinned(r.URL, r.Base); err != nil {
		return nil, nil, fmt.Errorf("%w: %w", err, ErrNotSent)
	}
	header, err := requestHeader(r.Header)
	if err != nil {
		return nil, nil, err
	}
	header.Set("User-Agent", c.userAgent)
	header.Set("Accept-Encoding", "gzip")
	if header.Get("Range") != "" {
		header.Set("Accept-Encoding", "identity") // a range of compressed bytes cannot be inflated
	}
	red, err := r.Attach.attach(header, r.Credential)
	if err != nil {
		return nil, nil, err
	}
	u := &url.URL{Scheme: r.Base.Scheme, Host: strings.ToLower(r.Base.Host), Path: r.URL.Path, RawPath: r.URL.RawPath, RawQuery: r.URL.RawQuery}
	return &http.Request{Method: r.Method, URL: u, Header: header}, red, nil
}

func (c *Client) checkPinned(u, base *url.URL) error {
	if err := c.rules.checkOrigin(base, false); err != nil {
		return err
	}
	if err := c.rules.checkOrigin(u, false); err != nil {
		return err
	}
	if !sameOrigin(u, base) {
		return badURL("origin %s://%s is not the connection's", u.Scheme, u.Host)
	}
	return checkTarget(u)
}

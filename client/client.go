package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
)

// Options are how an agent reaches its server. ClientID and Key are required.
type Options struct {
	ClientID string // id or name of the agent
	Key      *Key   // whose public half is registered for it

	// HTTPClient brings a transport of one's own, for a private CA or a proxy.
	// Only the Transport is used: contexts bound every call, no redirect is
	// followed, and there are no cookies. nil means [http.DefaultTransport].
	HTTPClient *http.Client
	UserAgent  string // "valetkey-go" if empty

	// Address is where the server is reached, if not at its issuer URL:
	// "http://valetkey:8420" inside a private network.
	Address string
	// AllowHTTP permits plain http to a host other than this machine. Whoever can
	// listen on the way can then use the agent's access tokens.
	AllowHTTP bool
}

// Client talks to one server as one agent. It is safe for concurrent use, and
// there should be one for each agent in a program, because it keeps the access
// token.
type Client struct {
	issuer  string // with its trailing slash: the audience of all that is signed
	address string // with a trailing slash
	id      string
	key     *Key
	agent   string // User-Agent
	http    *http.Client
	access  cache
}

// New makes a client for the server with this issuer URL. It does not connect.
func New(issuer string, o Options) (*Client, error) {
	c := &Client{id: o.ClientID, key: o.Key, agent: o.UserAgent}
	switch {
	case c.id == "":
		return nil, errors.New("new client: set Options.ClientID to the id or name of the agent")
	case c.key == nil:
		return nil, errors.New("new client: set Options.Key to the agent's private key")
	case c.agent == "":
		c.agent = "valetkey-go"
	}
	var err error
	// The issuer is compared as a string, so how it is reached does not matter
	// where an address of its own is given.
	if c.issuer, err = base(issuer, o.AllowHTTP || o.Address != ""); err != nil {
		return nil, fmt.Errorf("new client: issuer: %w", err)
	}
	c.address = c.issuer
	if o.Address != "" {
		if c.address, err = base(o.Address, o.AllowHTTP); err != nil {
			return nil, fmt.Errorf("new client: address: %w", err)
		}
	}
	c.http = &http.Client{
		// A redirect would carry an assertion or a token to wherever it points.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if o.HTTPClient != nil {
		c.http.Transport = o.HTTPClient.Transport
	}
	return c, nil
}

// base checks an absolute URL and returns it with a trailing slash.
func base(raw string, allowHTTP bool) (string, error) {
	u, err := url.Parse(raw)
	switch {
	case err != nil:
		// The parser's error quotes the URL, which may hold a password.
		return "", errors.New("the URL cannot be read")
	case u.User != nil:
		return "", errors.New("the URL must not hold a user name or password")
	case u.Scheme != "https" && u.Scheme != "http" || u.Hostname() == "" || u.Opaque != "":
		return "", fmt.Errorf("%q is not an absolute http or https URL", raw)
	case u.RawQuery != "" || u.Fragment != "" || u.ForceQuery || strings.Contains(raw, "#"):
		return "", fmt.Errorf("%q must not have a query or fragment", raw)
	case u.Scheme == "http" && !allowHTTP && !loopback(u.Hostname()):
		return "", fmt.Errorf("%q is plain http to another machine: use https, or set Options.AllowHTTP if the way there is private", raw)
	}
	if !strings.HasSuffix(raw, "/") {
		raw += "/"
	}
	return raw, nil
}

// loopback reports whether host is this machine, whatever DNS says (RFC 6761
// §6.3 for localhost).
func loopback(host string) bool {
	if host == "localhost" || strings.HasSuffix(host, ".localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.Unmap().IsLoopback()
}

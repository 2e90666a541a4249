package egress

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"strings"
	"time"
)

const (
	// dialTimeout bounds resolution, connection and TLS handshake together.
	dialTimeout = 15 * time.Second
	// tryTimeout is the least that one of several addresses is given.
	tryTimeout = 3 * time.Second
	// maxAddresses of one name are tried.
	maxAddresses = 8
)

// dialer opens connections for the HTTP transport.
type dialer struct {
	guard    *Guard
	resolver *net.Resolver
	dial     func(ctx context.Context, network, address string) (net.Conn, error)
	tls      *tls.Config
	log      *slog.Logger
}

// guarded dials TCP and lets the guard judge the address of the socket, after
// everything that could have changed it.
func guarded(g *Guard) func(ctx context.Context, network, address string) (net.Conn, error) {
	return (&net.Dialer{ControlContext: g.Control, FallbackDelay: -1}).DialContext
}

// plain is for [http.Transport.DialContext].
func (d *dialer) plain(ctx context.Context, _, hostport string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, _, err := d.open(ctx, hostport)
	if err != nil {
		return nil, err
	}
	wire := &meter{Conn: raw}
	return &conn{Conn: wire, wire: wire}, nil
}

// secure is for [http.Transport.DialTLSContext].
func (d *dialer) secure(ctx context.Context, _, hostport string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, dialTimeout)
	defer cancel()
	raw, host, err := d.open(ctx, hostport)
	if err != nil {
		return nil, err
	}
	wire := &meter{Conn: raw}
	cfg := d.tls.Clone()
	cfg.ServerName = host
	tc := tls.Client(wire, cfg)
	if err := tc.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, fmt.Errorf("tls handshake with %s: %w", host, err)
	}
	return &conn{Conn: tc, wire: wire}, nil
}

// open resolves the host once and connects to one of its addresses. All of
// them must be allowed: a name that leads to a public and to a private address
// is set up to be connected to the private one.
func (d *dialer) open(ctx context.Context, hostport string) (net.Conn, string, error) {
	host, port, err := net.SplitHostPort(hostport)
	if err != nil {
		return nil, "", fmt.Errorf("read address to dial: %w", err)
	}
	addrs, err := d.resolve(ctx, host)
	if err != nil {
		return nil, host, err
	}
	for _, a := range addrs {
		if err := d.guard.Allowed(a); err != nil {
			d.log.WarnContext(ctx, "address refused", slog.String("host", host), slog.String("address", a.String()))
			return nil, host, err
		}
	}
	addrs = addrs[:min(len(addrs), maxAddresses)]
	var errs []error
	for i, a := range addrs {
		network := "tcp4"
		if a.Is6() {
			network = "tcp6"
		}
		c, err := d.try(ctx, network, net.JoinHostPort(a.String(), port), len(addrs)-i)
		if err == nil {
			return c, host, nil
		}
		errs = append(errs, err)
		if ctx.Err() != nil {
			break
		}
	}
	return nil, host, fmt.Errorf("dial %s: %w", host, errors.Join(errs...))
}

// try connects to one address and leaves time for the left-1 others.
func (d *dialer) try(ctx context.Context, network, address string, left int) (net.Conn, error) {
	if deadline, ok := ctx.Deadline(); ok && left > 1 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, max(time.Until(deadline)/time.Duration(left), tryTimeout))
		defer cancel()
	}
	return d.dial(ctx, network, address)
}

// resolve returns the addresses of host. The resolver hands out IPv4 addresses
// in mapped form at its whim, so mapped ones are read as the IPv4 addresses
// that the socket would be connected to.
func (d *dialer) resolve(ctx context.Context, host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a}, nil
	}
	name := host
	if strings.Contains(name, ".") {
		name += "." // rooted: search domains must not give the name another meaning
	}
	addrs, err := d.resolver.LookupNetIP(ctx, "ip", name)
	if err != nil {
		return nil, fmt.Errorf("resolve %s: %w", host, err)
	}
	if len(addrs) == 0 {
		return nil, fmt.Errorf("resolve %s: no addresses", host)
	}
	for i, a := range addrs {
		addrs[i] = a.Unmap()
	}
	return addrs, nil
}

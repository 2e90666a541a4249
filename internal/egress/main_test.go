package egress_test

import (
	"bufio"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/binary"
	"fmt"
	"io"
	"log"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	canary = "cnry_at_4f9Kq2ZxW7bLm1RtYv8NcD3sHg6JpA0E"
	public = "93.184.216.34"
)

// world is an internet of one resolver and one upstream. Whatever is dialled
// beside the upstream's public address has hit a trap.
type world struct {
	t     *testing.T
	mu    sync.Mutex
	names map[string][]string // name → one answer per query, the last repeats; "a b" is a set
	dials []string
	roots *x509.CertPool
	cert  tls.Certificate
	ln    net.Listener // the upstream, nil if there is none
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, names: map[string][]string{"allowed.test": {public}}}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"allowed.test", "rebind1.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	w.cert = tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
	w.roots = x509.NewCertPool()
	w.roots.AddCert(leaf)
	return w
}

// client makes a client of this world, with the strictest rules.
func (w *world) client(change ...func(*egress.Options)) *egress.Client {
	o := egress.Options{
		Resolver: w.resolver(), RootCAs: w.roots, Dial: w.dial,
		Timeout: 5 * time.Second, HeaderTimeout: 2 * time.Second,
	}
	for _, c := range change {
		c(&o)
	}
	c := egress.New(o)
	w.t.Cleanup(c.CloseIdle)
	return c
}

func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	w.dials = append(w.dials, address)
	w.mu.Unlock()
	if _, err := netip.ParseAddrPort(address); err != nil {
		w.t.Errorf("dialled by name: %s", address)
	}
	if address != public+":443" || w.ln == nil {
		return nil, fmt.Errorf("nobody at %s", address)
	}
	return new(net.Dialer).DialContext(ctx, network, w.ln.Addr().String())
}

// traps returns what was dialled beside the upstream.
func (w *world) traps() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, d := range w.dials {
		if d != public+":443" {
			out = append(out, d)
		}
	}
	return out
}

// serve lets h be the upstream.
func (w *world) serve(h http.Handler) {
	w.listen(func(ln net.Listener) func() {
		srv := &http.Server{Handler: h, ReadHeaderTimeout: time.Minute, ErrorLog: log.New(io.Discard, "", 0)}
		done := make(chan struct{})
		go func() { defer close(done); srv.Serve(ln) }()
		return func() { srv.Close(); <-done }
	})
}

// script lets answer be the upstream: it gets each request on each connection,
// and writes what it likes; the connection ends when it returns false.
func (w *world) script(answer func(c net.Conn, r *http.Request) bool) {
	w.listen(func(ln net.Listener) func() {
		var wg sync.WaitGroup
		var mu sync.Mutex
		var open []net.Conn
		wg.Go(func() {
			for {
				c, err := ln.Accept()
				if err != nil {
					return
				}
				mu.Lock()
				open = append(open, c)
				mu.Unlock()
				wg.Go(func() {
					defer c.Close()
					br := bufio.NewReader(c)
					for {
						r, err := http.ReadRequest(br)
						if err != nil || !answer(c, r) {
							return
						}
					}
				})
			}
		})
		return func() {
			ln.Close()
			mu.Lock()
			for _, c := range open {
				c.Close()
			}
			mu.Unlock()
			wg.Wait()
		}
	})
}

func (w *world) listen(run func(net.Listener) func()) {
	w.t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	w.ln = ln
	w.t.Cleanup(run(tls.NewListener(ln, &tls.Config{Certificates: []tls.Certificate{w.cert}, NextProtos: []string{"h2", "http/1.1"}})))
}

// resolver asks a name server on loopback that knows w.names and nothing else.
func (w *world) resolver() *net.Resolver {
	pc, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		w.t.Fatal(err)
	}
	done := make(chan struct{})
	asked := map[string]int{}
	go func() {
		defer close(done)
		buf := make([]byte, 1500)
		for {
			n, from, err := pc.ReadFrom(buf)
			if err != nil {
				return
			}
			pc.WriteTo(w.answer(buf[:n], asked), from)
		}
	}()
	w.t.Cleanup(func() { pc.Close(); <-done })
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", pc.LocalAddr().String())
	}}
}

// answer builds the response to a query of one question (RFC 1035 §4).
func (w *world) answer(q []byte, asked map[string]int) []byte {
	var labels []string
	at := 12
	for q[at] != 0 {
		n := int(q[at])
		labels = append(labels, string(q[at+1:at+1+n]))
		at += 1 + n
	}
	qtype := binary.BigEndian.Uint16(q[at+1:])
	name := strings.ToLower(strings.Join(labels, "."))
	w.mu.Lock()
	answers, known := w.names[name]
	w.mu.Unlock()
	out := append([]byte{}, q[:at+5]...)
	copy(out[2:], []byte{0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0})
	if !known {
		out[3] |= 3 // NXDOMAIN
		return out
	}
	i := min(asked[fmt.Sprint(name, qtype)], len(answers)-1)
	asked[fmt.Sprint(name, qtype)]++
	count, owner := 0, []byte{0xc0, 12}
	record := func(typ uint16, data []byte) {
		out = append(out, owner...)
		out = binary.BigEndian.AppendUint16(out, typ)
		out = append(out, 0, 1, 0, 0, 0, 0)
		out = binary.BigEndian.AppendUint16(out, uint16(len(data)))
		out = append(out, data...)
		count++
	}
	for field := range strings.FieldsSeq(answers[i]) {
		if alias, found := strings.CutPrefix(field, "cname:"); found {
			var enc []byte
			for l := range strings.SplitSeq(alias, ".") {
				enc = append(append(enc, byte(len(l))), l...)
			}
			enc = append(enc, 0)
			record(5, enc)
			owner = enc
			continue
		}
		a := netip.MustParseAddr(field)
		if a.Is4() && qtype == 1 {
			record(1, a.AsSlice())
		}
		if a.Is6() && qtype == 28 {
			record(28, a.AsSlice())
		}
	}
	binary.BigEndian.PutUint16(out[6:], uint16(count))
	return out
}

func parse(t testing.TB, s string) *url.URL {
	t.Helper()
	u, err := url.Parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// request makes a request with the canary as its credential.
func request(t testing.TB, method, target string) egress.Request {
	return egress.Request{
		Method: method, URL: parse(t, "https://allowed.test"+target), Base: parse(t, "https://allowed.test"),
		Credential: secret.New(canary),
	}
}

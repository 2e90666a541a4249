package egress

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
)

var (
	errRepeat  = errors.New("the request was written to another connection before")
	errSealed  = errors.New("the request was given up before it was written")
	errNobody  = errors.New("write outside of a request")
	errUnasked = errors.New("unexpected 101 Switching Protocols")
)

// attempt is one request on its way to the wire. Connections ask it for leave
// before each write, so that "was anything sent?" has one answer, given once.
type attempt struct {
	repeatable bool

	mu     sync.Mutex
	sentOn *conn // the connection that last carried bytes of the request
	conns  int   // how many did
	reused bool  // the last connection had served before
	sealed bool  // the answer was given as "not sent": nothing may follow
}

// begin asks to write on c. It returns what undo needs.
func (a *attempt) begin(c *conn) (prev *conn, err error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sealed {
		return nil, errSealed
	}
	if a.sentOn != nil && a.sentOn != c && !a.repeatable {
		return nil, errRepeat
	}
	prev = a.sentOn
	if prev != c {
		a.sentOn = c
		a.conns++
	}
	return prev, nil
}

// undo takes back begin for a write that put nothing on the wire.
func (a *attempt) undo(c, prev *conn) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sentOn == c && prev != c {
		a.sentOn = prev
		a.conns--
	}
}

// got notes the connection that the request was given.
func (a *attempt) got(c *conn, reused bool) {
	a.mu.Lock()
	a.reused = reused
	a.mu.Unlock()
	c.attempt.Store(a)
}

// seal ends the attempt and says whether bytes of it may have left. After
// "no", no byte can.
func (a *attempt) seal() (sent, reused bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.sentOn == nil {
		a.sealed = true
	}
	return a.sentOn != nil, a.reused
}

// resent reports whether more than one connection carried bytes.
func (a *attempt) resent() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.conns > 1
}

// conn is a connection as the HTTP transport sees it: above TLS, so that each
// write is bytes of a request and not of the session under it.
type conn struct {
	net.Conn
	wire    *meter
	attempt atomic.Pointer[attempt]
}

// Write implements [net.Conn].
func (c *conn) Write(p []byte) (int, error) {
	a := c.attempt.Load()
	if a == nil {
		return 0, errNobody
	}
	prev, err := a.begin(c)
	if err != nil {
		return 0, err
	}
	before := c.wire.written.Load()
	n, err := c.Conn.Write(p)
	if err != nil && n == 0 && c.wire.written.Load() == before {
		a.undo(c, prev) // the kernel took nothing
	}
	return n, err
}

// meter counts the bytes that the kernel took.
type meter struct {
	net.Conn
	written atomic.Int64
}

// Write implements [net.Conn].
func (m *meter) Write(p []byte) (int, error) {
	n, err := m.Conn.Write(p)
	m.written.Add(int64(n))
	return n, err
}

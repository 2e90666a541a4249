package egress

import (
	"errors"
	"io"
	"net"
	"testing"
)

// lame is a connection whose kernel takes n bytes and then fails.
type lame struct {
	net.Conn
	n int
}

func (l lame) Write(p []byte) (int, error) { return min(l.n, len(p)), io.ErrClosedPipe }

func over(c net.Conn) *conn {
	wire := &meter{Conn: c}
	return &conn{Conn: wire, wire: wire}
}

func TestAttempt(t *testing.T) {
	request := []byte("POST / HTTP/1.1\r\n")

	if _, err := over(lame{}).Write(request); !errors.Is(err, errNobody) {
		t.Errorf("write outside of a request: %v", err)
	}

	a, dead, dying := &attempt{}, over(lame{n: 0}), over(lame{n: 1})
	a.got(dead, true)
	dead.Write(request)
	if a.sentOn != nil || a.resent() {
		t.Error("a write of nothing counts as sent")
	}
	a.got(dying, false)
	dying.Write(request)
	if sent, reused := a.seal(); !sent || reused {
		t.Errorf("seal after one byte = %v, %v; want sent on a fresh connection", sent, reused)
	}
	other := over(lame{n: 100})
	a.got(other, false)
	if n, err := other.Write(request); n != 0 || !errors.Is(err, errRepeat) {
		t.Errorf("second connection carries %d bytes, %v", n, err)
	}

	// Once the caller was told that nothing left, nothing leaves.
	b, late := &attempt{repeatable: true}, over(lame{n: 100})
	b.got(late, true)
	if sent, reused := b.seal(); sent || !reused {
		t.Errorf("seal before the first byte = %v, %v", sent, reused)
	}
	if n, err := late.Write(request); n != 0 || !errors.Is(err, errSealed) {
		t.Errorf("sealed attempt writes %d bytes, %v", n, err)
	}

	c := &attempt{repeatable: true}
	for range 2 {
		next := over(lame{n: 100})
		c.got(next, false)
		next.Write(request)
	}
	if !c.resent() {
		t.Error("two connections carried the request, and it is not resent")
	}
}

package egress

import (
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"
)

// The socket's own address is judged even if everything before it agreed: the
// dialer of production must refuse what it is told to dial.
func TestDialerJudgesTheSocket(t *testing.T) {
	trap, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer trap.Close()
	for _, address := range []string{trap.Addr().String(), "localhost:80", "169.254.169.254:80", "[::ffff:127.0.0.1]:80"} {
		if c, err := guarded(nil)(t.Context(), "tcp", address); !errors.Is(err, ErrAddress) {
			if err == nil {
				c.Close()
			}
			t.Errorf("dial %s: %v, want %v", address, err, ErrAddress)
		}
	}
	trap.(*net.TCPListener).SetDeadline(time.Now().Add(20 * time.Millisecond))
	if c, err := trap.Accept(); err == nil {
		c.Close()
		t.Error("the trap was reached")
	}
	g := &Guard{AllowInternal: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}
	c, err := guarded(g)(t.Context(), "tcp", trap.Addr().String())
	if err != nil {
		t.Fatalf("allowed network: %v", err)
	}
	c.Close()
}

package egress_test

import (
	"errors"
	"net/netip"
	"testing"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/egress"
)

// refusedAddrs are the first and last addresses of what is refused, and single ones.
var refusedAddrs = []string{
	"0.0.0.0", "0.255.255.255", "10.0.0.0", "10.255.255.255", "100.64.0.0", "100.127.255.255", "127.0.0.1", "127.255.255.255",
	"169.254.0.0", "169.254.169.254", "169.254.255.255", "172.16.0.0", "172.31.255.255", "192.0.0.0", "192.0.0.9", "192.0.0.10", "192.0.0.192",
	"192.0.2.0", "192.0.2.255", "192.31.196.1", "192.52.193.1", "192.88.99.1", "192.168.0.0", "192.168.255.255", "192.175.48.1",
	"198.18.0.0", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1", "239.255.255.255", "240.0.0.1", "255.255.255.255", "168.63.129.16",
	"::", "::1", "::2", "::127.0.0.1", "::8.8.8.8", "::ffff:8.8.8.8", "::ffff:127.0.0.1", "::ffff:0:8.8.8.8", "::ffff:0:127.0.0.1",
	"64:ff9b::8.8.8.8", "64:ff9b::10.0.0.1", "64:ff9b:1::8.8.8.8", "64:ff9b:1:ffff::1", "100::1", "100:0:0:1::1", "1fff::1",
	"2001::1", "2001:0:4136:e378::1", "2001:2::1", "2001:10::1", "2001:20::1", "2001:30::1", "2001:1ff:ffff::1", "2001:db8::1",
	"2002:808:808::1", "2002:7f00:1::1", "2620:4f:8000::1", "3fff::1", "3fff:fff::1", "4000::1", "5f00::1",
	"fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "2606:4700::1%eth0", "febf::1", "fec0::1", "feff::1", "ff02::1",
	"2606:4700::5efe:7f00:1", "2606:4700::200:5efe:7f00:1", "fe80::5efe:a00:1",
}

var allowedAddrs = []string{
	"1.1.1.1", "8.8.8.8", "9.255.255.255", "11.0.0.0", "100.63.255.255", "100.128.0.0", "126.255.255.255", "128.0.0.0",
	"172.15.255.255", "172.32.0.0", "192.0.1.0", "192.0.3.0", "198.17.255.255", "198.20.0.0", "223.255.255.255", public,
	"2001:200::1", "2001:4860:4860::8888", "2003::1", "2606:4700::1111", "2a00:1450::1", "3ffe::1", "2606:4700::5eff:7f00:1",
}

func TestGuard(t *testing.T) {
	var nobody *egress.Guard
	for _, s := range refusedAddrs {
		if err := nobody.Allowed(netip.MustParseAddr(s)); !errors.Is(err, egress.ErrAddress) {
			t.Errorf("Allowed(%s) = %v, want %v", s, err, egress.ErrAddress)
		}
	}
	for _, s := range allowedAddrs {
		if err := nobody.Allowed(netip.MustParseAddr(s)); err != nil {
			t.Errorf("Allowed(%s) = %v", s, err)
		}
	}
	if err := nobody.Allowed(netip.Addr{}); err == nil {
		t.Error("the zero address is allowed")
	}
}

// What the operator opens is open, and nothing that only looks like it; link
// local, multicast, metadata and embeddings stay shut whatever was opened.
func TestGuardAllowInternal(t *testing.T) {
	g := &egress.Guard{AllowInternal: []netip.Prefix{netip.MustParsePrefix("10.1.0.0/16"), netip.MustParsePrefix("::1/128"), netip.MustParsePrefix("fd00:1::/32")}}
	for s, want := range map[string]bool{
		"10.1.2.3": true, "10.2.0.1": false, "::1": true, "fd00:1::5": true, "fd00:2::5": false,
		"::ffff:10.1.2.3": false, "64:ff9b::10.1.2.3": false, "fd00:1::5%eth0": false, "fd00:1::5efe:a01:203": false,
	} {
		if err := g.Allowed(netip.MustParseAddr(s)); (err == nil) != want {
			t.Errorf("Allowed(%s) = %v, want allowed %v", s, err, want)
		}
	}
	all := &egress.Guard{AllowInternal: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0"), netip.MustParsePrefix("::/0")}}
	for _, s := range []string{
		"0.0.0.0", "224.0.0.1", "255.255.255.255", "169.254.169.254", "100.100.100.200", "192.0.0.192", "168.63.129.16",
		"::", "ff02::1", "fe80::1", "fd00:ec2::254", "::ffff:10.0.0.1", "::10.0.0.1", "::ffff:0:10.0.0.1", "64:ff9b::10.0.0.1", "64:ff9b:1::1", "2002:a00:1::1", "2001::1",
	} {
		if err := all.Allowed(netip.MustParseAddr(s)); err == nil {
			t.Errorf("Allowed(%s) although everything was opened", s)
		}
	}
}

// No embedding of any IPv4 address passes, public ones included.
func TestGuardRefusesEmbeddings(t *testing.T) {
	forms := []struct {
		prefix string
		at     int
	}{{"::", 12}, {"::ffff:0:0", 12}, {"::ffff:0:0:0", 12}, {"64:ff9b::", 12}, {"64:ff9b:1::", 12}, {"2002::", 2}, {"2001::", 12}, {"2606:4700::5efe:0:0", 12}}
	rapid.Check(t, func(t *rapid.T) {
		four := rapid.SliceOfN(rapid.Byte(), 4, 4).Draw(t, "ipv4")
		form := rapid.SampledFrom(forms).Draw(t, "form")
		b := netip.MustParseAddr(form.prefix).As16()
		copy(b[form.at:], four)
		if addr := netip.AddrFrom16(b); new(egress.Guard).Allowed(addr) == nil {
			t.Fatalf("Allowed(%s)", addr)
		}
	})
}

func TestGuardControl(t *testing.T) {
	for _, c := range []struct{ network, address string }{
		{"tcp4", "169.254.169.254:443"}, {"tcp4", "127.0.0.1:443"}, {"tcp6", "[::1]:443"}, {"tcp6", "[fe80::1%lo]:443"},
		{"udp4", "8.8.8.8:53"}, {"unix", "/run/docker.sock"}, {"tcp4", "allowed.test:443"}, {"tcp4", ""},
	} {
		if err := new(egress.Guard).Control(t.Context(), c.network, c.address, nil); !errors.Is(err, egress.ErrAddress) {
			t.Errorf("Control(%s, %s) = %v, want %v", c.network, c.address, err, egress.ErrAddress)
		}
	}
	if err := new(egress.Guard).Control(t.Context(), "tcp4", "8.8.8.8:443", nil); err != nil {
		t.Error(err)
	}
}

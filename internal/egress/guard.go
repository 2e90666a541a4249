package egress

import (
	"context"
	"fmt"
	"net/netip"
	"syscall"
)

// Guard decides which addresses may be dialled. The zero value, and a nil
// Guard, accept public unicast addresses only.
type Guard struct {
	// AllowInternal lists networks that the operator opened, for a provider
	// inside of the house. It cannot open the networks of [neverDialled].
	AllowInternal []netip.Prefix
}

// special4 are the blocks of the IANA IPv4 Special-Purpose Address Registry
// (RFC 6890 and successors), and multicast. Blocks that the registry calls
// globally reachable (the anycast addresses in 192.0.0.0/24, AS112, AMT) are
// refused with the rest: no provider lives there.
var special4 = prefixes(
	"0.0.0.0/8",       // this network, RFC 791 §3.2
	"10.0.0.0/8",      // private use, RFC 1918
	"100.64.0.0/10",   // shared address space, RFC 6598
	"127.0.0.0/8",     // loopback, RFC 1122 §3.2.1.3
	"169.254.0.0/16",  // link local, RFC 3927
	"172.16.0.0/12",   // private use, RFC 1918
	"192.0.0.0/24",    // IETF protocol assignments, RFC 6890 §2.1
	"192.0.2.0/24",    // TEST-NET-1, RFC 5737
	"192.31.196.0/24", // AS112-v4, RFC 7535
	"192.52.193.0/24", // AMT, RFC 7450
	"192.88.99.0/24",  // 6to4 relay anycast, RFC 7526
	"192.168.0.0/16",  // private use, RFC 1918
	"192.175.48.0/24", // direct delegation AS112, RFC 7534
	"198.18.0.0/15",   // benchmarking, RFC 2544
	"198.51.100.0/24", // TEST-NET-2, RFC 5737
	"203.0.113.0/24",  // TEST-NET-3, RFC 5737
	"224.0.0.0/4",     // multicast, RFC 5771
	"240.0.0.0/4",     // reserved, and the limited broadcast, RFC 1112 §4, RFC 919 §7
)

// global6 is the only part of IPv6 that is assigned as global unicast
// (RFC 4291 §2.4 and the IANA registry). Whatever lies outside of it needs no
// name to be refused: loopback, ULA, link local, fec0::/10, multicast,
// discard-only 100::/64, SRv6 5f00::/16, NAT64 64:ff9b::/96 and 64:ff9b:1::/48,
// IPv4-mapped, IPv4-compatible and IPv4-translated addresses.
var global6 = netip.MustParsePrefix("2000::/3")

// special6 are the blocks inside of global6 that are not for hosts, or that
// carry an IPv4 address.
var special6 = prefixes(
	"2001::/23",         // IETF protocol assignments, RFC 2928: Teredo, benchmarking, ORCHID, DRIP
	"2001:db8::/32",     // documentation, RFC 3849
	"2002::/16",         // 6to4, RFC 3056
	"2620:4f:8000::/48", // direct delegation AS112, RFC 7534
	"3fff::/20",         // documentation, RFC 9637
)

// neverDialled stays shut whatever the operator allows: not unicast at all, or
// the place where clouds hand out the machine's own credentials.
var neverDialled = prefixes(
	"0.0.0.0/8", "224.0.0.0/4", "255.255.255.255/32", "::/128", "ff00::/8",
	"169.254.0.0/16", "fe80::/10", // link local: nearly every metadata service
	"100.100.100.200/32", // Alibaba Cloud metadata
	"192.0.0.192/32",     // Oracle Cloud metadata
	"168.63.129.16/32",   // Azure wire server: a public address that leads to the host
	"fd00:ec2::/32",      // AWS metadata, DNS and time over IPv6
	"fd20:ce::/32",       // Google Cloud metadata over IPv6
)

func prefixes(list ...string) []netip.Prefix {
	out := make([]netip.Prefix, len(list))
	for i, s := range list {
		out[i] = netip.MustParsePrefix(s)
	}
	return out
}

func within(addr netip.Addr, list []netip.Prefix) (netip.Prefix, bool) {
	for _, p := range list {
		if p.Contains(addr) {
			return p, true
		}
	}
	return netip.Prefix{}, false
}

// Allowed reports whether addr may be dialled: nil, or why not. An IPv6
// address that embeds an IPv4 one is refused whole, whichever IPv4 address it
// is: where a translator takes it is not ours to know. Translators behind a
// prefix of the network's own (RFC 6052 §2.2) cannot be recognised.
func (g *Guard) Allowed(addr netip.Addr) error {
	switch {
	case !addr.IsValid():
		return because(ErrAddress, "no address")
	case addr.Zone() != "":
		return because(ErrAddress, "%s has a zone", addr)
	case addr.Is4In6():
		return because(ErrAddress, "%s is an IPv4-mapped address", addr)
	}
	if p, found := within(addr, neverDialled); found {
		return because(ErrAddress, "%s is in %s", addr, p)
	}
	if embedded(addr) {
		return because(ErrAddress, "%s embeds an IPv4 address", addr)
	}
	if g != nil {
		if _, found := within(addr, g.AllowInternal); found {
			return nil
		}
	}
	list := special4
	if addr.Is6() {
		if !global6.Contains(addr) {
			return because(ErrAddress, "%s is not global unicast", addr)
		}
		list = special6
	}
	if p, found := within(addr, list); found {
		return because(ErrAddress, "%s is in %s", addr, p)
	}
	return nil
}

var (
	compatible = netip.MustParsePrefix("::/96")             // RFC 4291 §2.5.5.1
	translated = netip.MustParsePrefix("::ffff:0:0:0/96")   // RFC 2765 §2.1 (SIIT)
	nat64      = prefixes("64:ff9b::/96", "64:ff9b:1::/48") // RFC 6052, RFC 8215
	tunnelled  = prefixes("2001::/32", "2002::/16")         // Teredo, 6to4
	loopback6  = netip.IPv6Loopback()
)

// embedded reports whether addr is an IPv6 address of a form that carries an
// IPv4 address. Such an address stays refused inside of allowed networks.
func embedded(addr netip.Addr) bool {
	if !addr.Is6() || addr == loopback6 {
		return false
	}
	if compatible.Contains(addr) || translated.Contains(addr) {
		return true
	}
	if _, found := within(addr, nat64); found {
		return true
	}
	if _, found := within(addr, tunnelled); found {
		return true
	}
	// ISATAP keeps the IPv4 address in its interface identifier, under any
	// prefix: 0000:5efe or 0200:5efe and four bytes, RFC 5214 §6.1.
	b := addr.As16()
	return b[8]&^0x02 == 0 && b[9] == 0 && b[10] == 0x5e && b[11] == 0xfe
}

// Control is for [net.Dialer.ControlContext]: it judges the address that the
// socket is about to be connected to, so nothing that happened before, a name
// that changed its mind included, can slip another address underneath.
func (g *Guard) Control(_ context.Context, network, address string, _ syscall.RawConn) error {
	if network != "tcp4" && network != "tcp6" {
		return because(ErrAddress, "network %s", network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return ErrAddress.Because(fmt.Errorf("read dialled address: %w", err))
	}
	return g.Allowed(ap.Addr())
}

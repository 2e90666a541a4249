package egress

import (
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// maxTarget bounds path and query together: what every upstream of note still
// takes, and less than a log line's worth of damage.
const maxTarget = 8 << 10

// URLRules say which URLs may be configured or called. The zero value is the
// strictest: https, port 443, public names and public addresses.
type URLRules struct {
	Guard *Guard
	// Ports are allowed beside 443.
	Ports []uint16
	// AllowHTTP names hosts that may be called without TLS.
	AllowHTTP func(host string) bool
	// Internal names hosts of the operator's own network: their names may be
	// single labels or end like private names do, and any port goes. Their
	// addresses still have to pass the Guard.
	Internal func(host string) bool
}

// CheckURL judges a URL by the zero URLRules.
func CheckURL(u *url.URL) error { return URLRules{}.Check(u) }

// Check judges u: scheme, host and port as [URLRules] say, no userinfo, no
// fragment, one canonical spelling of host and path. It resolves nothing; that
// a name leads to a public address is judged when it is dialled.
func (r URLRules) Check(u *url.URL) error {
	if err := r.checkOrigin(u, true); err != nil {
		return err
	}
	return checkTarget(u)
}

func badURL(format string, args ...any) error { return because(ErrURL, format, args...) }

// checkOrigin judges everything before the path. With ports false, any port on
// which HTTP may be spoken passes: the connection's base named it.
func (r URLRules) checkOrigin(u *url.URL, ports bool) error {
	switch {
	case u == nil:
		return badURL("no URL")
	case u.Opaque != "":
		return badURL("no slashes after the scheme")
	case u.User != nil:
		return badURL("userinfo")
	case u.Fragment != "" || u.RawFragment != "":
		return badURL("fragment")
	case u.Host == "":
		return badURL("no host")
	}
	for i := range len(u.Host) {
		// Before anything is folded: the Kelvin sign is a k in lower case.
		if c := u.Host[i]; c <= ' ' || c >= 0x7f {
			return badURL("byte %#x in host", c)
		}
	}
	host := strings.ToLower(u.Hostname())
	named := func(is func(string) bool) bool { return is != nil && is(host) }
	plain := u.Scheme == "http" && named(r.AllowHTTP)
	if u.Scheme != "https" && !plain {
		return badURL("scheme %q", u.Scheme)
	}
	internal := plain || named(r.Internal)
	port, err := explicitPort(u.Host)
	if err != nil {
		return err
	}
	if !internal && neverHTTP(port) {
		return badURL("port %d is another service's", port)
	}
	if ports && !internal && port != 0 && port != 443 && !slices.Contains(r.Ports, port) {
		return badURL("port %d", port)
	}
	return r.checkHost(u.Host, host, internal)
}

// explicitPort reads the port of an authority, 0 where it names none. Only the
// canonical decimal passes: an empty, padded or signed port is how parsers are
// made to disagree.
func explicitPort(authority string) (uint16, error) {
	rest := authority
	if i := strings.LastIndexByte(rest, ']'); i >= 0 {
		rest = rest[i+1:]
	}
	_, digits, found := strings.Cut(rest, ":")
	if !found {
		return 0, nil
	}
	n, err := strconv.ParseUint(digits, 10, 16)
	if err != nil || n == 0 || strconv.FormatUint(n, 10) != digits {
		return 0, badURL("port %q", digits)
	}
	return uint16(n), nil
}

// neverHTTP reports ports where something else listens that a request, or a TLS
// greeting, might still make do something: the privileged ones but those of
// HTTP, and those of databases, caches and queues. 0 is the scheme's own.
func neverHTTP(port uint16) bool {
	if port < 1024 {
		return port != 0 && port != 80 && port != 443
	}
	return slices.Contains([]uint16{1433, 1521, 2049, 2181, 2375, 2379, 3306, 4369, 5432, 5672, 6379, 6667, 9042, 9092, 10250, 11211, 27017}, port)
}

// effectivePort is the port that u leads to.
func effectivePort(u *url.URL) string {
	switch p := u.Port(); {
	case p != "":
		return p
	case u.Scheme == "http":
		return "80"
	default:
		return "443"
	}
}

// privateSuffixes are last labels that never lead to a public host: special-use
// names (RFC 6761, 6762, 7686, 8375, 9476), ICANN's .internal and the names it
// will not delegate, and what clusters and routers use.
var privateSuffixes = []string{
	"localhost", "localdomain", "local", "internal", "intranet", "lan", "home", "corp", "mail",
	"private", "svc", "arpa", "onion", "invalid", "alt", "localnet", "docker", "consul",
}

// checkHost judges the host of a URL. authority is how it was written, host its
// lower case without brackets and port.
func (r URLRules) checkHost(authority, host string, internal bool) error {
	if strings.HasPrefix(authority, "[") || strings.Contains(host, ":") {
		addr, err := netip.ParseAddr(host)
		if err != nil || !addr.Is6() || !strings.HasPrefix(authority, "[") {
			return badURL("host %q", host)
		}
		return r.Guard.Allowed(addr)
	}
	if host == "" || len(host) > 253 {
		return badURL("host of %d bytes", len(host))
	}
	labels := strings.Split(host, ".")
	last := labels[len(labels)-1]
	if endsInNumber(last) {
		// Four canonical decimals, or nothing: octal, hexadecimal, short and
		// whole-number spellings mean different addresses to different parsers.
		addr, err := netip.ParseAddr(host)
		if err != nil {
			return badURL("host %q is no canonical IPv4 address", host)
		}
		return r.Guard.Allowed(addr)
	}
	for _, label := range labels {
		if err := checkLabel(label, internal); err != nil {
			return err
		}
	}
	if internal {
		return nil
	}
	if len(labels) == 1 {
		return badURL("host %q is a single label", host)
	}
	if slices.Contains(privateSuffixes, last) {
		return badURL("host %q ends in a private name", host)
	}
	return nil
}

// endsInNumber is the test of the URL Standard for "this host is meant as an
// IPv4 address": the last label is all digits or a hexadecimal number.
func endsInNumber(label string) bool {
	if hex, found := strings.CutPrefix(label, "0x"); found {
		return strings.Trim(hex, "0123456789abcdef") == ""
	}
	return label != "" && strings.Trim(label, "0123456789") == ""
}

// checkLabel accepts letters, digits and inner hyphens (RFC 952, RFC 1123
// §2.1): an empty label, so a trailing dot too, is refused. Internationalised
// labels (RFC 5891 §4.2.3.1 reserves the double hyphen) look like others on
// purpose or by accident, so they need the operator's word.
func checkLabel(label string, internal bool) error {
	if label == "" || len(label) > 63 || label[0] == '-' || label[len(label)-1] == '-' {
		return badURL("label %q in host", label)
	}
	for i := range len(label) {
		if c := label[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return badURL("character %q in host", c)
		}
	}
	if len(label) >= 4 && label[2:4] == "--" && !internal {
		return badURL("internationalised label %q in host", label)
	}
	return nil
}

// checkTarget judges path and query. The builder of the URL matched the path
// against rules; what must not happen is that the upstream reads another path
// than was matched, so only the one canonical spelling passes.
func checkTarget(u *url.URL) error {
	escaped := u.EscapedPath()
	if len(escaped)+len(u.RawQuery) > maxTarget {
		return badURL("path and query of %d bytes", len(escaped)+len(u.RawQuery))
	}
	if u.Path != "" && (u.Path[0] != '/' || strings.HasPrefix(u.Path, "//")) {
		return badURL("path does not start with one slash")
	}
	for i := range len(u.RawQuery) {
		if c := u.RawQuery[i]; c <= ' ' || c >= 0x7f || c == '#' {
			return badURL("byte %#x in query", c)
		}
	}
	for i := range len(u.Path) {
		switch c := u.Path[i]; {
		case c < ' ' || c == 0x7f || c == '\\':
			return badURL("byte %#x in path", c)
		case c == '%' && isEscape(u.Path[i:]):
			return badURL("doubly encoded path")
		}
	}
	for i := range len(escaped) {
		if escaped[i] == '%' && isEscape(escaped[i:]) && unreserved(unhex(escaped[i+1])<<4|unhex(escaped[i+2])) {
			return badURL("path encodes a character that needs none")
		}
	}
	for seg := range strings.SplitSeq(u.Path, "/") {
		// Some servers cut parameters off a segment before they read it.
		if name, _, _ := strings.Cut(seg, ";"); name == "." || name == ".." {
			return badURL("dot segment in path")
		}
	}
	return nil
}

func isEscape(s string) bool { return len(s) >= 3 && ishex(s[1]) && ishex(s[2]) }

// unreserved are the characters whose escapes are equivalent to themselves,
// RFC 3986 §2.3.
func unreserved(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("-._~", c) >= 0
}

// sameOrigin compares scheme, host and port (RFC 6454 §4) of the URL that was
// built with those of the connection's base.
func sameOrigin(u, base *url.URL) bool {
	return u.Scheme == base.Scheme && strings.EqualFold(u.Hostname(), base.Hostname()) && effectivePort(u) == effectivePort(base)
}

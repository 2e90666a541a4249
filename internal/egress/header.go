package egress

import (
	"net/http"
	"slices"
	"strings"
)

// maxRequestHeader bounds the agent's header lines together.
const maxRequestHeader = 16 << 10

// sendable are the request headers that a caller may set. Everything else is
// refused: what frames the message (Content-Length, Transfer-Encoding, TE,
// Trailer, Connection, Upgrade, Expect), where it goes (Host, Forwarded, X-Forwarded-*,
// Proxy-*), who asks (Authorization, Cookie, X-Goog-User-Project and their
// kind), what it means (X-HTTP-Method-Override and its variants,
// Content-Encoding, which would hide the body from those who judge it).
var sendable = []string{
	"Accept", "Accept-Language", "Content-Language", "Content-Type",
	"If-Match", "If-Modified-Since", "If-None-Match", "If-Range", "If-Unmodified-Since", "Range",
	"Idempotency-Key", "Prefer",
	"Notion-Version", "X-Atlassian-Token",
}

// listed may come in several lines; every other header in exactly one.
var listed = []string{"Accept", "Accept-Language", "If-Match", "If-None-Match", "Prefer"}

// HeaderAllowed reports whether a caller may set the request header name,
// in any case: the list above, and GitHub's own (X-GitHub-*).
func HeaderAllowed(name string) bool {
	name = http.CanonicalHeaderKey(name)
	if slices.Contains(sendable, name) {
		return true
	}
	rest, found := strings.CutPrefix(name, "X-Github-")
	return found && rest != "" && token(name)
}

// token reports whether s is a token of RFC 9110 §5.6.2.
func token(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !(c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("!#$%&'*+-.^_`|~", c) >= 0) {
			return false
		}
	}
	return s != ""
}

// fieldValue reports whether s may stand in a header line: visible ASCII,
// spaces and tabs. RFC 9110 §5.5 leaves other bytes to chance, and CR, LF and
// NUL to attackers.
func fieldValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c != '\t' && (c < ' ' || c > '~') {
			return false
		}
	}
	return true
}

// requestHeader copies what the caller may send, or refuses all of it.
func requestHeader(in http.Header) (http.Header, error) {
	out := make(http.Header, len(in)+4)
	size := 0
	for name, values := range in {
		if !token(name) || !HeaderAllowed(name) {
			return nil, refuse(ErrHeader, "header %q", name)
		}
		key := http.CanonicalHeaderKey(name)
		if len(out[key]) > 0 || len(values) != 1 && !slices.Contains(listed, key) {
			return nil, refuse(ErrHeader, "header %s stands there %d times", key, len(out[key])+len(values))
		}
		for _, v := range values {
			if !fieldValue(v) {
				return nil, refuse(ErrHeader, "value of header %s", key)
			}
			size += len(key) + len(v) + 4
		}
		if size > maxRequestHeader {
			return nil, refuse(ErrHeader, "headers over %d bytes", maxRequestHeader)
		}
		out[key] = slices.Clone(values)
	}
	return out, nil
}

// dropped are response headers that stop here: what would give the agent a
// session or tell it of credentials, what holds for our connection only
// (RFC 9110 §7.6.1), what describes the bytes before we inflated and searched
// them, and what makes a browser do things.
var dropped = []string{
	"Set-Cookie", "Set-Cookie2", "Cookie",
	"Authorization", "Www-Authenticate", "Authentication-Info", "Authentication-Control", "Dpop-Nonce",
	"Connection", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade", "Http2-Settings",
	"Content-Encoding", "Content-Length", "Content-Md5", "Content-Digest", "Digest",
	"Alt-Svc", "Alt-Used", "Refresh", "Clear-Site-Data", "Strict-Transport-Security", "Public-Key-Pins",
	"Public-Key-Pins-Report-Only", "Report-To", "Reporting-Endpoints", "Nel", "Expect-Ct", "Origin-Agent-Cluster",
	"Service-Worker-Allowed", "Sourcemap", "X-Sourcemap", "Speculation-Rules", "Accept-Ch",
}

// droppedPrefixes are families of the same kinds.
var droppedPrefixes = []string{"Proxy-", "Access-Control-", "Sec-", "X-Accel-", "X-Sendfile"}

// filter returns the response header, or trailer, that the caller may see,
// without anything that names or holds the credential, and how often it did.
func filter(in http.Header, red *Redactor) (http.Header, int) {
	drop := slices.Clone(dropped)
	for _, line := range in["Connection"] {
		for name := range strings.SplitSeq(line, ",") {
			drop = append(drop, http.CanonicalHeaderKey(strings.TrimSpace(name)))
		}
	}
	out, hits := make(http.Header, len(in)), 0
	for name, values := range in {
		if len(values) == 0 || slices.Contains(drop, name) || slices.ContainsFunc(droppedPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			continue
		}
		// The name was put into canonical case on the way in, so it is
		// compared without case.
		if red.inName(name) {
			hits++
			continue
		}
		clean := make([]string, len(values))
		for i, v := range values {
			var n int
			clean[i], n = red.String(v)
			hits += n
		}
		out[name] = clean
	}
	return out, hits
}

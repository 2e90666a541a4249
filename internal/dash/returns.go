package dash

import (
	"net/url"
	"path"
	"strings"
)

// returnTo is where a person goes after the login: the page that they wanted,
// if it is a page of this server, else the start. It is judged as text first,
// because browsers repair what parsers refuse: a backslash becomes a slash,
// tabs and line breaks vanish (WHATWG URL, "basic URL parser").
func returnTo(wanted string) string {
	if len(wanted) > 2000 || !strings.HasPrefix(wanted, "/") || strings.HasPrefix(wanted, "//") {
		return "/"
	}
	for _, r := range wanted {
		if r <= ' ' || r > '~' || r == '\\' {
			return "/"
		}
	}
	u, err := url.Parse(wanted)
	if err != nil || u.Scheme != "" || u.Host != "" || u.User != nil || u.Fragment != "" {
		return "/"
	}
	escaped := strings.ToLower(u.EscapedPath())
	if strings.Contains(escaped, "%2f") || strings.Contains(escaped, "%5c") || path.Clean(u.Path) != u.Path {
		return "/"
	}
	if !isPage(u.Path) {
		return "/"
	}
	return wanted
}

// isPage leaves out what is no page to look at: what other edges serve, what
// belongs to a flow of its own, and what changes something.
func isPage(p string) bool {
	head, _, _ := strings.Cut(strings.TrimPrefix(p, "/"), "/")
	switch strings.ToLower(head) {
	case "oauth", "v1", ".well-known", "healthz", "readyz", "assets", "events", "connect", "passkey", "login", "logout", "enrol", "recover", "signin", "freeze", "unfreeze":
		return false
	}
	return !strings.HasSuffix(p, "/rows") && !strings.HasSuffix(p, "/list") && !strings.HasSuffix(p, "/status")
}

// loginURL is the login that leads back to where somebody was.
func loginURL(wanted string) string {
	to := returnTo(wanted)
	if to == "/" {
		return "/login"
	}
	return "/login?to=" + url.QueryEscape(to)
}

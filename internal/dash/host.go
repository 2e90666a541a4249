package dash

import (
	"net"
	"net/http"
	"strings"

	"github.com/valetkey/valetkey/internal/config"
)

// hostOf splits the host and the port that a request names. IPv6 loses its
// brackets.
func hostOf(r *http.Request) (host, port string) {
	host, port, err := net.SplitHostPort(r.Host)
	if err != nil {
		host = r.Host
	}
	return strings.Trim(host, "[]"), port
}

// named serves the pages only to those who ask for them by a name of this
// machine, where that is what we are known by.
//
// A name that somebody else owns can be made to lead here, and then a page of
// theirs is of our origin as far as a browser knows (DNS rebinding): it has none
// of our cookies, but it may read what a stranger is shown, and write what
// strangers may. Over HTTPS no certificate of ours fits such a name, and a proxy
// in front of us may call us anything.
func (s *Server) named(next http.Handler) http.Handler {
	if !config.Loopback(s.base.Hostname()) {
		return next
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if host, _ := hostOf(r); !config.Loopback(strings.ToLower(host)) {
			SetHeaders(w.Header())
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			// RFC 9110 §15.5.20: not the server that this name belongs to.
			http.Error(w, "This is "+s.PublicURL+" and has no other name. Open it by that.", http.StatusMisdirectedRequest)
			return
		}
		next.ServeHTTP(w, r)
	})
}

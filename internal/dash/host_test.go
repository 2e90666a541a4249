package dash_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/user"
)

// A name that is not of this machine gets no page and starts nothing, whoever
// asks by it: it may be somebody's who made it lead here.
func TestOtherNamesAreNobody(t *testing.T) {
	s := newSite(t)
	v := s.person("mira", user.Owner)
	port := s.base[strings.LastIndex(s.base, ":"):]
	h := s.dash.Handler()
	ask := func(method, path, host string) *httptest.ResponseRecorder {
		req := httptest.NewRequestWithContext(t.Context(), method, "http://x"+path, strings.NewReader("{}"))
		req.Host = host
		for name, value := range v.cookies {
			req.AddCookie(&http.Cookie{Name: name, Value: value})
		}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, req)
		return w
	}
	before := s.size()
	for _, host := range []string{
		"evil.example", "evil.example" + port, "localhost.evil.example" + port, "127.0.0.1.nip.example" + port, "evil-localhost" + port, "localhost." + "example",
		"0.0.0.0" + port, "10.0.0.1" + port, "[::]" + port, "[::ffff:10.0.0.1]" + port, "", "127.0.0.1@evil.example", "localhost,evil.example", "localhost evil.example",
	} {
		for _, path := range []string{"/", "/inbox", "/login", "/welcome", "/assets/x", "/events/inbox", "/no/such/page"} {
			if w := ask("GET", path, host); w.Code != http.StatusMisdirectedRequest || w.Header().Get("Location") != "" || len(w.Result().Cookies()) != 0 {
				t.Errorf("%q %s: %d %s", host, path, w.Code, w.Header().Get("Location"))
			}
		}
		for _, path := range []string{"/passkey/login/begin", "/freeze", "/logout"} {
			if w := ask("POST", path, host); w.Code != http.StatusMisdirectedRequest {
				t.Errorf("%q POST %s: %d", host, path, w.Code)
			}
		}
	}
	if n := s.size() - before; n != 0 {
		t.Errorf("%d events", n)
	}
	for _, host := range []string{"localhost" + port, "LOCALHOST" + port, "127.0.0.1" + port, "[::1]" + port, "valetkey.localhost" + port, "localhost"} {
		if w := ask("GET", "/inbox", host); w.Code != http.StatusOK && w.Code != http.StatusSeeOther {
			t.Errorf("%q: %d", host, w.Code)
		}
	}
}

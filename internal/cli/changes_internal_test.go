package cli

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"github.com/valetkey/valetkey/api"
)

// Where a login is stored, changes go with it; reads and freezes, and what that
// person may not even propose, go through the socket.
func TestChangesGoWithTheLogin(t *testing.T) {
	var asked []string
	serve := func(who string) *remote {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			asked = append(asked, who)
			if who == "login" && r.URL.Path == "/v1/admin/providers/github" {
				w.Header().Set("Content-Type", api.MediaProblem)
				w.WriteHeader(http.StatusForbidden)
				_ = json.NewEncoder(w).Encode(api.Problem{Reason: "not_allowed", Status: http.StatusForbidden})
				return
			}
			w.Header().Set("Content-Type", api.MediaJSON)
			_, _ = w.Write([]byte("{}"))
		}))
		t.Cleanup(s.Close)
		return &remote{base: s.URL + "/", http: s.Client()}
	}
	socket := serve("socket")
	socket.changes = serve("login")
	for _, c := range []struct {
		method, path string
		want         []string
	}{
		{"GET", "v1/admin/grants", []string{"socket"}},
		{"POST", "v1/admin/grants", []string{"login"}},
		{"POST", "v1/admin/freezes", []string{"socket"}},
		{"DELETE", "v1/admin/freezes/frz_1", []string{"login"}},
		{"PUT", "v1/admin/providers/github", []string{"login", "socket"}},
	} {
		asked = nil
		if err := socket.ask(t.Context(), c.method, c.path, nil, nil, nil); err != nil || !slices.Equal(asked, c.want) {
			t.Errorf("%s %s: asked %v, %v, want %v", c.method, c.path, asked, err, c.want)
		}
	}
}

package httpapi_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/httpapi"
	"github.com/valetkey/valetkey/internal/user"
)

// grow gives the repository at the provider n more issues with this text,
// behind our back.
func (w *world) grow(n int, text string) {
	w.t.Helper()
	token := w.Sandbox.PersonalToken("octocat", "repo")
	body, err := json.Marshal(map[string]string{"title": "large", "body": text})
	if err != nil {
		w.t.Fatal(err)
	}
	for range n {
		req, err := http.NewRequestWithContext(w.t.Context(), "POST", w.Upstream+"/repos/octo/api/issues", bytes.NewReader(body))
		if err != nil {
			w.t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token.Reveal())
		res, err := http.DefaultClient.Do(req)
		if err != nil {
			w.t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != http.StatusCreated {
			w.t.Fatalf("the sandbox answers %d", res.StatusCode)
		}
	}
}

// stream reads a raw answer as far as it goes.
func (w *world) stream(in api.ActionRequest) (*http.Response, []byte, error) {
	w.t.Helper()
	res, err := http.DefaultClient.Do(w.request(w.agent(), "POST", "/v1/actions?stream=1", in))
	if err != nil {
		w.t.Fatal(err)
	}
	defer res.Body.Close()
	b, err := io.ReadAll(res.Body)
	return res, b, err
}

// outcomes counts how actions ended since a moment.
func (w *world) outcomes(from int64) map[string]int {
	w.t.Helper()
	n := map[string]int{}
	for _, e := range w.events(from) {
		if strings.HasPrefix(e.Verb, "action.") {
			n[e.Verb]++
		}
	}
	return n
}

// An answer of more than 1 MiB does not go into JSON: the action was done, and
// the answer says that its body is missing. The raw one goes on to 10 MiB, and
// breaks off there so that nobody takes a part for the whole.
func TestLargeAnswers(t *testing.T) {
	w := newWorld(t).furnish()
	const most = 65536 // characters, of an issue's text
	text := strings.Repeat("x", most)

	w.grow(13, text)
	got := into[api.ActionResult](t, w.send(w.agent(), "POST", "/v1/actions", listIssues))
	if got.Truncated || len(got.Body) < 13*most || got.Status != 200 {
		t.Errorf("below 1 MiB: %d, truncated %t, %d bytes", got.Status, got.Truncated, len(got.Body))
	}

	w.grow(5, text)
	before := w.size()
	got = into[api.ActionResult](t, w.send(w.agent(), "POST", "/v1/actions", listIssues))
	if !got.Truncated || got.Body != nil || got.BodyBase64 != nil || got.Status != 200 || got.State != api.StateSucceeded {
		t.Errorf("above 1 MiB: %d %s, truncated %t, %d bytes of it", got.Status, got.State, got.Truncated, len(got.Body)+len(got.BodyBase64))
	}
	if n := w.outcomes(before); n["action.succeeded"] != 1 || n["action.refused"] != 0 {
		t.Errorf("recorded as %v", n)
	}
	res, raw, err := w.stream(listIssues)
	var issues []json.RawMessage
	if err != nil || json.Unmarshal(raw, &issues) != nil || len(issues) < 18 || len(raw) < 18*most {
		t.Errorf("the raw one: %d bytes, %d issues, %v", len(raw), len(issues), err)
	}
	if res.StatusCode != 200 || res.Header.Get(api.HeaderUpstreamStatus) != "200" || !strings.HasPrefix(res.Header.Get(api.HeaderAction), "act_") {
		t.Errorf("the raw one: %d %v", res.StatusCode, res.Header)
	}

	w.grow(45, strings.Repeat("🔑", most))
	many := listIssues
	many.Params = map[string]any{"owner": "octo", "repo": "api", "per_page": 100}
	before = w.size()
	res, raw, err = w.stream(many)
	if !errors.Is(err, io.ErrUnexpectedEOF) || len(raw) > 10<<20 || res.StatusCode != 200 {
		t.Errorf("above 10 MiB: %d, %d bytes, %v", res.StatusCode, len(raw), err)
	}
	if n := w.outcomes(before); n["action.succeeded"] != 1 || n["action.unknown"] != 0 {
		t.Errorf("recorded as %v", n)
	}
	if got = into[api.ActionResult](t, w.send(w.agent(), "POST", "/v1/actions", many)); !got.Truncated || got.Body != nil {
		t.Errorf("above 10 MiB, in JSON: truncated %t, %d bytes", got.Truncated, len(got.Body))
	}
}

// A stream that has nothing to say says that it is still there: a proxy would
// cut it, and its reader could not tell silence from a dead line.
func TestHeartbeats(t *testing.T) {
	w := newWorld(t, func(_ *http.Server, s *httpapi.Server) { s.Heartbeat = 20 * time.Millisecond }).furnish()
	held := into[api.Action](t, w.send(w.agent(), "POST", "/v1/actions", comment("Still there?")))
	owner := w.browser(w.person("ines", user.Owner))
	for path, by := range map[string]who{"/v1/actions/" + held.ID + "/events": w.agent(), "/v1/admin/events/stream": owner} {
		res, lines := w.open(by, path)
		beats := 0
		for beats < 2 && lines.Scan() {
			switch text := lines.Text(); {
			case text == ": still here":
				beats++
			case strings.HasPrefix(text, "event: reconnect"):
				t.Errorf("%s sends its reader away", path)
			}
		}
		if beats < 2 {
			t.Errorf("%s ended: %v", path, lines.Err())
		}
		res.Body.Close()
	}
}

package dash_test

import (
	"encoding/json"
	"net/http"
	"net/netip"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/user"
)

var digestOn = regexp.MustCompile(`name="digest" value="([0-9a-f]{64})"`)

// A terminal is let in by a passkey that signed just this login: a browser's
// session alone does not become a command line.
func TestDeviceOnThePage(t *testing.T) {
	s := newSite(t)
	v, k := s.keyed("olga", user.Owner)
	begin := func(label string) *user.Device {
		t.Helper()
		_, d, err := s.App.Users.BeginDevice(t.Context(), user.Peer{From: netip.MustParseAddr("192.0.2.7"), Label: label}, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	shown := func(d *user.Device) (page, digest string) {
		t.Helper()
		page = v.get("/device?code=" + d.UserCode).body
		m := digestOn.FindStringSubmatch(page)
		if m == nil {
			t.Fatal("the page does not say what is to be signed")
		}
		return page, m[1]
	}
	mine, other := begin("my-laptop"), begin("another-laptop")
	page, digest := shown(mine)
	touch := "/device/" + mine.UserCode + "/passkey"
	for _, want := range []string{"my-laptop", "192.0.2.7", `data-passkey="` + touch + `"`} {
		if !strings.Contains(page, want) {
			t.Errorf("the page does not show %q", want)
		}
	}
	_, otherDigest := shown(other)
	approve := func(assertion json.RawMessage) answer {
		t.Helper()
		said := map[string]any{"code": mine.UserCode, "decision": "approve", "digest": digest}
		if assertion != nil {
			said["assertion"] = assertion
		}
		return v.post("/device/decision", said)
	}
	if got := approve(nil); got.reason() != "ceremony_over" {
		t.Errorf("without a touch: %d %s", got.code, got.body)
	}
	if got := approve(v.assert(k, "/passkey/confirm/begin", struct{}{})); got.reason() != "ceremony_over" {
		t.Errorf("with the touch for the session: %d %s", got.code, got.body)
	}
	if got := approve(v.assert(k, "/device/"+other.UserCode+"/passkey", map[string]string{"digest": otherDigest})); got.reason() != "presence_required" {
		t.Errorf("with the touch for another: %d %s", got.code, got.body)
	}
	if got := v.post(touch, map[string]string{"digest": otherDigest}); got.reason() != "device_stale" {
		t.Errorf("a touch for what another page showed: %d %s", got.code, got.body)
	}
	if got := v.post(touch, map[string]string{"digest": "no"}); got.reason() != "bad_json" {
		t.Errorf("a touch for nothing: %d %s", got.code, got.body)
	}
	if d, err := s.App.Users.LookupDevice(t.Context(), v.who, mine.UserCode, time.Now()); err != nil || d.Status != user.DevicePending {
		t.Fatalf("one of them let it in: %+v, %v", d, err)
	}

	if got := approve(v.assert(k, touch, map[string]string{"digest": digest})); got.code != http.StatusOK || got.location() != "/device?state=approved" {
		t.Errorf("approving: %d %s", got.code, got.body)
	}
	if got := v.post("/device/decision", map[string]any{"code": other.UserCode, "decision": "deny", "digest": otherDigest}); got.code != http.StatusOK || got.location() != "/device?state=denied" {
		t.Errorf("refusing needs no touch: %d %s", got.code, got.body)
	}
	if got := v.get("/activity").body; !strings.Contains(got, "logged in a terminal: ") {
		t.Error("the activity does not tell of it")
	}
}

// The page says what the terminal will be able to do here, and the passkey
// signs that, too: where command lines are trusted it is more.
func TestDevicePageSaysWhatItMayDo(t *testing.T) {
	s := newSite(t)
	v, k := s.keyed("olga", user.Owner)
	_, d, err := s.App.Users.BeginDevice(t.Context(), user.Peer{From: netip.MustParseAddr("192.0.2.7"), Label: "my-laptop"}, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	const answers, changes = "answer what agents ask of you", "change what you may change"
	shown := func(trusted bool) string {
		t.Helper()
		s.App.Users.TrustCommandLine = trusted
		page := v.get("/device?code=" + d.UserCode).body
		for _, want := range []string{answers, changes} {
			if strings.Contains(page, want) != trusted {
				t.Errorf("command lines are trusted: %v, and the page says %q: %v", trusted, want, !trusted)
			}
		}
		for _, want := range []string{"see what you see", "propose changes", "freeze"} {
			if !strings.Contains(page, want) {
				t.Errorf("the page does not say %q", want)
			}
		}
		return digestOn.FindStringSubmatch(page)[1]
	}
	little := shown(false)
	signed := v.assert(k, "/device/"+d.UserCode+"/passkey", map[string]string{"digest": little})
	much := shown(true)
	if little == much {
		t.Error("both pages are signed alike")
	}
	approve := func(digest string, assertion json.RawMessage) answer {
		return v.post("/device/decision", map[string]any{"code": d.UserCode, "decision": "approve", "digest": digest, "assertion": assertion})
	}
	if got := approve(little, signed); got.reason() != "presence_required" {
		t.Errorf("with a touch for less: %d %s", got.code, got.body)
	}
	if got := approve(much, v.assert(k, "/device/"+d.UserCode+"/passkey", map[string]string{"digest": much})); got.location() != "/device?state=approved" {
		t.Errorf("with a touch for what it says: %d %s", got.code, got.body)
	}
}

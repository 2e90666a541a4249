package peers_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// seeReceipt lets the agent ask for something critical. The person's passkey
// signs the decision; its receipt is verified offline by our own binary, and by
// a program of somebody else, which knows no code of ours.
func seeReceipt(t *testing.T, node string, agent *client.Client, s *server, b *browser) {
	t.Helper()
	out, err := agent.Submit(t.Context(), api.ActionRequest{
		Connection: "github", Operation: "github.collaborators.add",
		Params: map[string]any{"owner": "octo", "repo": "api", "username": "hubot"},
	})
	if err != nil || out.Held == nil {
		t.Fatalf("asking for a collaborator: %+v, %v", out, err)
	}
	held := out.Held
	b.visit(s.url + "/actions/" + held.ID)
	b.until(`document.querySelector("button.approve").disabled === false`)
	b.shot("critical")
	b.click("button.approve")
	b.until(`document.querySelector("section.outcome") && !document.querySelector("section.outcome.approved, section.outcome.executing")`)
	b.shot("critical-done")

	file := filepath.Join(s.dir, "receipt.json")
	told := s.cli(t, 0, "", "receipt", "get", held.ID, "-o", file).stderr
	key := regexp.MustCompile(`--log-key (\S+)`).FindStringSubmatch(told)
	if key == nil {
		t.Fatalf("it does not say how to verify: %s", told)
	}
	seen := s.cli(t, 0, "", "receipt", "verify", file, "--log-key", key[1], "--checkpoints", filepath.Join(s.dir, "checkpoints")).stdout
	if !strings.Contains(seen, "Every link holds.") {
		t.Errorf("verified here:\n%s", seen)
	}
	type verdict struct {
		Effect, Decision, Verified, UserVerified bool
		Operation                                string
	}
	var got verdict
	script(t, node, nil, &got, "receipt.mjs", file)
	if d := cmp.Diff(verdict{true, true, true, true, "github.collaborators.add"}, got); d != "" {
		t.Errorf("verified there (-want +got):\n%s", d)
	}

	// Of another request it is no receipt.
	doc, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	forged := filepath.Join(s.dir, "forged.json")
	if err := os.WriteFile(forged, []byte(strings.Replace(string(doc), "/collaborators/hubot", "/collaborators/mallory", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if out := s.cli(t, 1, "", "receipt", "verify", forged, "--log-key", key[1]).stdout; !strings.Contains(out, "BROKEN  request") {
		t.Errorf("a forged receipt:\n%s", out)
	}
}

package broker_test

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/broker"
)

// What raised the risk is told once, in sentences.
func TestFactsAreToldOnce(t *testing.T) {
	s := newScene(t)
	for word, ask := range map[string]broker.Ask{
		"medium":    comment("facts"),
		"catalogue": {Connection: "github", Method: "POST", Path: "/repos/octo/api/statuses/abc", Body: []byte("{}")},
	} {
		out, said := s.submit(ask), 0
		for _, why := range out.Approval.Why {
			if !strings.HasSuffix(why, ".") {
				t.Errorf("no sentence: %q", why)
			}
			if strings.Contains(why, word) && !strings.Contains(why, "needs a human's approval") { // which is the rule's
				said++
			}
		}
		if said != 1 {
			t.Errorf("%q is said %d times: %q", word, said, out.Approval.Why)
		}
	}
}

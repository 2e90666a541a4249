package broker

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/fault"
)

// Before anybody is asked, and after somebody has approved, the words are those
// that are true then.
func TestLackIsToldAsItIs(t *testing.T) {
	l := lack{scopes: []string{"repo"}, certain: true, said: "It needs the scope repo.", remedy: "its owner has to connect again"}
	before, after := fault.From(l.refusal()), fault.From(l.waits())
	if before.Reason != missingScope || !strings.Contains(before.Detail, "Nobody was asked and nothing was sent; its owner has to connect again.") {
		t.Errorf("before: %s", before.Detail)
	}
	if after.Reason != missingScope || strings.Contains(after.Detail, "Nobody") || !strings.Contains(after.Detail, "approved") || !strings.Contains(after.Detail, "its owner has to connect again.") {
		t.Errorf("after: %s", after.Detail)
	}
	if (lack{scopes: []string{"repo"}}).refusal() != nil {
		t.Error("what is not certain was refused")
	}
}

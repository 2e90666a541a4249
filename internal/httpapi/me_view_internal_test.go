package httpapi

import (
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/user"
)

// A change of the host name is a warning as long as everybody still gets in, and
// a failure when somebody does not.
func TestPasskeysOfAnotherHost(t *testing.T) {
	if got := strandedView(nil, map[string]int{}, "new.example"); got != nil {
		t.Errorf("nothing wrong: %v", got)
	}
	got := strandedView(nil, map[string]int{"old.example": 2}, "new.example")
	if len(got) != 1 || got[0].Status != checkWarning || !strings.Contains(got[0].Detail, "old.example") || !strings.Contains(got[0].Fix, "enrol-link") {
		t.Errorf("a warning: %v", got)
	}
	got = strandedView([]*user.User{{Name: "ada"}}, map[string]int{"old.example": 2}, "new.example")
	if len(got) != 1 || got[0].Status != checkFailed || !strings.Contains(got[0].Detail, "Locked out: ada") {
		t.Errorf("a failure: %v", got)
	}
}

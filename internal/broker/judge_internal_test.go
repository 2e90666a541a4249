package broker

import "testing"

func TestSentence(t *testing.T) {
	for in, want := range map[string]string{
		"":                        "",
		"the path is not in form": "The path is not in form.",
		"It is whole.":            "It is whole.",
		"github.issues.list needs the parameter owner": "github.issues.list needs the parameter owner.",
		"github.issues.list":                           "github.issues.list.",
	} {
		if got := sentence(in); got != want {
			t.Errorf("sentence(%q) = %q, want %q", in, got, want)
		}
	}
}

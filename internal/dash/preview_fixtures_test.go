package dash_test

import (
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/dash"
)

const before = "It takes 9 s to log in.\n\nSteps:\n1. open the page\n2. log in\n3. wait\n\nSeen on Tuesday.\nAnd on Wednesday.\nAnd on Friday.\nAnd on Monday."

// previewed is an edit of an issue, with what is there now.
func previewed() dash.ActionPage {
	a := comment()
	a.Summary, a.Operation = "Edit octo/api#42", "github.issues.update"
	a.Preview = &dash.PreviewPanel{
		ID: a.ID, Now: clock, Provider: "GitHub", State: "shown", Token: "c2hvd24", At: ago(time.Second),
		Changes: []dash.PreviewChange{
			{Label: "Title", Form: "replaces", Kind: "text", Known: true, Before: fact("text", "Login is slow"), After: fact("text", "Login takes 9 s behind the proxy")},
			{Label: "Text", Form: "replaces", Kind: "lines", Known: true, Before: fact("lines", before), After: fact("lines", before),
				Diff: dash.NewDiff(before, strings.Replace(before, "3. wait", "3. wait for 9 s\n4. give up", 1))},
			{Label: "State", Form: "replaces", Kind: "text", Known: true, Same: true, Before: fact("text", "open"), After: fact("text", "open")},
			{Label: "New comment", Form: "adds", Kind: "lines", Known: true, Before: fact("text", "7"), After: fact("lines", "Fixed in v2.4.1.\n\nPlease try it.")},
			{Label: "Assigned to", Form: "replaces", Kind: "text", Known: true, Before: dash.PreviewFact{Kind: "text"}, After: fact("text", "hubot")},
		},
		Facts: []dash.PreviewFact{
			{Label: "Title", Kind: "text", There: true, Text: "Login is slow"},
			{Label: "Opened by", Kind: "user", There: true, Text: "a-user-with-quite-a-long-name-1234567890"},
			{Label: "Comments", Kind: "number", There: true, Text: "7"},
			{Label: "Last change", Kind: "time", There: true, Text: "2026-08-12T13:00:00Z", At: ago(time.Hour)},
			{Label: "What it says", Kind: "lines", There: true, Text: before, Left: 1200},
			{Label: "Milestone", Kind: "number"},
		},
	}
	return a
}

func fact(kind, text string) dash.PreviewFact {
	return dash.PreviewFact{Kind: kind, There: true, Text: text}
}

// previewedDelete is a deletion, which insists on what was shown.
func previewedDelete() dash.ActionPage {
	a := criticalDelete()
	a.Preview = &dash.PreviewPanel{
		ID: a.ID, Now: clock, Provider: "GitHub", State: "shown", Token: "c2hvd24", Strict: true, At: ago(time.Second),
		Changes: []dash.PreviewChange{{Label: "The repository and all that is in it", Form: "removes", Kind: "text", Known: true, Before: fact("text", "octo/legacy-api")}},
		Facts: []dash.PreviewFact{
			{Label: "Visibility", Kind: "text", There: true, Text: "public"}, {Label: "Stars", Kind: "number", There: true, Text: "1204"},
			{Label: "Forks", Kind: "number", There: true, Text: "88"}, {Label: "Last push", Kind: "time", There: true, Text: "2026-08-12T13:00:00Z", At: ago(26 * time.Hour)},
		},
	}
	return a
}

// previewedGaps is one of which not all could be read.
func previewedGaps() dash.ActionPage {
	a := comment()
	a.Preview = &dash.PreviewPanel{
		ID: a.ID, Now: clock, Provider: "GitHub", State: "shown", At: ago(time.Second),
		Gaps:    []string{"It could not be read now: GitHub answered with HTTP 503.", "GitHub says that it is somewhere else now: it was renamed or moved (HTTP 301)."},
		Changes: []dash.PreviewChange{{Label: "Title", Form: "replaces", Kind: "text", After: fact("text", "A title")}},
	}
	return a
}

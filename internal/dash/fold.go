package dash

import (
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

// foldKey names what an event is told together with: the other steps of its
// action, or the tokens and passkeys of whoever used them; "" if it stands alone.
func foldKey(e audit.Event) string {
	for _, ref := range []string{e.Object, e.Data["action"]} {
		if id.Valid("act", ref) {
			return ref
		}
	}
	switch e.Verb {
	case "token.issued", "token.revoked":
		return "token " + e.Actor
	case "passkey.asserted", "session.confirmed":
		return "passkey " + e.Actor
	}
	return ""
}

// folded tells events, the newest first, in fewer rows: those of one action
// become one, wherever they stand in a day, and so do runs of tokens and of
// passkeys, between which nothing but such rows stands. A row is its newest
// event, with all of them in Parts.
func folded(events []Event) []Event {
	var out []Event
	open := map[string]int{} // where the row of a key stands
	var day time.Time
	for _, e := range events {
		if d := dayOf(e.At); !d.Equal(day) {
			day = d
			clear(open)
		}
		if i, ok := open[e.Fold]; ok && e.Fold != "" {
			if len(out[i].Parts) == 0 {
				out[i].Parts = []Event{out[i]}
			}
			out[i].Parts = append(out[i].Parts, e)
			continue
		}
		if e.Fold == "" {
			for key := range open {
				if !strings.HasPrefix(key, "act_") {
					delete(open, key)
				}
			}
		} else {
			open[e.Fold] = len(out)
		}
		out = append(out, e)
	}
	for i, row := range out {
		if len(row.Parts) > 0 && strings.HasPrefix(row.Fold, "act_") {
			out[i] = headed(row)
		}
	}
	return out
}

// headed lets the row of an action be led by the newest event that says where
// the action is.
func headed(row Event) Event {
	for _, e := range row.Parts {
		if strings.HasPrefix(e.Verb, "action.") {
			e.Parts = row.Parts
			return e
		}
	}
	return row
}

func dayOf(t time.Time) time.Time {
	y, m, d := t.UTC().Date()
	return time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
}

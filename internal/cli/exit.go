package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/alecthomas/kong"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/internal/fault"
)

// The exit codes. They are part of the interface: scripts decide by them.
const (
	exitOK          = 0
	exitFailed      = 1
	exitUsage       = 2
	exitRefused     = 3
	exitNotFound    = 4
	exitHeld        = 5
	exitUnavailable = 6
	exitUnknown     = 7
	exitInterrupted = 130
)

// failure is an error with its exit code, made here. Text is one sentence;
// Next says what to do about it.
type failure struct {
	Code   int
	Reason string
	Text   string
	Next   string
	Err    error
}

func (f *failure) Error() string {
	if f.Next == "" {
		return f.Text
	}
	return f.Text + " " + f.Next
}

func (f *failure) Unwrap() error { return f.Err }

func usage(next, format string, args ...any) *failure {
	return &failure{Code: exitUsage, Reason: "usage", Text: fmt.Sprintf(format, args...), Next: next}
}

// quiet ends a command with a code and no message: everything was said.
type quiet struct{ code int }

func (q quiet) Error() string { return fmt.Sprintf("exit %d", q.code) }

// verdict is an error as it is shown.
type verdict struct {
	code    int
	problem api.Problem
}

// judge finds the exit code and the words for err.
func judge(err error) verdict {
	v := verdict{code: exitFailed, problem: api.Problem{Type: "about:blank", Reason: "failed", Detail: sentence(err.Error())}}
	var f *failure
	var a *answerError
	var c *client.Error
	var parse *kong.ParseError
	var known *fault.Error
	switch {
	case errors.As(err, &f):
		v.code, v.problem.Reason, v.problem.Detail = f.Code, f.Reason, f.Error()
	case errors.As(err, &a):
		v.code, v.problem = a.code(), a.problem
		if next := lists[v.problem.Reason]; next != "" && !strings.Contains(v.problem.Detail, "'valetkey ") {
			v.problem.Detail = sentence(v.problem.Detail) + " " + next
		}
		if page := a.page(); page != "" {
			v.problem.Detail = sentence(v.problem.Detail) + " Here: " + page
		}
	case errors.As(err, &c):
		v.code = clientCode(c)
		v.problem.Status, v.problem.Reason, v.problem.Action = c.Status, c.Reason, c.Action
		v.problem.Explanation, v.problem.Instance = c.Explanation, c.Instance
		v.problem.Detail = clientDetail(c)
	case errors.As(err, &parse):
		v.code, v.problem.Reason = exitUsage, "usage"
		v.problem.Detail = sentence(parse.Error()) + " See 'valetkey help'."
	case errors.As(err, &known):
		v.code, v.problem.Reason, v.problem.Detail = faultCode(known), known.Reason, known.Detail
	case errors.Is(err, context.Canceled):
		v.code, v.problem.Reason, v.problem.Detail = exitInterrupted, "interrupted", "Interrupted."
	}
	if v.problem.Title == "" {
		v.problem.Title = titles[v.code]
	}
	if next := advice[v.problem.Reason]; next != "" && !strings.Contains(v.problem.Detail, next) {
		v.problem.Detail = strings.TrimSpace(sentence(v.problem.Detail) + " " + next)
	}
	return v
}

var titles = map[int]string{
	exitFailed: "Failed", exitUsage: "Usage", exitRefused: "Refused", exitNotFound: "Not found", exitHeld: "Needs approval",
	exitUnavailable: "Unavailable", exitUnknown: "Unknown outcome", exitInterrupted: "Interrupted",
}

// advice says what to do on the command line about refusals whose sentence is
// written for every edge alike.
var advice = map[string]string{
	"invalid_token": "If your login has ended, run: valetkey login",
}

// lists says where what there is can be seen, to people who named what there is
// not.
var lists = map[string]string{
	"agent_not_found":      "'valetkey agent list' shows them.",
	"connection_not_found": "'valetkey connection list' shows them.",
	"grant_not_found":      "'valetkey grant list' shows them.",
	"user_not_found":       "'valetkey user list' shows them.",
	"provider_not_found":   "'valetkey provider list' shows them.",
	"policy_not_found":     "'valetkey policy show' shows them.",
	"key_not_found":        "'valetkey agent show' shows them.",
	"unknown_provider":     "'valetkey provider list' shows them.",
	"action_not_found":     "'valetkey approvals list --status all' shows them.",
}

func faultCode(f *fault.Error) int {
	switch f.Kind {
	case fault.Invalid, fault.TooLarge:
		return exitUsage
	case fault.Unauthenticated, fault.Forbidden:
		return exitRefused
	case fault.NotFound:
		return exitNotFound
	case fault.TooMany, fault.Unavailable:
		return exitUnavailable
	}
	return exitFailed
}

// missing reports whether a refusal says that there is no such thing, whatever
// its status: an operation that does not exist makes a request malformed, and
// for who named it is a thing that is not there.
func missing(reason string) bool {
	return reason == "unknown_operation" || reason == "not_found" || strings.HasSuffix(reason, "_not_found")
}

// statusCode maps the status of an answer. What the server calls a malformed
// request is a failure, not a mistake of the grammar: the command was
// understood and sent.
func statusCode(status int) int {
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		return exitRefused
	case status == http.StatusNotFound:
		return exitNotFound
	case status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable:
		return exitUnavailable
	}
	return exitFailed
}

func clientCode(e *client.Error) int {
	if missing(e.Reason) {
		return exitNotFound
	}
	switch e.Reason {
	case client.ReasonAnswerLost, string(api.StateUnknown):
		return exitUnknown
	case client.ReasonUnreachable, client.ReasonBadAnswer:
		return exitUnavailable
	case client.ReasonWaiting, "approval_required":
		return exitHeld
	case client.ReasonBadRequest:
		return exitUsage
	case string(api.StateDenied), string(api.StateExpired), string(api.StateCancelled), string(api.StateRevoked):
		return exitRefused
	}
	// Errors of /oauth/token have status 400 or 401 for what is a refusal of
	// the agent, not of the form of the request.
	if e.OAuth != "" && e.Status/100 == 4 && e.Status != http.StatusTooManyRequests && e.OAuth != "invalid_request" {
		return exitRefused
	}
	return statusCode(e.Status)
}

func clientDetail(e *client.Error) string {
	d := sentence(e.Detail)
	if e.ClockSkew != 0 {
		word := "ahead of"
		if e.ClockSkew < 0 {
			word = "behind"
		}
		d += fmt.Sprintf(" This machine's clock is %v %s the server's: set it, signatures are judged by time.", e.ClockSkew.Abs(), word)
	}
	if e.Reason == client.ReasonUnreachable {
		d += " Check the address (--server), and that the server runs."
	}
	return d
}

// sentence makes a message of ours or of a library one sentence.
func sentence(s string) string {
	s = strings.TrimSpace(s)
	if s == "" {
		return s
	}
	if c := s[len(s)-1]; c != '.' && c != '!' && c != '?' {
		s += "."
	}
	return s
}

// report prints err on standard error and returns the exit code.
func (t *terminal) report(err error) int {
	var q quiet
	if errors.As(err, &q) {
		return q.code
	}
	t.clear()
	v := judge(err)
	if t.json {
		enc := json.NewEncoder(t.err)
		enc.SetEscapeHTML(false)
		enc.SetIndent("", "  ")
		if err := enc.Encode(v.problem); err != nil {
			return exitFailed
		}
		return v.code
	}
	line := display.VisibleText(v.problem.Detail)
	switch v.problem.Reason {
	case "", "failed", "usage", "interrupted":
	default:
		line += " (" + display.VisibleText(v.problem.Reason) + ")"
	}
	fmt.Fprintf(t.err, "valetkey: %s\n", line)
	for _, e := range v.problem.Explanation {
		if strings.Contains(v.problem.Detail, strings.TrimRight(e, ".")) {
			continue // said in the line above
		}
		fmt.Fprintf(t.err, "  - %s\n", display.VisibleText(e))
	}
	if v.problem.Action != "" {
		fmt.Fprintf(t.err, "  action %s\n", display.VisibleText(v.problem.Action))
	}
	if v.problem.Instance != "" && v.code == exitFailed && v.problem.Status >= http.StatusInternalServerError {
		fmt.Fprintf(t.err, "  the server's log has it as %s\n", display.VisibleText(v.problem.Instance))
	}
	return v.code
}

package proposal

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api"
)

// telling says what requests of one shape do. In the pattern, as the API has
// it, "*" stands for a segment, whose values are handed over.
type telling struct {
	method, pattern string
	tell            func(at []string, body []byte) string
}

// tellings is the whole vocabulary. A request that is missing is told by its
// method and path.
func tellings() []telling {
	return []telling{
		{"POST", "/v1/admin/users", told(func(_ []string, r api.UserRequest) string {
			role := r.Role
			if role == "" {
				role = "member"
			}
			return fmt.Sprintf("Add the person %s as %s, and make the link by which they enrol.", quote(r.Name), quote(role))
		})},
		{"PATCH", "/v1/admin/users/*", told(func(at []string, r api.UserChange) string {
			switch {
			case r.Name != "":
				return fmt.Sprintf("Rename the person %s to %s.", quote(at[0]), quote(r.Name))
			case r.Role != "":
				return fmt.Sprintf("Make the person %s %s.", quote(at[0]), quote(r.Role))
			case r.Status == "suspended":
				return fmt.Sprintf("Shut the person %s out.", quote(at[0]))
			}
			return fmt.Sprintf("Let the person %s back in.", quote(at[0]))
		})},
		{"POST", "/v1/admin/users/*/enrol-link", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Make an enrolment link for %s: whoever opens it becomes that person.", quote(at[0]))
		})},
		{"DELETE", "/v1/admin/users/*/enrol-link", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Make every open enrolment link of %s worthless.", quote(at[0]))
		})},
		{"PATCH", "/v1/me/passkeys/*", told(func(at []string, r api.PasskeyChange) string {
			return fmt.Sprintf("Call your passkey %s %s.", quote(at[0]), quote(r.Name))
		})},
		{"DELETE", "/v1/me/sessions", told(func([]string, struct{}) string { return "End every other session of yours." })},
		{"DELETE", "/v1/me/sessions/*", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("End your session %s.", quote(at[0]))
		})},
		{"POST", "/v1/admin/groups", told(func(_ []string, r api.GroupRequest) string {
			return fmt.Sprintf("Make the group %s, of %s: rules that name it let them answer.", quote(r.Name), some(r.Members, "nobody yet"))
		})},
		{"PATCH", "/v1/admin/groups/*", told(func(at []string, r api.GroupChange) string {
			if r.Add != "" {
				return fmt.Sprintf("Put %s into the group %s: what rules let it answer, they may answer.", quote(r.Add), quote(at[0]))
			}
			return fmt.Sprintf("Take %s out of the group %s.", quote(r.Remove), quote(at[0]))
		})},
		{"DELETE", "/v1/admin/reliefs/*", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Revoke the relief %s: what it lets through is asked again.", quote(at[0]))
		})},
		{"POST", "/v1/admin/agents", told(func(_ []string, r api.AgentRequest) string {
			return fmt.Sprintf("Register the agent %s by its public key%s.", quote(r.Name), weakly(r.Profile))
		})},
		{"PATCH", "/v1/admin/agents/*", told(func(at []string, r api.AgentChange) string {
			switch {
			case r.Status == "suspended":
				return fmt.Sprintf("Suspend the agent %s.", quote(at[0]))
			case r.Status != "":
				return fmt.Sprintf("Let the agent %s go on.", quote(at[0]))
			case r.Profile != "":
				return fmt.Sprintf("Judge the agent %s by the profile %s%s.", quote(at[0]), quote(r.Profile), weakly(r.Profile))
			}
			return fmt.Sprintf("Let the agent %s call from %s as well.", quote(at[0]), some(r.Sources, "no network"))
		})},
		{"POST", "/v1/admin/agents/*/keys", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Give the agent %s another key: whoever holds it is that agent.", quote(at[0]))
		})},
		{"DELETE", "/v1/admin/agents/*/keys/*", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Retire the key %s of the agent %s.", quote(at[1]), quote(at[0]))
		})},
		{"POST", "/v1/admin/grants", told(func(_ []string, r api.GrantRequest) string {
			what := fmt.Sprintf("Let the agent %s use %s on %s, for %s", quote(r.Agent), quote(r.Connection), some(r.Resources, "everything"), some(r.Operations, "nothing"))
			if r.Mode == "vend" {
				what = fmt.Sprintf("Hand the token of %s itself to the agent %s, for %s on %s", quote(r.Connection), quote(r.Agent), some(r.Operations, "nothing"), some(r.Resources, "everything"))
			}
			if r.ExpiresAt.IsZero() {
				return what + ", without an end."
			}
			return what + ", until " + r.ExpiresAt.UTC().Format("2 January 2006, 15:04 UTC") + "."
		})},
		{"DELETE", "/v1/admin/grants/*", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Revoke the grant %s.", quote(at[0]))
		})},
		{"POST", "/v1/admin/connections", told(func(_ []string, r api.ConnectionRequest) string {
			return fmt.Sprintf("Connect an account at %s by a token that the command line sends.", quote(r.Provider))
		})},
		{"DELETE", "/v1/admin/connections/*", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Disconnect %s, here and at its provider.", quote(at[0]))
		})},
		{"PUT", "/v1/admin/providers/*", told(func(at []string, r api.ProviderRequest) string {
			var parts []string
			for _, p := range []struct {
				there bool
				name  string
			}{
				{r.Spec != "", "its catalogue entry"}, {r.ClientID != "", "the client id"}, {r.ClientSecret != "", "the client secret"},
				{r.Base != nil, "the addresses to which tokens are sent"}, {r.Internal != nil, "whether it may be inside your network"},
			} {
				if p.there {
					parts = append(parts, p.name)
				}
			}
			if len(parts) == 0 {
				parts = []string{"nothing"}
			}
			return fmt.Sprintf("Set up the provider %s: %s.", quote(at[0]), strings.Join(parts, ", "))
		})},
		{"PUT", "/v1/admin/policies/*", told(func(at []string, r api.PolicyRequest) string {
			whose := "everybody"
			if r.Owner != "" {
				whose = quote(r.Owner)
			}
			return fmt.Sprintf("Replace the rules %s, for %s, by the text below.", quote(at[0]), whose)
		})},
		{"DELETE", "/v1/admin/freezes/*", told(func(at []string, _ struct{}) string {
			return fmt.Sprintf("Lift the freeze %s: what it stopped goes on.", quote(at[0]))
		})},
	}
}

// told adapts a sentence over the members of a body. What cannot be read as
// such a body says nothing: the route that it is for refuses it.
func told[Body any](tell func(at []string, b Body) string) func([]string, []byte) string {
	return func(at []string, raw []byte) string {
		var b Body
		if len(raw) > 0 && json.Unmarshal(raw, &b) != nil {
			return ""
		}
		return tell(at, b)
	}
}

// sentence is [Sentence], with what stands behind an id.
func (r Request) sentence() string {
	s := Sentence(r.Method, r.Path, r.Body)
	what := "the " + r.Frozen.Kind + " " + quote(r.Frozen.Name)
	switch r.Frozen.Kind {
	case "":
		return s
	case "all":
		what = "everything"
	case "user":
		what = "the person " + quote(r.Frozen.Name)
	}
	if at, ok := match("/v1/admin/freezes/*", r.Path); ok && r.Method == "DELETE" {
		return fmt.Sprintf("Lift the freeze of %s (%s): what it stopped goes on.", what, quote(at[0]))
	}
	return s
}

// Sentence says what a request to the API does.
func Sentence(method, path string, body []byte) string {
	for _, t := range tellings() {
		if at, ok := match(t.pattern, path); ok && t.method == method {
			if s := t.tell(at, body); s != "" {
				return s
			}
		}
	}
	return fmt.Sprintf("Send %s %s.", method, quote(path))
}

// match compares an escaped path with a pattern, segment by segment.
func match(pattern, path string) (at []string, ok bool) {
	want, got := strings.Split(pattern, "/"), strings.Split(path, "/")
	if len(want) != len(got) {
		return nil, false
	}
	for i, w := range want {
		text, err := url.PathUnescape(got[i])
		switch {
		case err != nil || w != "*" && w != text:
			return nil, false
		case w == "*":
			at = append(at, text)
		}
	}
	return at, true
}

// longest is how much of one text stands in a sentence. All of it stands in the
// request below.
const longest = 80

// quote marks what others wrote: where it begins and ends can be seen, and so
// can every character that has no shape of its own.
func quote(s string) string {
	if utf8.RuneCountInString(s) > longest {
		return fmt.Sprintf("%q…", string([]rune(s)[:longest]))
	}
	return fmt.Sprintf("%q", s)
}

// some lists a few of many.
func some(all []string, none string) string {
	if len(all) == 0 {
		return none
	}
	var out []string
	for i, s := range all {
		if i == 5 {
			out = append(out, fmt.Sprintf("%d more", len(all)-i))
			break
		}
		out = append(out, quote(s))
	}
	return strings.Join(out, ", ")
}

// weakly says what a profile other than the strict one means.
func weakly(profile string) string {
	if profile == "" || profile == "strict" {
		return ""
	}
	return ", under weaker rules for its subject tokens"
}

package dash

import (
	"context"
	"fmt"
	"io"
	"regexp"
	"strings"

	"github.com/valetkey/valetkey/internal/policy"
)

func (s *Server) policy(ctx context.Context, c *call) (reply, error) {
	chrome, err := s.chrome(ctx, c, "Policy", "policy")
	if err != nil {
		return reply{}, err
	}
	set, err := s.Broker.Policies.Set(ctx)
	if err != nil {
		return reply{}, err
	}
	docs, err := s.Broker.Policies.All(ctx)
	if err != nil {
		return reply{}, err
	}
	n := s.names(ctx)
	v := PolicyPage{Chrome: chrome, Version: set.Version()}
	for _, d := range docs {
		if d.Owner != "" && d.Owner != c.who.User && !seesAll(c.who) {
			continue
		}
		if d.UpdatedAt.After(v.Since) {
			v.Since, v.By = d.UpdatedAt, n.actor(d.UpdatedBy)
		}
		v.Rules = append(v.Rules, rulesOf(d)...)
	}
	return reply{page: func(w io.Writer) error { return s.Pages.Policy(w, v) }}, nil
}

var (
	noteOf    = regexp.MustCompile(`@([a-z]+)\s*\(\s*"((?:[^"\\]|\\.)*)"\s*\)`)
	assurance = regexp.MustCompile(`context\.assurance\s*>=\s*([0-9])`)
)

// rulesOf cuts a policy's text into its rules, for reading. The text was
// checked when it was saved; nothing is judged by what is read here.
func rulesOf(d *policy.Document) []PolicyRule {
	origin := "organisation"
	switch {
	case d.Owner != "":
		origin = "own"
	case d.ID == policy.DefaultID && d.UpdatedAt.IsZero():
		origin = "shipped"
	}
	var out []PolicyRule
	for i, text := range statements(d.Text) {
		r := PolicyRule{ID: fmt.Sprintf("rule#%d", i+1), Source: text, Origin: origin, Effect: "permit"}
		for _, m := range noteOf.FindAllStringSubmatch(text, -1) {
			switch value := strings.ReplaceAll(strings.ReplaceAll(m[2], `\"`, `"`), `\\`, `\`); m[1] {
			case "id":
				r.ID = value
			case "reason":
				r.Title = value
			}
		}
		if forbids(text) {
			r.Effect = "deny"
			if m := assurance.FindStringSubmatch(text); m != nil {
				if r.Effect = "ask"; m[1] >= "2" {
					r.Effect = "step_up"
				}
			}
		}
		if r.Title == "" {
			r.Title = r.ID
		}
		out = append(out, r)
	}
	return out
}

// forbids reads the first word of a rule after its annotations.
func forbids(text string) bool {
	return strings.HasPrefix(strings.TrimSpace(noteOf.ReplaceAllString(text, "")), "forbid")
}

// statements cuts Cedar at the semicolons outside of strings. Comments above a
// rule are left out, those inside of it stay.
func statements(text string) []string {
	var out []string
	var b strings.Builder
	for i := 0; i < len(text); {
		switch {
		case strings.HasPrefix(text[i:], "//"):
			end := strings.IndexByte(text[i:], '\n')
			if end < 0 {
				end = len(text) - i
			}
			if strings.TrimSpace(b.String()) != "" {
				b.WriteString(text[i : i+end])
			}
			i += end
		case text[i] == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			end = min(end+1, len(text))
			b.WriteString(text[i:end])
			i = end
		case text[i] == ';':
			out = append(out, strings.TrimSpace(b.String())+";")
			b.Reset()
			i++
		default:
			b.WriteByte(text[i])
			i++
		}
	}
	return out
}

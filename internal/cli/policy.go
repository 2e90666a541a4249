package cli

import (
	"fmt"
	"net/http"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/policy"
)

type policyCommand struct {
	Show  policyShow  `cmd:"" help:"Show the rules in force."`
	Set   policySet   `cmd:"" help:"Check a text and put it in force."`
	Check policyCheck `cmd:"" help:"Check a text without storing it."`
}

type policyShow struct {
	ID string `arg:"" optional:"" help:"Id of one of the texts; all of them if left out."`
}

func (c *policyShow) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Policy](r.ctx, to, "v1/admin/policies", nil)
	if err != nil {
		return err
	}
	if c.ID == "" {
		if r.json {
			return r.print(page)
		}
		for i, p := range page.Items {
			if i > 0 {
				r.say("")
			}
			r.policy(p)
		}
		return nil
	}
	for _, p := range page.Items {
		if p.ID == c.ID || p.Name == c.ID {
			if r.json {
				return r.print(p)
			}
			r.policy(p)
			return nil
		}
	}
	return &failure{Code: exitNotFound, Reason: "policy_not_found", Text: fmt.Sprintf("There is no policy %s.", cell(c.ID, 60)), Next: "'valetkey policy show' shows them all."}
}

// policy prints a text so that what is printed is again a policy: what we add
// is a comment.
func (r *run) policy(p api.Policy) {
	of := ""
	if p.Owner != "" {
		of = ", for the connections of " + p.Owner
	}
	r.say("// %s (%s)%s; version %s", cell(p.Name, 60), p.ID, of, cell(p.Version, 20))
	if !p.UpdatedAt.IsZero() {
		r.say("// changed %s by %s", when(p.UpdatedAt), cell(p.UpdatedBy, 60))
	}
	r.say("%s", p.Text)
}

type policySet struct {
	File  string `arg:"" help:"Cedar text; '-' reads standard input."`
	ID    string `placeholder:"ID" default:"pol_default" help:"Which text to replace; the one that ships if left out."`
	Owner string `placeholder:"USER" help:"Rules for the connections of this user only."`
}

const maxPolicy = 1 << 20

func (c *policySet) Run(r *run) error {
	raw, err := r.readInput(c.File, maxPolicy)
	if err != nil {
		return err
	}
	if problems := policy.Check(string(raw)); len(problems) > 0 {
		return &failure{Code: exitUsage, Reason: "bad_policy", Text: problems[0].String(), Next: "See 'valetkey policy check'."}
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	p, err := change[api.Policy](r.ctx, to, http.MethodPut, "v1/admin/policies/"+segment(c.ID), api.PolicyRequest{Owner: c.Owner, Text: string(raw)})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(p)
	}
	r.say("%s is in force, version %s.", cell(p.Name, 60), cell(p.Version, 20))
	return nil
}

type policyCheck struct {
	File    string `arg:"" help:"Cedar text; '-' reads standard input."`
	Owner   string `placeholder:"USER" help:"As rules of this user only."`
	Offline bool   `help:"Check the text alone, without asking the server what it would change."`
}

func (c *policyCheck) Run(r *run) error {
	raw, err := r.readInput(c.File, maxPolicy)
	if err != nil {
		return err
	}
	check := offlineCheck(string(raw))
	if check.OK && !c.Offline {
		to, err := r.reach()
		if err != nil {
			return err
		}
		if check, err = change[api.PolicyCheck](r.ctx, to, http.MethodPost, "v1/admin/policies/check", api.PolicyRequest{Owner: c.Owner, Text: string(raw)}); err != nil {
			return err
		}
	}
	if r.json {
		if err := r.print(check); err != nil {
			return err
		}
	} else {
		for _, f := range check.Findings {
			r.say("%s:%d:%d: %s: %s", c.File, f.Line, f.Column, f.Severity, cell(f.Text, 400))
		}
		for _, s := range check.Changes {
			r.say("- %s", cell(s, 400))
		}
		if check.OK {
			r.note("The text is valid.")
		}
	}
	if !check.OK {
		return quiet{exitFailed}
	}
	return nil
}

// offlineCheck judges a text without a server.
func offlineCheck(text string) api.PolicyCheck {
	problems := policy.Check(text)
	out := api.PolicyCheck{OK: len(problems) == 0, Findings: []api.PolicyFinding{}}
	for _, p := range problems {
		out.Findings = append(out.Findings, api.PolicyFinding{Severity: "error", Line: p.Line, Column: p.Column, Text: p.Message})
	}
	return out
}

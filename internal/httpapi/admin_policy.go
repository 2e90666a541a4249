package httpapi

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
	"github.com/valetkey/valetkey/internal/user"
)

var errPolicy = fault.New(fault.NotFound, "policy_not_found", "There is no such policy, or it is not yours.")

// policies lists the rules that p may read: the org's, which judge everybody,
// and their own.
func (s *Server) policies(ctx context.Context, p user.Principal) ([]*policy.Document, string, error) {
	set, err := s.Broker.Policies.Set(ctx)
	if err != nil {
		return nil, "", err
	}
	all, err := s.Broker.Policies.All(ctx)
	if err != nil {
		return nil, "", err
	}
	out := slices.DeleteFunc(slices.Clone(all), func(d *policy.Document) bool {
		return d.Owner != "" && d.Owner != p.User && mayLook(p) != nil
	})
	return out, set.Version(), nil
}

func policyView(d *policy.Document, version string) api.Policy {
	return api.Policy{
		ID: string(d.ID), Name: d.Name, Owner: string(d.Owner), Text: d.Text, Version: version, Revision: d.Version,
		UpdatedAt: moment(d.UpdatedAt), UpdatedBy: d.UpdatedBy,
	}
}

// listPolicies is GET /v1/admin/policies.
func (s *Server) listPolicies(ctx context.Context, p user.Principal, _ *call, _ none) (api.Page[api.Policy], error) {
	page := list[api.Policy](nil)
	docs, version, err := s.policies(ctx, p)
	for _, d := range docs {
		page.Items = append(page.Items, policyView(d, version))
	}
	return page, err
}

// getPolicy is GET /v1/admin/policies/{id}.
func (s *Server) getPolicy(ctx context.Context, p user.Principal, c *call, _ none) (api.Policy, error) {
	d, version, err := s.policy(ctx, p, c.ref("id"))
	if err != nil {
		return api.Policy{}, err
	}
	return policyView(d, version), nil
}

// policy finds the rules that ref names, by id or by name; of equal names the
// org's come first, then p's own.
func (s *Server) policy(ctx context.Context, p user.Principal, ref string) (*policy.Document, string, error) {
	docs, version, err := s.policies(ctx, p)
	if err != nil {
		return nil, "", err
	}
	for _, fits := range []func(*policy.Document) bool{
		func(d *policy.Document) bool { return string(d.ID) == ref },
		func(d *policy.Document) bool { return d.Name == ref && d.Owner == "" },
		func(d *policy.Document) bool { return d.Name == ref && d.Owner == p.User },
		func(d *policy.Document) bool { return d.Name == ref },
	} {
		if i := slices.IndexFunc(docs, fits); i >= 0 {
			return docs[i], version, nil
		}
	}
	return nil, "", errPolicy
}

// putPolicy is PUT /v1/admin/policies/{id}: it replaces the rules of that id or
// name, or makes new ones of that name.
func (s *Server) putPolicy(ctx context.Context, p user.Principal, c *call, in api.PolicyRequest) (api.Policy, error) {
	ref := c.ref("id")
	d, _, err := s.policy(ctx, p, ref)
	switch {
	case err == nil:
		if in.Owner != "" && in.Owner != string(d.Owner) {
			return api.Policy{}, fault.New(fault.Conflict, "policy_owner", "These rules belong to somebody else; rules do not change hands.")
		}
		if in.Revision != 0 && in.Revision != d.Version {
			return api.Policy{}, broker.ErrPolicyChanged
		}
	case fault.From(err).Reason != errPolicy.Reason:
		return api.Policy{}, err
	case in.Revision != 0 || strings.HasPrefix(ref, "pol_"):
		return api.Policy{}, errPolicy
	case !policyName(ref):
		return api.Policy{}, invalid("bad_name", "A policy's name has 1 to 63 of the characters a-z, 0-9, dot, dash and underscore.")
	default:
		d = &policy.Document{Name: ref, Owner: id.User(in.Owner)}
		if in.Owner != "" {
			u, err := s.find(ctx, p, in.Owner)
			if err != nil {
				return api.Policy{}, err
			}
			d.Owner = u.ID
		}
	}
	put := *d
	put.Text = in.Text
	if err := s.Broker.Policies.Save(ctx, p, put, c.now); err != nil {
		return api.Policy{}, err
	}
	docs, version, err := s.policies(ctx, p)
	if err != nil {
		return api.Policy{}, err
	}
	for _, saved := range docs {
		if saved.Name == put.Name && saved.Owner == put.Owner {
			return policyView(saved, version), nil
		}
	}
	return api.Policy{}, errPolicy
}

func policyName(name string) bool {
	if name == "" || len(name) > 63 {
		return false
	}
	for _, r := range name {
		if !(r >= 'a' && r <= 'z' || r >= '0' && r <= '9' || r == '-' || r == '_' || r == '.') {
			return false
		}
	}
	return true
}

// checkPolicy is POST /v1/admin/policies/check: nothing is stored.
func (s *Server) checkPolicy(ctx context.Context, p user.Principal, _ *call, in api.PolicyRequest) (api.PolicyCheck, error) {
	v := api.PolicyCheck{Findings: []api.PolicyFinding{}}
	find := func(severity string, all []policy.Problem) {
		for _, f := range all {
			v.Findings = append(v.Findings, api.PolicyFinding{Severity: severity, Line: f.Line, Column: f.Column, Text: f.Message})
		}
	}
	find("error", policy.Check(in.Text))
	if v.OK = len(v.Findings) == 0; !v.OK {
		return v, nil
	}
	known, err := s.operationNames(ctx)
	if err != nil {
		return v, err
	}
	find("warning", policy.CheckOperations(in.Text, known))

	// What these rules would replace: the org's own, or the person's.
	docs, _, err := s.policies(ctx, p)
	if err != nil {
		return v, err
	}
	for _, d := range docs {
		if in.Owner == "" && d.ID != policy.DefaultID || in.Owner != "" && string(d.Owner) != in.Owner {
			continue
		}
		changes, err := policy.Diff(d.Text, in.Text)
		if err != nil {
			return v, err
		}
		for _, ch := range changes {
			verb := "changes"
			switch {
			case ch.Old == "":
				verb = "is new"
			case ch.New == "":
				verb = "goes away"
			}
			v.Changes = append(v.Changes, fmt.Sprintf("Rule %q %s.", ch.ID, verb))
		}
		break
	}
	return v, nil
}

// operationNames lists every operation that a rule can name.
func (s *Server) operationNames(ctx context.Context) ([]string, error) {
	all, err := s.Manage.Providers.All(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, p := range all {
		out = append(append(out, p.Spec.Names()...), p.Spec.RawRead(), p.Spec.RawWrite())
	}
	return out, nil
}

// listFreezes is GET /v1/admin/freezes: those that concern the person.
func (s *Server) listFreezes(ctx context.Context, p user.Principal, _ *call, _ none) (api.Page[api.Freeze], error) {
	page := list[api.Freeze](nil)
	mine := map[string]bool{string(p.User): true}
	if mayLook(p) != nil {
		agents, err := s.Manage.ListAgents(ctx, p)
		if err != nil {
			return page, err
		}
		for _, a := range agents {
			mine[string(a.ID)] = true
		}
		cons, err := s.Manage.ListConnections(ctx, p)
		if err != nil {
			return page, err
		}
		for _, c := range cons {
			mine[string(c.ID)] = true
		}
	}
	names := s.directory(ctx)
	for _, f := range s.Manage.Freezes.Active() {
		if mayLook(p) == nil || f.Kind == freeze.All || f.By == p.Actor() || mine[f.Target] {
			page.Items = append(page.Items, names.freeze(freezeView(f)))
		}
	}
	slices.SortFunc(page.Items, func(a, b api.Freeze) int { return strings.Compare(b.ID, a.ID) })
	return page, nil
}

// freeze is POST /v1/admin/freezes. What holds but could not be written down is
// a success with a warning.
func (s *Server) freeze(ctx context.Context, p user.Principal, c *call, in api.FreezeRequest) (created[api.Freeze], error) {
	f, err := s.Manage.Freeze(ctx, p, freeze.Kind(in.Kind), in.Target, in.Reason, c.now)
	if err != nil && f.ID == "" {
		return created[api.Freeze]{}, err
	}
	v := s.directory(ctx).freeze(freezeView(f))
	v.Already = f.At.Before(c.now)
	if err != nil {
		v.Warning = fault.From(err).Detail
	}
	return created[api.Freeze]{value: v}, nil
}

// unfreeze is DELETE /v1/admin/freezes/{id}.
func (s *Server) unfreeze(ctx context.Context, p user.Principal, c *call, _ none) (api.Freeze, error) {
	ref := id.Freeze(c.ref("id"))
	var lifted freeze.Freeze
	for _, f := range s.Manage.Freezes.Active() {
		if f.ID == ref {
			lifted = f
		}
	}
	if err := s.Manage.Unfreeze(ctx, p, ref, c.now); err != nil {
		return api.Freeze{}, err
	}
	lifted.ID, lifted.LiftedAt = ref, c.now
	return s.directory(ctx).freeze(freezeView(lifted)), nil
}

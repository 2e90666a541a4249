package policy

import (
	"slices"

	"github.com/cedar-policy/cedar-go"
	"github.com/cedar-policy/cedar-go/x/exp/ast"
)

// A key is a fact that a request must have for a rule to apply. Rules are
// filed under one, and a request looks up only the keys it has.
type key struct {
	kind keyKind
	uid  cedar.EntityUID
}

// keyKind is which fact. The smaller, the fewer requests have it: a rule is
// filed under the smallest it offers.
type keyKind uint8

const (
	byAgent keyKind = iota
	byConnection
	byUser
	byResource
	byOperation
	byResourceIn
	byOperationIn
	byAction
	byResourceType
	byNothing
)

// The nodes of a rule's syntax tree come from a package that its authors keep
// outside their promise of compatibility; only this file knows them.

func tree(p *cedar.Policy) *ast.Policy { return (*ast.Policy)(p.AST()) }

// keys returns what p must be filed under: all of one kind. A request with
// none of them cannot match p and cannot make it fail either, because only
// tests that come before everything else in p are read, and those never fail.
func keys(p *cedar.Policy) []key {
	t := tree(p)
	best := []key{{kind: byNothing}}
	offer := func(kind keyKind, uids ...cedar.EntityUID) {
		if kind >= best[0].kind {
			return
		}
		best = make([]key, 0, len(uids))
		for _, u := range uids {
			best = append(best, key{kind, u})
		}
	}
	switch s := t.Principal.(type) {
	case ast.ScopeTypeEq:
		offer(byAgent, s.Entity)
	case ast.ScopeTypeAll, ast.ScopeTypeIs:
	}
	switch s := t.Action.(type) {
	case ast.ScopeTypeEq:
		offer(byAction, s.Entity)
	case ast.ScopeTypeInSet:
		offer(byAction, s.Entities...)
	case ast.ScopeTypeIn:
		offer(byAction, s.Entity)
	}
	switch s := t.Resource.(type) {
	case ast.ScopeTypeEq:
		offer(byResource, s.Entity)
	case ast.ScopeTypeIn:
		offer(byResourceIn, s.Entity)
	case ast.ScopeTypeIsIn:
		offer(byResourceIn, s.Entity)
	case ast.ScopeTypeIs:
		offer(byResourceType, cedar.EntityUID{Type: s.Type})
	}
	for _, c := range t.Conditions {
		if c.Condition != ast.ConditionWhen || !leading(c.Body, offer) {
			break
		}
	}
	return best
}

// leading offers the tests that n begins with and reports whether n is nothing
// but such tests, so that what follows it is still leading.
func leading(n ast.IsNode, offer func(keyKind, ...cedar.EntityUID)) bool {
	switch n := n.(type) {
	case ast.NodeTypeAnd:
		return leading(n.Left, offer) && leading(n.Right, offer)
	case ast.NodeTypeEquals:
		fact, uids := n.Left, entities(n.Right)
		if len(uids) == 0 {
			fact, uids = n.Right, entities(n.Left)
		}
		equal, _, ok := factKinds(fact)
		if !ok || len(uids) != 1 || isSet(n.Left) || isSet(n.Right) {
			return false
		}
		offer(equal, uids...)
		return true
	case ast.NodeTypeIn:
		_, in, ok := factKinds(n.Left)
		uids := entities(n.Right)
		if !ok || len(uids) == 0 {
			return false
		}
		offer(in, uids...)
		return true
	}
	return false
}

func isSet(n ast.IsNode) bool {
	_, ok := n.(ast.NodeTypeSet)
	return ok
}

// factKinds says which keys a test of n for equality, or for being in
// something, gives. The facts named here are present in every request.
func factKinds(n ast.IsNode) (equal, in keyKind, ok bool) {
	switch n := n.(type) {
	case ast.NodeTypeVariable:
		switch n.Name {
		case "resource":
			return byResource, byResourceIn, true
		case "action":
			return byAction, byAction, true
		}
	case ast.NodeTypeAccess:
		if v, isVar := n.Arg.(ast.NodeTypeVariable); !isVar || v.Name != "context" {
			return 0, 0, false
		}
		switch n.Value {
		case "operation":
			return byOperation, byOperationIn, true
		case "connection":
			// A connection is in its provider; a rule filed under that would need
			// a key of its own, so only equality is offered.
			return byConnection, byNothing, true
		case "user":
			return byUser, byUser, true
		}
	}
	return 0, 0, false
}

// entities returns the entities of a literal or of a set of literals.
func entities(n ast.IsNode) []cedar.EntityUID {
	switch n := n.(type) {
	case ast.NodeValue:
		if u, ok := n.Value.(cedar.EntityUID); ok {
			return []cedar.EntityUID{u}
		}
	case ast.NodeTypeSet:
		var out []cedar.EntityUID
		for _, e := range n.Elements {
			v, ok := e.(ast.NodeValue)
			if !ok {
				return nil
			}
			u, ok := v.Value.(cedar.EntityUID)
			if !ok {
				return nil
			}
			out = append(out, u)
		}
		return out
	}
	return nil
}

// literals returns the ids of every entity of type t that p names, in order.
func literals(p *cedar.Policy, t cedar.EntityType) []string {
	var out []string
	inspect(p, func(n ast.IsNode) {
		if v, ok := n.(ast.NodeValue); ok {
			if u, ok := v.Value.(cedar.EntityUID); ok && u.Type == t {
				out = append(out, string(u.ID))
			}
		}
	})
	slices.Sort(out)
	return slices.Compact(out)
}

// readsAssurance reports whether p may come out differently at different
// levels: it reads context.assurance, or context as a whole.
func readsAssurance(p *cedar.Policy) bool {
	whole, others := 0, 0
	inspect(p, func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeTypeVariable:
			if n.Name == "context" {
				whole++
			}
		case ast.NodeTypeAccess:
			if v, ok := n.Arg.(ast.NodeTypeVariable); ok && v.Name == "context" && n.Value != "assurance" {
				others++
			}
		}
	})
	return whole > others
}

// thresholds returns the numbers that p compares context.name with.
func thresholds(p *cedar.Policy, name string) []int64 {
	var out []int64
	pair := func(a, b ast.IsNode) {
		access, ok := a.(ast.NodeTypeAccess)
		if !ok || string(access.Value) != name {
			return
		}
		if v, ok := b.(ast.NodeValue); ok {
			if n, ok := v.Value.(cedar.Long); ok {
				out = append(out, int64(n))
			}
		}
	}
	both := func(b ast.BinaryNode) {
		pair(b.Left, b.Right)
		pair(b.Right, b.Left)
	}
	inspect(p, func(n ast.IsNode) {
		switch n := n.(type) {
		case ast.NodeTypeGreaterThan:
			both(n.BinaryNode)
		case ast.NodeTypeGreaterThanOrEqual:
			both(n.BinaryNode)
		case ast.NodeTypeLessThan:
			both(n.BinaryNode)
		case ast.NodeTypeLessThanOrEqual:
			both(n.BinaryNode)
		}
	})
	return out
}

func inspect(p *cedar.Policy, visit func(ast.IsNode)) {
	for _, c := range tree(p).Conditions {
		ast.Inspect(ast.NewNode(c.Body), func(n ast.IsNode) bool {
			visit(n)
			return true
		})
	}
}

package policy

import (
	"cmp"
	"crypto/sha256"
	_ "embed"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"strconv"

	"github.com/cedar-policy/cedar-go"

	"github.com/valetkey/valetkey/internal/id"
)

// Source is one saved text of rules.
type Source struct {
	ID    id.Policy
	Name  string  // what people call it; it stands before line and column
	Owner id.User // whose connections it judges; "" is the org's, which judges all
	Text  string
}

//go:embed default.cedar
var defaultText string

// DefaultID is the policy that ships and that an org begins with.
const DefaultID id.Policy = "pol_default"

// Default returns the rules that ship.
func Default() Source {
	return Source{ID: DefaultID, Name: "default.cedar", Text: defaultText}
}

// Set is every text in force, compiled. It never changes.
type Set struct {
	org    *index
	own    map[id.User]*index
	broken map[id.User]*Rule // the first thing wrong in a user's own texts
	rules  map[cedar.PolicyID]*rule
	bad    []Problem
	hash   [sha256.Size]byte
}

// rule is one compiled rule.
type rule struct {
	Rule
	key    cedar.PolicyID
	order  int
	policy *cedar.Policy
	notes  notes
	levels bool // it may come out differently at different levels
}

// Compile puts texts in force. A problem in one of the org's texts is an error
// of type [Problems] and there is no set: without the org's rules nothing can
// be judged. A problem in a user's own text must not stop anybody else, so
// there is a set, which denies everything on that user's connections and tells
// by [Set.Broken].
func Compile(texts []Source) (*Set, error) {
	texts = slices.Clone(texts)
	slices.SortFunc(texts, func(a, b Source) int {
		return cmp.Or(cmp.Compare(a.Owner, b.Owner), cmp.Compare(a.ID, b.ID))
	})
	s := &Set{
		org:    newIndex(),
		own:    map[id.User]*index{},
		broken: map[id.User]*Rule{},
		rules:  map[cedar.PolicyID]*rule{},
		hash:   digest(texts),
	}
	var problems Problems
	for i, src := range texts {
		if i > 0 && texts[i-1].ID == src.ID && texts[i-1].Owner == src.Owner {
			return nil, fmt.Errorf("compile policies: two texts have the id %q", src.ID)
		}
		name := src.Name
		if name == "" {
			name = string(src.ID)
		}
		list, found := parse(name, src.Text)
		if src.Owner != "" && len(found) == 0 {
			found = append(found, widening(name, list)...)
		}
		switch {
		case len(found) > 0 && src.Owner == "":
			problems = append(problems, found...)
			continue
		case len(found) > 0:
			s.bad = append(s.bad, found...)
			if s.broken[src.Owner] == nil {
				s.broken[src.Owner] = &Rule{Policy: src.ID, Name: name, Owner: src.Owner, Reason: found[0].String()}
			}
			continue
		}
		for _, p := range list {
			s.add(src, name, p)
		}
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return s, nil
}

// widening names the permits in a text of a user's own: such a text may forbid
// and ask on that user's connections. What is permitted at all is the org's to
// say.
func widening(name string, list []parsed) []Problem {
	var found []Problem
	for _, p := range list {
		if p.policy.Effect() == cedar.Permit {
			at := p.policy.Position()
			found = append(found, Problem{Source: name, Line: at.Line, Column: at.Column, Message: "rules of your own may forbid and ask, not permit; ask an admin to permit it for everybody"})
		}
	}
	return found
}

func (s *Set) add(src Source, name string, p parsed) {
	n := len(s.rules)
	r := &rule{
		Rule: Rule{
			Policy:      src.ID,
			ID:          p.id,
			Name:        name,
			Owner:       src.Owner,
			Forbids:     p.policy.Effect() == cedar.Forbid,
			Reason:      p.notes.reason,
			Annotations: map[string]string{},
		},
		key:    cedar.PolicyID(strconv.Itoa(n)),
		order:  n,
		policy: p.policy,
		notes:  p.notes,
		levels: readsAssurance(p.policy),
	}
	for k, v := range p.policy.Annotations() {
		r.Annotations[string(k)] = string(v)
	}
	s.rules[r.key] = r
	into := s.org
	if src.Owner != "" {
		if into = s.own[src.Owner]; into == nil {
			into = newIndex()
			s.own[src.Owner] = into
		}
	}
	into.add(r)
}

// Version names the rules in force: sets compiled from the same texts under the
// same schema have the same version, in every process.
func (s *Set) Version() string {
	if s == nil {
		return ""
	}
	return hex.EncodeToString(s.hash[:16])
}

// Hash is the whole digest that Version is the beginning of.
func (s *Set) Hash() [sha256.Size]byte { return s.hash }

// Len is the number of rules.
func (s *Set) Len() int { return len(s.rules) }

// Broken lists what is wrong in users' own texts.
func (s *Set) Broken() []Problem { return slices.Clone(s.bad) }

// digest covers the schema and all texts, each part led by its length, so that
// no two lists of texts run together to the same bytes.
func digest(texts []Source) [sha256.Size]byte {
	h := sha256.New()
	part := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	part("valetkey policy set 1")
	part(schemaText)
	for _, t := range texts {
		part(string(t.Owner))
		part(string(t.ID))
		part(t.Text)
	}
	return [sha256.Size]byte(h.Sum(nil))
}

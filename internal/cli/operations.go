package cli

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"

	"github.com/valetkey/valetkey/api"
)

type operationCommand struct {
	List operationList `cmd:"" default:"withargs" help:"List what can be done at a provider, or through a connection; everywhere if left out."`
	Show operationShow `cmd:"" help:"Show one operation: its parameters, its risk, and a call of it."`
}

type operationList struct {
	Of string `arg:"" optional:"" name:"provider" help:"Provider or connection."`
}

func (c *operationList) Run(r *run) error { return r.listOperations(c.Of) }

type connectionOperations struct {
	Of string `arg:"" name:"provider" help:"Provider or connection."`
}

func (c *connectionOperations) Run(r *run) error { return r.listOperations(c.Of) }

func (r *run) listOperations(of string) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	q := url.Values{}
	if of != "" {
		q.Set("provider", of)
	}
	page, err := list[api.Operation](r.ctx, to, "v1/operations", q)
	if of != "" && judge0(err) == exitNotFound {
		page, err = list[api.Operation](r.ctx, to, "v1/operations", url.Values{"connection": {of}})
		if judge0(err) == exitNotFound {
			return &failure{Code: exitNotFound, Reason: "provider_not_found", Err: err,
				Text: fmt.Sprintf("There is neither a provider nor a connection %s.", cell(of, 60)), Next: "'valetkey provider list' and 'valetkey connection list' show them."}
		}
	}
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	return r.operations(page.Items)
}

// judge0 is the exit code of an error, or 0.
func judge0(err error) int {
	if err == nil {
		return exitOK
	}
	return judge(err).code
}

func (r *run) operations(all []api.Operation) error {
	var rows [][]string
	several := slices.ContainsFunc(all, func(o api.Operation) bool { return o.Provider != all[0].Provider })
	for _, o := range all {
		var params []string
		for _, p := range o.Params {
			name := p.Name
			if !p.Required {
				name = "[" + name + "]"
			}
			params = append(params, name)
		}
		at := ""
		if several {
			at = cell(o.Provider, 40)
		}
		rows = append(rows, []string{cell(o.Name, 60), at, rated(o), cell(o.Title, 60), items(params, " ", 70)})
	}
	err := r.table("There are no operations.", []column{{title: "OPERATION"}, {title: "AT", drop: 2}, {title: "RISK"}, {title: "WHAT IT DOES", least: 16}, {title: "PARAMETERS", drop: 1, least: 20}}, rows)
	if err == nil && len(rows) > 0 {
		r.maybe("To see one in full:", r.command("operation show", operands{all[0].Name}))
	}
	return err
}

// rated is the risk of an operation, and what else decides how it is judged.
func rated(o api.Operation) string {
	switch {
	case o.Off:
		return string(o.Risk) + ", always refused"
	case o.Read:
		return string(o.Risk) + ", read"
	}
	return string(o.Risk)
}

type operationShow struct {
	Name string `arg:"" help:"Such as github.issues.create_comment."`
}

func (c *operationShow) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Operation](r.ctx, to, "v1/operations", nil)
	if err != nil {
		return err
	}
	var names, at []string
	var found *api.Operation
	for _, o := range page.Items {
		if o.Name == c.Name {
			if found == nil {
				found = &o
			}
			at = append(at, cell(o.Provider, 40))
		}
		names = append(names, o.Name)
	}
	switch {
	case found != nil && r.json:
		return r.print(found)
	case found != nil:
		return r.operation(*found, at)
	}
	return noOperation(c.Name, names, "'valetkey operation list' shows them all.")
}

// noOperation refuses a name that the catalogue does not have.
func noOperation(name string, known []string, next string) error {
	if near := nearest(name, known); len(near) > 0 {
		next = "Did you mean " + strings.Join(near, " or ") + "? " + next
	}
	return &failure{Code: exitNotFound, Reason: "unknown_operation", Text: fmt.Sprintf("There is no operation %s.", cell(name, 80)), Next: next}
}

// operation prints one operation, where there is such a one, and a call of it
// that can be pasted.
func (r *run) operation(o api.Operation, at []string) error {
	err := r.fields("operation", cell(o.Name, 80), "does", cell(o.Title, 100), "at", items(at, ", ", 200), "sends", cell(o.Method, 10)+" "+cell(o.Path, 200),
		"risk", rated(o), "scopes", items(o.Scopes, " ", 100), "permissions", items(o.Permissions, " ", 100))
	if err != nil {
		return err
	}
	r.say("")
	var rows [][]string
	for _, p := range o.Params {
		need := "optional"
		if p.Required {
			need = "required"
		}
		kind := p.Type
		if p.Nullable {
			kind += " or null"
		}
		about := cell(p.Doc, 200)
		switch {
		case len(p.Enum) > 0:
			about = strings.TrimSpace(about + " One of: " + items(p.Enum, ", ", 120) + ".")
		case about == "" && p.Pattern != "":
			about = "matches " + cell(p.Pattern, 100)
		}
		rows = append(rows, []string{cell(p.Name, 60), need, kind, p.In, about})
	}
	err = r.table("It takes no parameters.", []column{{title: "PARAMETER"}, {title: "NEED"}, {title: "TYPE"}, {title: "IN", drop: 1}, {title: "ABOUT", drop: 2, least: 20}}, rows)
	if err != nil {
		return err
	}
	r.maybe("\nFor example:", r.command("call", operands{o.Name}, example(o)...))
	return nil
}

// example are the flags of a call of an operation, with the catalogue's own
// values.
func example(o api.Operation) []string {
	var words []string
	for _, p := range o.Params {
		v, given := o.Example[p.Name]
		if !given && !p.Required {
			continue
		}
		switch text, isText := v.(string); {
		case !given:
			words = append(words, field("-f", "--field", p.Name+"="+strings.ToUpper(p.Name))...)
		case isText:
			words = append(words, field("-f", "--field", p.Name+"="+text)...)
		default:
			words = append(words, field("-F", "--typed", p.Name+"="+asJSON(v))...)
		}
	}
	return words
}

// field is one of them. A name that looks like a flag takes the long form, which
// can be tied to it.
func field(short, long, value string) []string {
	if strings.HasPrefix(value, "-") {
		return flag(long, value)
	}
	return []string{short, value}
}

func asJSON(v any) string {
	raw, err := json.Marshal(v)
	if err != nil {
		return "null"
	}
	return string(raw)
}

// nearest are the names that somebody may have meant: few letters off, or the
// same in another place.
func nearest(meant string, known []string) []string {
	type hit struct {
		name string
		off  int
	}
	var hits []hit
	last := func(s string) string { return s[strings.LastIndexByte(s, '.')+1:] }
	for _, k := range known {
		off := distance(meant, k)
		if strings.Contains(k, ".") && (last(k) == last(meant) || strings.HasSuffix(k, "."+meant)) {
			off = min(off, 2)
		}
		if off <= max(1, min(3, len([]rune(meant))/3)) {
			hits = append(hits, hit{k, off})
		}
	}
	slices.SortStableFunc(hits, func(a, b hit) int { return a.off - b.off })
	var out []string
	for _, h := range hits {
		// Two providers of one kind have the same operations.
		if len(out) < 3 && !slices.Contains(out, h.name) {
			out = append(out, h.name)
		}
	}
	return out
}

// distance is how many letters have to be put in, taken out or changed to make
// a into b.
func distance(a, b string) int {
	x, y := []rune(a), []rune(b)
	row := make([]int, len(y)+1)
	for j := range row {
		row[j] = j
	}
	for i, r := range x {
		before := row[0]
		row[0] = i + 1
		for j, s := range y {
			change := before
			if r != s {
				change++
			}
			before = row[j+1]
			row[j+1] = min(row[j+1]+1, row[j]+1, change)
		}
	}
	return row[len(y)]
}

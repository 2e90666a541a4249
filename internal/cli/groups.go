package cli

import (
	"net/http"
	"strings"

	"github.com/valetkey/valetkey/api"
)

type groupCommand struct {
	Add    groupAdd    `cmd:"" help:"Make a group, which rules name as group:NAME."`
	List   groupList   `cmd:"" default:"1" help:"List groups and who is in them."`
	Join   groupJoin   `cmd:"" help:"Put a person into a group."`
	Remove groupRemove `cmd:"" help:"Take a person out of a group."`
}

type groupAdd struct {
	Name   string   `arg:"" help:"a-z, 0-9, dot, hyphen and underscore."`
	Member []string `placeholder:"NAME" sep:"," help:"A person, by name or id. May be repeated."`
}

func (c *groupAdd) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	g, err := change[api.Group](r.ctx, to, http.MethodPost, "v1/admin/groups", api.GroupRequest{Name: c.Name, Members: c.Member})
	if err != nil {
		return err
	}
	return r.group(g)
}

// group says who is in a group.
func (r *run) group(g api.Group) error {
	if r.json {
		return r.print(g)
	}
	r.say("group:%s is %s.", cell(g.Name, 63), members(g))
	return nil
}

func members(g api.Group) string {
	if len(g.Members) == 0 {
		return "nobody"
	}
	names := make([]string, len(g.Members))
	for i, m := range g.Members {
		if names[i] = cell(m.Name, 63); names[i] == "" {
			names[i] = m.ID
		}
	}
	return strings.Join(names, ", ")
}

type groupList struct{}

func (c *groupList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Group](r.ctx, to, "v1/admin/groups", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	for _, g := range page.Items {
		rows = append(rows, []string{cell(g.Name, 63), members(g), g.ID})
	}
	return r.table("There are no groups. 'valetkey group add NAME --member PERSON' makes one.",
		[]column{{title: "NAME", least: 8}, {title: "MEMBERS", least: 16}, {title: "ID", drop: 1}}, rows)
}

type groupJoin struct {
	Name   string `arg:"" help:"Of the group."`
	Person string `arg:"" help:"Name or id."`
}

func (c *groupJoin) Run(r *run) error { return r.setMember(c.Name, api.GroupChange{Add: c.Person}) }

type groupRemove struct {
	Name   string `arg:"" help:"Of the group."`
	Person string `arg:"" help:"Name or id."`
}

func (c *groupRemove) Run(r *run) error {
	return r.setMember(c.Name, api.GroupChange{Remove: c.Person})
}

func (r *run) setMember(name string, what api.GroupChange) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	g, err := change[api.Group](r.ctx, to, http.MethodPatch, "v1/admin/groups/"+segment(name), what)
	if err != nil {
		return err
	}
	return r.group(g)
}

package cli

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
)

// freezeCommand throws the switch. It works over the socket and with a login,
// for whoever may stop the thing.
type freezeCommand struct {
	What   string `arg:"" enum:"agent,connection,user,all,list" help:"agent, connection, user or all; or list, to see what is frozen."`
	Target string `arg:"" optional:"" help:"Name or id; none for all."`
	Reason string `placeholder:"TEXT" help:"Why, for the others."`
}

func (c *freezeCommand) Run(r *run) error {
	if c.What != "list" {
		if err := named(c.What, c.Target, "freeze"); err != nil {
			return err
		}
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	if c.What == "list" {
		return r.listFreezes(to)
	}
	f, err := change[api.Freeze](r.ctx, to, http.MethodPost, "v1/admin/freezes", api.FreezeRequest{Kind: c.What, Target: c.Target, Reason: c.Reason})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(f)
	}
	if f.Already {
		r.say("%s was frozen already, %s (%s).", frozenThing(f), ago(f.At, time.Now()), f.ID)
	} else {
		r.say("%s is frozen (%s).", frozenThing(f), f.ID)
	}
	if f.Warning != "" {
		r.note("%s", cell(f.Warning, 500))
	}
	lift := operands{c.What}
	if c.Target != "" {
		lift = append(lift, c.Target)
	}
	r.maybe("To let it go on:", r.command("unfreeze", lift))
	return nil
}

// named checks that a target is there where the kind takes one.
func named(what, target, word string) error {
	switch {
	case what == "all" && target != "":
		return usage("Name a target, or all, not both.", "'%s all' takes no target.", word)
	case what != "all" && target == "":
		return usage(fmt.Sprintf("For example: valetkey %s %s NAME", word, what), "Say which %s to %s.", what, word)
	}
	return nil
}

// frozenThing is what a freeze stops, at the beginning of a sentence.
func frozenThing(f api.Freeze) string {
	if f.Kind == "all" || f.Kind == "" {
		return "Everything"
	}
	return strings.ToUpper(f.Kind[:1]) + f.Kind[1:] + " " + cell(frozenName(f), 63)
}

func frozenName(f api.Freeze) string {
	switch {
	case f.TargetName != "":
		return f.TargetName
	case f.Kind == "all":
		return "everything"
	}
	return f.Target
}

func (r *run) listFreezes(to *remote) error {
	page, err := list[api.Freeze](r.ctx, to, "v1/admin/freezes", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	var newest api.Freeze
	now := time.Now()
	for _, f := range page.Items {
		if !f.LiftedAt.IsZero() {
			continue
		}
		by := f.By
		if f.ByName != "" {
			by = f.ByName
		}
		if len(rows) == 0 {
			newest = f
		}
		rows = append(rows, []string{f.Kind, cell(frozenName(f), 63), ago(f.At, now), cell(by, 40), cell(f.Reason, 60), f.ID})
	}
	columns := []column{{title: "WHAT"}, {title: "NAME", least: 12}, {title: "SINCE"}, {title: "BY", drop: 1}, {title: "REASON", drop: 2, least: 12}, {title: "ID", drop: 3}}
	if err := r.table("Nothing is frozen.", columns, rows); err != nil || len(rows) == 0 {
		return err
	}
	lift := operands{newest.Kind}
	if newest.Kind != "all" {
		lift = append(lift, frozenName(newest))
	}
	r.maybe("To let go on:", r.command("unfreeze", lift))
	return nil
}

type unfreezeCommand struct {
	What   string `arg:"" help:"agent, connection, user or all; or the id of a freeze, frz_…"`
	Target string `arg:"" optional:"" help:"Name or id; none for all, nor for the id of a freeze."`
}

func (c *unfreezeCommand) Run(r *run) error {
	if strings.HasPrefix(c.What, "frz_") && c.Target == "" {
		return c.one(r)
	}
	if !slices.Contains([]string{"agent", "connection", "user", "all"}, c.What) {
		return usage("For example: valetkey unfreeze agent NAME; 'valetkey freeze list' shows what is frozen.", "Say what to unfreeze: agent, connection, user or all, not %q.", c.What)
	}
	if err := named(c.What, c.Target, "unfreeze"); err != nil {
		return err
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	id, name, err := c.resolve(r.ctx, to)
	if err != nil {
		return err
	}
	page, err := list[api.Freeze](r.ctx, to, "v1/admin/freezes", nil)
	if err != nil {
		return err
	}
	lifted, others := api.Page[api.Freeze]{Items: []api.Freeze{}}, 0
	for _, f := range page.Items {
		if !f.LiftedAt.IsZero() {
			continue
		}
		if f.Kind != c.What || f.Target != id {
			others++
			continue
		}
		now, err := change[api.Freeze](r.ctx, to, http.MethodDelete, "v1/admin/freezes/"+segment(f.ID), nil)
		if refusedFor(err, "not_frozen") {
			continue // somebody else was faster
		}
		if err != nil {
			return err
		}
		lifted.Items = append(lifted.Items, now)
	}
	if r.json {
		return r.print(lifted)
	}
	what := frozenThing(api.Freeze{Kind: c.What, Target: id, TargetName: name})
	switch {
	case len(lifted.Items) > 0:
		r.say("%s goes on.", what)
	case c.What == "all":
		r.say("Everything was not frozen as a whole.")
	default:
		r.say("%s was not frozen.", what)
	}
	if others > 0 {
		r.next(fmt.Sprintf("Other freezes still hold: %d. See them:", others), r.command("freeze list", nil))
	}
	return nil
}

// resolve finds what a name stands for, as freezing it does.
func (c *unfreezeCommand) resolve(ctx context.Context, to *remote) (id, name string, err error) {
	switch c.What {
	case "agent":
		a, err := get[api.Agent](ctx, to, "v1/admin/agents/"+segment(c.Target), nil)
		return a.ID, a.Name, err
	case "connection":
		k, err := get[api.Connection](ctx, to, "v1/admin/connections/"+segment(c.Target), nil)
		return k.ID, k.Name, err
	case "user":
		all, err := list[api.User](ctx, to, "v1/admin/users", nil)
		if err != nil {
			return "", "", err
		}
		for _, u := range all.Items {
			if u.ID == c.Target || u.Name == c.Target {
				return u.ID, u.Name, nil
			}
		}
		return "", "", &failure{Code: exitNotFound, Reason: "user_not_found", Text: fmt.Sprintf("There is no person %s.", cell(c.Target, 60)), Next: "'valetkey user list' shows them."}
	}
	return "", "", nil
}

// one lifts a freeze by its id.
func (c *unfreezeCommand) one(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	f, err := change[api.Freeze](r.ctx, to, http.MethodDelete, "v1/admin/freezes/"+segment(c.What), nil)
	if judge0(err) == exitNotFound {
		return &failure{Code: exitNotFound, Reason: "freeze_not_found", Err: err,
			Text: fmt.Sprintf("There is no freeze %s in force.", cell(c.What, 60)), Next: "'valetkey freeze list' shows those that are."}
	}
	if err != nil {
		return err
	}
	if r.json {
		return r.print(f)
	}
	if f.Kind == "" {
		r.say("Lifted %s.", f.ID)
		return nil
	}
	r.say("%s goes on (lifted %s).", frozenThing(f), f.ID)
	return nil
}

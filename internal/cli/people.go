package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/valetkey/valetkey/api"
)

type userCommand struct {
	Add       userAdd    `cmd:"" help:"Add a person, and print the link by which they enrol."`
	List      userList   `cmd:"" help:"List people."`
	EnrolLink userEnrol  `cmd:"" name:"enrol-link" help:"Print a fresh enrolment link, for somebody who lost theirs or every device."`
	Suspend   userStatus `cmd:"" help:"Shut a person out, at once."`
	Resume    userResume `cmd:"" help:"Let them back in."`
}

type userAdd struct {
	Name string `arg:"" help:"What others see."`
	Role string `enum:"owner,admin,member,auditor" default:"member" help:"owner, admin, member or auditor."`
}

func (c *userAdd) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	u, err := change[api.UserCreated](r.ctx, to, http.MethodPost, "v1/admin/users", api.UserRequest{Name: c.Name, Role: c.Role})
	if err != nil {
		return err
	}
	return r.enrolment(u)
}

// enrolment prints a link that makes whoever opens it that person. It goes to
// standard output alone, so that it can be piped to where it belongs.
func (r *run) enrolment(u api.UserCreated) error {
	if r.json {
		return r.print(u)
	}
	r.note("%s (%s) enrols by this link, once, until %s. Hand it over in private: whoever opens it becomes them.",
		cell(u.User.Name, 63), u.User.Role, when(u.ExpiresAt))
	r.say("%s", u.EnrolmentURL)
	return nil
}

type userList struct{}

func (c *userList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.User](r.ctx, to, "v1/admin/users", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	for _, u := range page.Items {
		keys := fmt.Sprint(u.Passkeys)
		if u.Passkeys == 0 {
			keys = "none yet"
		}
		rows = append(rows, []string{cell(u.Name, 40), u.Role, u.Status, keys, when(u.CreatedAt), u.ID})
	}
	return r.table("There is nobody yet. 'valetkey user add NAME --role owner' adds the first.", []string{"NAME", "ROLE", "STATUS", "PASSKEYS", "SINCE", "ID"}, rows)
}

type userEnrol struct {
	User string `arg:"" help:"Name or id."`
}

func (c *userEnrol) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	u, err := change[api.UserCreated](r.ctx, to, http.MethodPost, "v1/admin/users/"+segment(c.User)+"/enrol-link", nil)
	if err != nil {
		return err
	}
	return r.enrolment(u)
}

type userStatus struct {
	User string `arg:"" help:"Name or id."`
}

func (c *userStatus) Run(r *run) error { return r.setUser(c.User, "suspended") }

type userResume struct {
	User string `arg:"" help:"Name or id."`
}

func (c *userResume) Run(r *run) error { return r.setUser(c.User, "active") }

func (r *run) setUser(ref, status string) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	u, err := change[api.User](r.ctx, to, http.MethodPatch, "v1/admin/users/"+segment(ref), api.UserChange{Status: status})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(u)
	}
	r.say("%s is %s.", cell(u.Name, 63), u.Status)
	return nil
}

// freezeCommand throws the switch. It works over the socket and with a login,
// for whoever may stop the thing.
type freezeCommand struct {
	What   string `arg:"" enum:"agent,connection,user,all,list" help:"agent, connection, user or all; or list, to see what is frozen."`
	Target string `arg:"" optional:"" help:"Name or id; none for all."`
	Reason string `help:"Why, for the others."`
}

func (c *freezeCommand) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	switch {
	case c.What == "list":
		return r.listFreezes(to)
	case c.What == "all" && c.Target != "":
		return usage("Name a target, or all, not both.", "'freeze all' takes no target.")
	case c.What != "all" && c.Target == "":
		return usage("For example: valetkey freeze agent triage", "Say which %s to freeze.", c.What)
	}
	f, err := change[api.Freeze](r.ctx, to, http.MethodPost, "v1/admin/freezes", api.FreezeRequest{Kind: c.What, Target: c.Target, Reason: c.Reason})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(f)
	}
	what := "Everything"
	if f.Kind != "all" {
		what = strings.ToUpper(f.Kind[:1]) + f.Kind[1:] + " " + cell(c.Target, 63)
	}
	r.say("%s is frozen (%s).", what, f.ID)
	if f.Warning != "" {
		r.note("%s", cell(f.Warning, 500))
	}
	return nil
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
	for _, f := range page.Items {
		if f.LiftedAt.IsZero() {
			rows = append(rows, []string{f.ID, f.Kind, f.Target, f.By, when(f.At), cell(f.Reason, 60)})
		}
	}
	return r.table("Nothing is frozen.", []string{"ID", "WHAT", "TARGET", "BY", "SINCE", "REASON"}, rows)
}

type unfreezeCommand struct {
	ID string `arg:"" help:"Id of the freeze; 'valetkey freeze list' shows them."`
}

func (c *unfreezeCommand) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	f, err := change[api.Freeze](r.ctx, to, http.MethodDelete, "v1/admin/freezes/"+url.PathEscape(c.ID), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(f)
	}
	r.say("Lifted %s.", c.ID)
	return nil
}

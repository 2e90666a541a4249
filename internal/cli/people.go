package cli

import (
	"fmt"
	"net/http"
	"time"

	"github.com/valetkey/valetkey/api"
)

type userCommand struct {
	Add       userAdd    `cmd:"" help:"Add a person, and print the link by which they enrol."`
	List      userList   `cmd:"" default:"1" help:"List people."`
	EnrolLink userEnrol  `cmd:"" name:"enrol-link" help:"Print a fresh enrolment link, for somebody who lost theirs or every device."`
	VoidLink  userVoid   `cmd:"" name:"void-link" help:"Make every open enrolment link of a person worthless."`
	Role      userRole   `cmd:"" help:"Change what a person may do here; for owners."`
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
	now := time.Now()
	for _, u := range page.Items {
		keys := fmt.Sprint(u.Passkeys)
		if u.Passkeys == 0 {
			keys = "none yet"
		}
		rows = append(rows, []string{cell(u.Name, 40), u.Role, u.Status, keys, ago(u.CreatedAt, now), u.ID})
	}
	return r.table("There is nobody yet. 'valetkey user add NAME --role owner' adds the first.",
		[]column{{title: "NAME", least: 12}, {title: "ROLE"}, {title: "STATUS"}, {title: "PASSKEYS"}, {title: "SINCE", drop: 1}, {title: "ID", drop: 2}}, rows)
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

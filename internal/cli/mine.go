package cli

import (
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
)

type passkeyCommand struct {
	List   passkeyList   `cmd:"" default:"1" help:"List your passkeys."`
	Rename passkeyRename `cmd:"" help:"Call one of them something else."`
	Remove passkeyRemove `cmd:"" help:"Print the page where one is removed: it takes a touch of a passkey."`
}

type passkeyList struct{}

func (c *passkeyList) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	page, err := list[api.Passkey](r.ctx, to, "v1/me/passkeys", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	now := time.Now()
	var rows [][]string
	for _, k := range page.Items {
		decides := "everything"
		if k.Rests {
			decides = "nothing critical yet"
		}
		rows = append(rows, []string{cell(k.Name, 40), cell(k.Host, 40), ago(k.CreatedAt, now), ago(k.UsedAt, now), decides, k.ID})
	}
	return r.table("You have no passkey here. The page of the server where you make one: "+to.public+"you",
		[]column{{title: "NAME", least: 12}, {title: "WORKS ON", drop: 2}, {title: "ADDED"}, {title: "USED"}, {title: "DECIDES", drop: 1}, {title: "ID", drop: 3}}, rows)
}

// passkey finds one of the caller's passkeys by its id or its name.
func passkey(r *run, to *remote, ref string) (api.Passkey, error) {
	page, err := list[api.Passkey](r.ctx, to, "v1/me/passkeys", nil)
	if err != nil {
		return api.Passkey{}, err
	}
	var found []api.Passkey
	for _, k := range page.Items {
		if k.ID == ref {
			return k, nil
		}
		if strings.EqualFold(k.Name, ref) {
			found = append(found, k)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return api.Passkey{}, &failure{Code: exitNotFound, Reason: "passkey_not_found", Text: fmt.Sprintf("You have no passkey called %s.", cell(ref, 63)), Next: "'valetkey passkey list' shows those that you have."}
	}
	return api.Passkey{}, usage("Name it by its id, as 'valetkey passkey list' shows it.", "More than one of your passkeys is called %q.", ref)
}

type passkeyRename struct {
	Passkey string `arg:"" help:"Its name, or its id."`
	Name    string `arg:"" help:"What it is to be called."`
}

func (c *passkeyRename) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	k, err := passkey(r, to, c.Passkey)
	if err != nil {
		return err
	}
	k, err = change[api.Passkey](r.ctx, to, http.MethodPatch, "v1/me/passkeys/"+segment(k.ID), api.PasskeyChange{Name: c.Name})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(k)
	}
	r.say("It is called %s.", cell(k.Name, 63))
	return nil
}

type passkeyRemove struct {
	Passkey string `arg:"" help:"Its name, or its id."`
}

// Run leads to the page: a passkey signs its own removal, or that of another,
// and there is none at a command line.
func (c *passkeyRemove) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	k, err := passkey(r, to, c.Passkey)
	if err != nil {
		return err
	}
	r.note("%s is removed with a touch of a passkey, here:", cell(k.Name, 63))
	r.say("%s", to.public+"you#passkeys")
	return quiet{exitHeld}
}

type sessionCommand struct {
	List sessionList `cmd:"" default:"1" help:"List where you are logged in: browsers and terminals."`
	End  sessionEnd  `cmd:"" help:"End one of them, or all others."`
}

type sessionList struct{}

func (c *sessionList) Run(r *run) error {
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	page, err := list[api.Session](r.ctx, to, "v1/me/sessions", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	now := time.Now()
	var rows [][]string
	for _, s := range page.Items {
		what := map[string]string{"cli": "terminal"}[s.Kind]
		if what == "" {
			what = s.Kind
		}
		if s.Current {
			what += " (this one)"
		}
		rows = append(rows, []string{cell(s.Label, 40), what, cell(s.Place, 40), ago(s.CreatedAt, now), ago(s.SeenAt, now), s.ID})
	}
	return r.table("You are logged in nowhere.",
		[]column{{title: "NAME", least: 12}, {title: "KIND"}, {title: "FROM", drop: 2}, {title: "BEGAN", drop: 1}, {title: "SEEN"}, {title: "ID"}}, rows)
}

type sessionEnd struct {
	Session string `arg:"" optional:"" help:"Its id."`
	Others  bool   `help:"End all but the one that this command uses."`
}

func (c *sessionEnd) Run(r *run) error {
	if (c.Session == "") != c.Others {
		return usage("'valetkey session list' shows the ids.", "Name one session, or say --others.")
	}
	to, err := r.asPerson()
	if err != nil {
		return err
	}
	path := "v1/me/sessions"
	if !c.Others {
		path += "/" + segment(c.Session)
	}
	got, err := change[api.SessionsEnded](r.ctx, to, http.MethodDelete, path, nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(got)
	}
	if got.Ended == 1 {
		r.say("It has ended.")
	} else {
		r.say("%d sessions have ended.", got.Ended)
	}
	return nil
}

type userRole struct {
	User string `arg:"" help:"Name or id."`
	Role string `arg:"" enum:"owner,admin,member,auditor" help:"owner, admin, member or auditor."`
}

func (c *userRole) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	u, err := change[api.User](r.ctx, to, http.MethodPatch, "v1/admin/users/"+segment(c.User), api.UserChange{Role: c.Role})
	if err != nil {
		return err
	}
	if r.json {
		return r.print(u)
	}
	r.say("%s is %s.", cell(u.Name, 63), u.Role)
	return nil
}

type userVoid struct {
	User string `arg:"" help:"Name or id."`
}

func (c *userVoid) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	got, err := change[api.LinksVoided](r.ctx, to, http.MethodDelete, "v1/admin/users/"+segment(c.User)+"/enrol-link", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(got)
	}
	r.say("Enrolment links that work no more: %d.", got.Voided)
	return nil
}

package cli

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/valetkey/valetkey/api"
)

type reliefCommand struct {
	List   reliefList   `cmd:"" default:"1" help:"List what is let through without asking."`
	Revoke reliefRevoke `cmd:"" help:"End a relief, at once: it is asked again."`
}

type reliefList struct {
	Agent string `placeholder:"NAME" help:"Of this agent only, by name or id."`
}

func (c *reliefList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	which := url.Values{}
	if c.Agent != "" {
		which.Set("agent", c.Agent)
	}
	page, err := list[api.Relief](r.ctx, to, "v1/admin/reliefs", which)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	now := time.Now()
	var rows [][]string
	for _, v := range page.Items {
		rest := left(v.ExpiresAt, now)
		switch {
		case !v.RevokedAt.IsZero():
			rest = "revoked"
		case v.Used >= v.Most:
			rest = "used up"
		}
		who := cell(v.AgentName, 40)
		if who == "" {
			who = v.Agent
		}
		rows = append(rows, []string{v.ID, who, cell(v.Operation, 60), cell(v.Resource, 60), fmt.Sprintf("%d of %d", v.Used, v.Most), rest})
	}
	return r.table("Nothing is let through without asking.", []column{
		{title: "RELIEF"}, {title: "AGENT", least: 8}, {title: "OPERATION", least: 12}, {title: "ON", least: 8}, {title: "USED"}, {title: "LEFT"},
	}, rows)
}

type reliefRevoke struct {
	ID string `arg:"" help:"Id of the relief."`
}

func (c *reliefRevoke) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	v, err := change[api.Relief](r.ctx, to, http.MethodDelete, "v1/admin/reliefs/"+segment(c.ID), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(v)
	}
	r.say("Revoked %s: it was used %d of %d times, and is asked again from here on.", v.ID, v.Used, v.Most)
	return nil
}

package dash

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
)

//go:embed templates
var templateFS embed.FS

// Renderer turns views into HTML. It is made once and is safe for concurrent
// use.
type Renderer struct {
	Assets *Assets
	pages  map[string]*template.Template
	parts  *template.Template
}

// pageNames are the files of templates/pages, each a "main" inside the layout.
var pageNames = []string{
	"welcome", "login", "enrol", "inbox", "action", "connections", "disconnected", "agents", "agent", "activity", "policy", "device", "proposal", "error",
	"you", "people", "recover",
}

// NewRenderer parses the embedded templates.
func NewRenderer() (*Renderer, error) {
	assets, err := newAssets()
	if err != nil {
		return nil, err
	}
	base, err := template.New("base").Funcs(functions(assets)).ParseFS(templateFS, "templates/*.html")
	if err != nil {
		return nil, fmt.Errorf("parse the layout: %w", err)
	}
	r := &Renderer{Assets: assets, pages: map[string]*template.Template{}}
	for _, name := range pageNames {
		page, err := base.Clone()
		if err != nil {
			return nil, fmt.Errorf("clone the layout for page %s: %w", name, err)
		}
		if _, err := page.ParseFS(templateFS, "templates/pages/"+name+".html"); err != nil {
			return nil, fmt.Errorf("parse page %s: %w", name, err)
		}
		r.pages[name] = page
	}
	r.parts = base
	return r, nil
}

// page renders into memory first, so that a failure half-way never leaves
// half a page with a button on it.
func (r *Renderer) page(w io.Writer, name string, view any) error {
	return run(w, r.pages[name], "layout", view)
}

func (r *Renderer) part(w io.Writer, name string, view any) error {
	return run(w, r.parts, name, view)
}

func run(w io.Writer, t *template.Template, name string, view any) error {
	var buf bytes.Buffer
	if err := t.ExecuteTemplate(&buf, name, view); err != nil {
		return fmt.Errorf("render %s: %w", name, err)
	}
	_, err := buf.WriteTo(w)
	return err
}

// Welcome renders the first-run page.
func (r *Renderer) Welcome(w io.Writer, v WelcomePage) error { return r.page(w, "welcome", v) }

// WelcomeRows renders the rows of the first-run page alone, for its updates.
func (r *Renderer) WelcomeRows(w io.Writer, v WelcomePage) error { return r.part(w, "welcome-rows", v) }

// Login renders the login page.
func (r *Renderer) Login(w io.Writer, v LoginPage) error { return r.page(w, "login", v) }

// Enrol renders the page behind an invitation.
func (r *Renderer) Enrol(w io.Writer, v EnrolPage) error { return r.page(w, "enrol", v) }

// Inbox renders what waits for a decision.
func (r *Renderer) Inbox(w io.Writer, v InboxPage) error { return r.page(w, "inbox", v) }

// InboxList renders the inbox's lists alone, for its updates.
func (r *Renderer) InboxList(w io.Writer, v InboxPage) error { return r.part(w, "inbox-list", v) }

// Action renders one action.
func (r *Renderer) Action(w io.Writer, v ActionPage) error { return r.page(w, "action", v) }

// ActionLive renders all of an action's page but its frame, for its updates:
// whatever stands there may depend on where the action is.
func (r *Renderer) ActionLive(w io.Writer, v ActionPage) error {
	return r.part(w, "action-live", v)
}

// Preview renders what is there now, alone, for the page that asks for it.
func (r *Renderer) Preview(w io.Writer, v *PreviewPanel) error { return r.part(w, "preview", v) }

// Connections renders the connected accounts.
func (r *Renderer) Connections(w io.Writer, v ConnectionsPage) error {
	return r.page(w, "connections", v)
}

// Disconnected renders the report of a disconnect.
func (r *Renderer) Disconnected(w io.Writer, v DisconnectPage) error {
	return r.page(w, "disconnected", v)
}

// Agents renders the list of agents.
func (r *Renderer) Agents(w io.Writer, v AgentsPage) error { return r.page(w, "agents", v) }

// Agent renders one agent.
func (r *Renderer) Agent(w io.Writer, v AgentPage) error { return r.page(w, "agent", v) }

// Activity renders the log.
func (r *Renderer) Activity(w io.Writer, v ActivityPage) error { return r.page(w, "activity", v) }

// ActivityList renders the events alone, for the filter and for paging.
func (r *Renderer) ActivityList(w io.Writer, v ActivityPage) error {
	return r.part(w, "activity-list", v)
}

// Policy renders the rules.
func (r *Renderer) Policy(w io.Writer, v PolicyPage) error { return r.page(w, "policy", v) }

// Device renders the confirmation of a login from a terminal.
func (r *Renderer) Device(w io.Writer, v DevicePage) error { return r.page(w, "device", v) }

// Proposal renders what a command line asks for.
func (r *Renderer) Proposal(w io.Writer, v ProposalPage) error { return r.page(w, "proposal", v) }

// You renders how the reader gets in.
func (r *Renderer) You(w io.Writer, v YouPage) error { return r.page(w, "you", v) }

// People renders everybody.
func (r *Renderer) People(w io.Writer, v PeoplePage) error { return r.page(w, "people", v) }

// Recover renders the form for a recovery code.
func (r *Renderer) Recover(w io.Writer, v RecoverPage) error { return r.page(w, "recover", v) }

// Error renders what went wrong.
func (r *Renderer) Error(w io.Writer, v ErrorPage) error { return r.page(w, "error", v) }

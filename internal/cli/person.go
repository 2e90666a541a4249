package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"time"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
)

// person is whoever sits before the browser in the demo.
type person interface {
	// enrol opens an enrolment link and makes a passkey.
	enrol(ctx context.Context, link string) error
	// connect connects the account octocat at a provider.
	connect(ctx context.Context, provider string) error
	// confirmLogin lets a terminal in.
	confirmLogin(ctx context.Context, page, code string) error
	// register registers an agent by a public key.
	register(ctx context.Context, name, key string) error
	// grant lets the agent use operations of a connection on one repository.
	grant(ctx context.Context, agent, connection, operations, repository string) error
	// approve looks at an action and approves what effect digests.
	approve(ctx context.Context, a api.Approval) error
	// unfreeze lifts a freeze with a touch of the passkey.
	unfreeze(ctx context.Context, freeze string) error
	// disconnect ends a connection.
	disconnect(ctx context.Context, connection string) error
}

// softwarePerson is a browser without a screen and a passkey without a
// finger. It goes the same way as a person: pages, forms, cookies, tokens.
type softwarePerson struct {
	base string
	http *http.Client
	rp   virtual.RelyingParty
	auth virtual.Authenticator
	key  virtual.Credential
}

func newSoftwarePerson(base string) (*softwarePerson, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, fmt.Errorf("make a cookie jar: %w", err)
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, fmt.Errorf("read the server's address: %w", err)
	}
	return &softwarePerson{
		base: base, http: &http.Client{Jar: jar, Timeout: time.Minute},
		rp:   virtual.RelyingParty{ID: u.Hostname(), Name: "Valetkey", Origin: strings.TrimSuffix(base, "/")},
		auth: virtual.NewAuthenticator(), key: newPasskey(),
	}, nil
}

var (
	formToken  = regexp.MustCompile(`<meta name="valetkey-csrf" content="([^"]+)">`)
	formDigest = regexp.MustCompile(`<input type="hidden" name="digest" value="([0-9a-f]{64})">`)
	// What an action's page asks; an answer to anything else counts for nothing.
	formQuestion = regexp.MustCompile(`<input type="hidden" name="question" value="([0-9a-f]{64})">`)
)

// open gets a page and returns its form token.
func (p *softwarePerson) open(ctx context.Context, page string) (token, body string, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return "", "", fmt.Errorf("open a page: %w", err)
	}
	req.Header.Set("User-Agent", "valetkey-demo Chrome/1.0 Linux")
	req.Header.Set("Accept", "text/html")
	res, err := p.http.Do(req)
	if err != nil {
		return "", "", fmt.Errorf("open a page: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 4<<20))
	if err != nil {
		return "", "", fmt.Errorf("open a page: %w", err)
	}
	path := strings.SplitN(req.URL.Path, "/", 3)
	if res.StatusCode != http.StatusOK {
		return "", "", fmt.Errorf("the page /%s answers %d", path[1], res.StatusCode)
	}
	m := formToken.FindSubmatch(raw)
	if m == nil {
		return "", "", fmt.Errorf("the page /%s has no form token", path[1])
	}
	return string(m[1]), string(raw), nil
}

// post sends a form as the pages do, and returns the answer.
func (p *softwarePerson) post(ctx context.Context, token, path string, in any) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, fmt.Errorf("send a form: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, fmt.Errorf("send a form: %w", err)
	}
	req.Header.Set("Content-Type", api.MediaJSON)
	req.Header.Set("Accept", api.MediaJSON)
	req.Header.Set("User-Agent", "valetkey-demo Chrome/1.0 Linux")
	req.Header.Set("Origin", p.rp.Origin)
	req.Header.Set("Sec-Fetch-Site", "same-origin")
	req.Header.Set("Valetkey-Csrf", token)
	res, err := p.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("send a form: %w", err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("send a form: %w", err)
	}
	if res.StatusCode/100 == 2 {
		return raw, nil
	}
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	var problem api.Problem
	if kind == api.MediaProblem && json.Unmarshal(raw, &problem) == nil {
		return nil, &answerError{status: res.StatusCode, problem: problem}
	}
	return nil, fmt.Errorf("the form /%s is answered with %d", path, res.StatusCode)
}

// location reads where a form's answer leads.
func location(raw []byte) (string, error) {
	var out struct {
		Location string `json:"location"`
	}
	if err := json.Unmarshal(raw, &out); err != nil || out.Location == "" {
		return "", errors.New("the answer of a form leads nowhere")
	}
	return out.Location, nil
}

// cookies are the bearer values that this browser was given.
func (p *softwarePerson) cookies() []string {
	u, err := url.Parse(p.base)
	if err != nil {
		return nil
	}
	var out []string
	for _, c := range p.http.Jar.Cookies(u) {
		out = append(out, c.Value)
	}
	return out
}

func (p *softwarePerson) enrol(ctx context.Context, link string) error {
	token, _, err := p.open(ctx, link)
	if err != nil {
		return err
	}
	invite := link[strings.LastIndex(link, "/")+1:]
	raw, err := p.post(ctx, token, "passkey/enrol/begin", map[string]string{"invite": invite})
	if err != nil {
		return err
	}
	o, err := virtual.ParseAttestationOptions(string(raw))
	if err != nil {
		return fmt.Errorf("read the passkey options: %w", err)
	}
	p.auth.Options.UserHandle = []byte(o.UserID)
	made := virtual.CreateAttestationResponse(p.rp, p.auth, p.key, *o)
	_, err = p.post(ctx, token, "passkey/enrol/finish", map[string]any{"invite": invite, "name": "Mira", "credential": json.RawMessage(made)})
	return err
}

// touch answers a challenge with the passkey.
func (p *softwarePerson) touch(options []byte) (json.RawMessage, error) {
	o, err := virtual.ParseAssertionOptions(string(options))
	if err != nil {
		return nil, fmt.Errorf("read the passkey options: %w", err)
	}
	p.key.Counter++
	return json.RawMessage(virtual.CreateAssertionResponse(p.rp, p.auth, p.key, *o)), nil
}

func (p *softwarePerson) connect(ctx context.Context, provider string) error {
	token, _, err := p.open(ctx, p.base+"connections")
	if err != nil {
		return err
	}
	raw, err := p.post(ctx, token, "connections/connect", map[string]string{"provider": provider})
	if err != nil {
		return err
	}
	to, err := location(raw)
	if err != nil {
		return err
	}
	back, err := sandbox.Approve(ctx, http.DefaultClient, to, "octocat")
	if err != nil {
		return err
	}
	if !strings.HasPrefix(back, p.base) {
		return errors.New("the provider sends the browser elsewhere")
	}
	_, _, err = p.open(ctx, back)
	return err
}

func (p *softwarePerson) confirmLogin(ctx context.Context, page, code string) error {
	token, shown, err := p.open(ctx, page)
	if err != nil {
		return err
	}
	if !strings.Contains(shown, code) {
		return errors.New("the page does not show the code of the terminal")
	}
	m := formDigest.FindStringSubmatch(shown)
	if m == nil {
		return errors.New("the page does not say what is to be signed")
	}
	options, err := p.post(ctx, token, "device/"+url.PathEscape(code)+"/passkey", map[string]string{"digest": m[1]})
	if err != nil {
		return err
	}
	touched, err := p.touch(options)
	if err != nil {
		return err
	}
	_, err = p.post(ctx, token, "device/decision", map[string]any{"code": code, "decision": "approve", "digest": m[1], "assertion": touched})
	return err
}

// form opens a page and sends a form that stands on it.
func (p *softwarePerson) form(ctx context.Context, page, path string, in any) error {
	token, _, err := p.open(ctx, p.base+page)
	if err == nil {
		_, err = p.post(ctx, token, path, in)
	}
	return err
}

func (p *softwarePerson) register(ctx context.Context, name, key string) error {
	return p.form(ctx, "agents", "agents", map[string]string{"name": name, "public_key": key, "profile": "strict", "sources": ""})
}

func (p *softwarePerson) grant(ctx context.Context, agent, connection, operations, repository string) error {
	page := "agents/" + url.PathEscape(agent)
	return p.form(ctx, page, page+"/grants", map[string]any{
		"connection": connection, "operations": []string{operations}, "resources": repository, "expires": "24h", "mode": "broker",
	})
}

func (p *softwarePerson) disconnect(ctx context.Context, connection string) error {
	return p.form(ctx, "connections", "connections/"+url.PathEscape(connection)+"/disconnect", struct{}{})
}

// decide answers an action; digest is of what was seen.
func (p *softwarePerson) decide(ctx context.Context, action, digest string) error {
	page := "actions/" + url.PathEscape(action)
	token, shown, err := p.open(ctx, p.base+page)
	if err != nil {
		return err
	}
	m := formQuestion.FindStringSubmatch(shown)
	if m == nil {
		return errors.New("the page does not say what it asks")
	}
	_, err = p.post(ctx, token, page+"/decision", map[string]string{"decision": "approve", "digest": digest, "question": m[1], "reason": ""})
	return err
}

func (p *softwarePerson) approve(ctx context.Context, a api.Approval) error {
	return p.decide(ctx, a.Action.ID, a.Action.Effect)
}

func (p *softwarePerson) unfreeze(ctx context.Context, freeze string) error {
	token, _, err := p.open(ctx, p.base+"inbox")
	if err != nil {
		return err
	}
	options, err := p.post(ctx, token, "passkey/confirm/begin", struct{}{})
	if err != nil {
		return err
	}
	touched, err := p.touch(options)
	if err != nil {
		return err
	}
	_, err = p.post(ctx, token, "unfreeze", map[string]any{"id": freeze, "assertion": touched})
	return err
}

// glance is how often it is looked whether somebody has done their part.
const glance = 300 * time.Millisecond

// humanPerson is somebody who follows the links that are printed.
type humanPerson struct{ d *demo }

// asks prints a link and waits until what it asks for has come about.
func (p *humanPerson) asks(ctx context.Context, what, link string, cond func() (bool, error)) error {
	p.d.say("    %s", p.d.bold(what))
	p.d.say("    %s", link)
	if p.d.tty {
		openBrowser(ctx, link)
	}
	began := time.Now()
	for {
		ok, err := cond()
		if err != nil || ok {
			return err
		}
		p.d.progress("    Waiting for you… %s", time.Since(began).Round(time.Second))
		if !sleep(ctx, glance) {
			return ctx.Err()
		}
	}
}

func (p *humanPerson) enrol(ctx context.Context, link string) error {
	return p.asks(ctx, "Open this link and create a passkey:", link, func() (bool, error) { return p.d.app.Users.AnyPasskey(ctx) })
}

func (p *humanPerson) connect(ctx context.Context, provider string) error {
	return p.asks(ctx, "Connect the account octocat (it is a sandbox):", p.d.base+"connections", func() (bool, error) {
		all, err := p.d.app.DB.Connections().Connections(ctx, p.d.app.Manage.Org)
		for _, c := range all {
			if c.Provider == provider && c.Account == "octocat" {
				return true, err
			}
		}
		return false, err
	})
}

func (p *humanPerson) confirmLogin(_ context.Context, page, code string) error {
	p.d.say("    %s", p.d.bold("Let this terminal in; the page must show "+display.VisibleText(code)+":"))
	p.d.say("    %s", page)
	return nil // whoever polls for the login sees when it is done
}

func (p *humanPerson) approve(ctx context.Context, a api.Approval) error {
	return p.asks(ctx, "Look at the request and approve it:", a.URL, func() (bool, error) {
		now, err := get[api.Approval](ctx, p.d.me, "v1/approvals/"+segment(a.ID), nil)
		if err == nil && now.Status != api.ApprovalOpen && now.Status != api.ApprovalGranted && now.Status != api.ApprovalSpent {
			return false, &failure{Code: exitRefused, Reason: string(now.Status), Text: fmt.Sprintf("The approval is %s.", now.Status), Next: "The rest of the story needs a yes; start the demo again."}
		}
		return err == nil && now.Status != api.ApprovalOpen, err
	})
}

func (p *humanPerson) unfreeze(ctx context.Context, freeze string) error {
	return p.asks(ctx, "Lift the freeze with your passkey:", p.d.base+"inbox", func() (bool, error) {
		for _, f := range p.d.app.Freezes.Active() {
			if string(f.ID) == freeze {
				return false, nil
			}
		}
		return true, nil
	})
}

func (p *humanPerson) register(ctx context.Context, name, key string) error {
	_, err := change[api.Agent](ctx, p.d.me, http.MethodPost, "v1/admin/agents", api.AgentRequest{Name: name, Key: key})
	return err
}

func (p *humanPerson) grant(ctx context.Context, agent, connection, operations, repository string) error {
	_, err := change[api.Grant](ctx, p.d.me, http.MethodPost, "v1/admin/grants", api.GrantRequest{
		Agent: agent, Connection: connection, Operations: []string{operations}, Resources: []string{repository},
	})
	return err
}

func (p *humanPerson) disconnect(ctx context.Context, connection string) error {
	_, err := change[api.DisconnectReport](ctx, p.d.me, http.MethodDelete, "v1/admin/connections/"+segment(connection), nil)
	return err
}

// loginAs goes through the device flow as that person.
func (d *demo) loginAs(ctx context.Context) (secret.Text, error) {
	flow, err := beginDevice(ctx, d.base)
	if err != nil {
		return secret.Text{}, err
	}
	if err := d.person.confirmLogin(ctx, flow.page(d.base), flow.userCode); err != nil {
		return secret.Text{}, err
	}
	return flow.wait(ctx, d.terminal)
}

// newPasskey makes a P-256 key of the full length: the library leaves out
// leading zeros of a coordinate, and such a key is refused.
func newPasskey() virtual.Credential {
	const whole = 77 // bytes of a COSE_Key with two coordinates of 32
	for {
		if c := virtual.NewCredential(virtual.KeyTypeEC2); len(c.Key.AttestationData()) == whole {
			return c
		}
	}
}

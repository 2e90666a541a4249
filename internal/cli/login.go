package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/display"
	"github.com/valetkey/valetkey/secret"
)

// deviceClient is the one public client of the device flow.
const deviceClient = "valetkey-cli"

type loginCommand struct {
	NoBrowser bool `help:"Only print the link."`
}

// loggedIn is what `login --json` prints.
type loggedIn struct {
	Server string `json:"server"`
	User   string `json:"user,omitempty"`
}

// Run goes through the device flow (RFC 8628): the terminal shows a code, the
// person confirms it in a browser that is logged in with a passkey.
func (c *loginCommand) Run(r *run) error {
	server, err := r.serverToUse()
	if err != nil {
		return err
	}
	path, err := loginPath(r.getenv)
	if err != nil {
		return err
	}
	all, err := readLogins(path)
	if err != nil {
		return err
	}
	flow, err := beginDevice(r.ctx, server)
	if err != nil {
		return err
	}
	// Passkeys belong to the one name that the server has; and a page elsewhere
	// would let somebody else be logged in.
	if own, err := serverURL(origin(flow.link)); err == nil && own != server {
		return usage("Log in there: "+pasted("login", nil, "--server", strings.TrimSuffix(own, "/")), "The server at %s calls itself %s, and people have their passkeys there.", strings.TrimSuffix(server, "/"), strings.TrimSuffix(own, "/"))
	}
	page := flow.page(server)
	r.note("To log in, open\n\n  %s\n\nand check that the page shows the code %s.", r.bold(page), r.bold(display.VisibleText(flow.userCode)))
	if r.json {
		// A program that runs this has to pass the link on.
		fmt.Fprintf(r.err, "%s\n", page)
	}
	if !c.NoBrowser && r.tty {
		openBrowser(r.ctx, page)
	}
	token, err := flow.wait(r.ctx, r.terminal)
	if err != nil {
		return err
	}
	name := whoAmI(r.ctx, server, token)
	all.servers[server], all.current = login{name, token}, server
	if err := all.save(); err != nil {
		return err
	}
	if r.json {
		return r.print(loggedIn{server, name})
	}
	as := ""
	if name != "" {
		as = " as " + display.VisibleText(name)
	}
	r.say("Logged in at %s%s.", server, as)
	return nil
}

// serverToUse is the server that --server, the environment, the configuration
// or the newest login names, in this order.
func (r *run) serverToUse() (string, error) {
	for _, s := range []string{r.Server, r.getenv("VALETKEY_SERVER")} {
		if s != "" {
			return serverURL(s)
		}
	}
	cfg, _, err := r.settings(nil)
	if err != nil {
		return "", err
	}
	if _, err := os.Stat(cfg.Socket()); err == nil {
		if to, err := r.reach(); err == nil && to.public != "" {
			return to.public, nil
		}
	}
	path, err := loginPath(r.getenv)
	if err != nil {
		return "", err
	}
	if all, err := readLogins(path); err == nil && all.current != "" {
		return all.current, nil
	}
	return serverURL(cfg.PublicURL)
}

// deviceFlow is one login in progress. Its device code is a credential.
type deviceFlow struct {
	server   string
	code     secret.Text
	userCode string
	link     string
	interval time.Duration
	expires  time.Time
}

func beginDevice(ctx context.Context, server string) (*deviceFlow, error) {
	host, err := os.Hostname()
	if err != nil {
		host = "a terminal"
	}
	var d api.DeviceResponse
	began := time.Now()
	err = oauthForm(ctx, server, "oauth/device/code", url.Values{"client_id": {deviceClient}, "device_name": {"valetkey login on " + host}}, secret.Text{}, &d)
	if err != nil {
		return nil, err
	}
	f := &deviceFlow{
		server: server, code: secret.New(d.DeviceCode), userCode: d.UserCode, link: d.VerificationURIComplete,
		interval: time.Duration(max(d.Interval, 1)) * time.Second, expires: began.Add(time.Duration(d.ExpiresIn) * time.Second),
	}
	if f.link == "" {
		f.link = d.VerificationURI
	}
	if f.code.IsZero() || f.userCode == "" {
		return nil, notOurs(http.StatusOK)
	}
	return f, nil
}

// origin is the scheme and host of a link.
func origin(link string) string {
	u, err := url.Parse(link)
	if err != nil {
		return ""
	}
	return u.Scheme + "://" + u.Host
}

// page is the link for the person. It must lead to the server that was asked:
// a page elsewhere would let somebody else be logged in.
func (f *deviceFlow) page(server string) string {
	if !strings.HasPrefix(f.link, server) {
		return server + "device"
	}
	return display.VisibleText(f.link)
}

// wait polls until the person has answered.
func (f *deviceFlow) wait(ctx context.Context, t *terminal) (secret.Text, error) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	next := time.Now() // whoever has confirmed already need not wait
	for {
		now := time.Now()
		if now.After(f.expires) {
			return secret.Text{}, &failure{Code: exitRefused, Reason: "expired_token", Text: "Nobody answered in time.", Next: "Run 'valetkey login' again."}
		}
		if !now.Before(next) {
			var out api.TokenResponse
			err := oauthForm(ctx, f.server, "oauth/token", url.Values{"grant_type": {api.GrantDevice}, "client_id": {deviceClient}}, f.code, &out)
			switch {
			case err == nil && out.AccessToken != "":
				t.clear()
				return secret.New(out.AccessToken), nil
			case err == nil:
				return secret.Text{}, notOurs(http.StatusOK)
			case refusedFor(err, "authorization_pending"):
			case refusedFor(err, "slow_down"):
				f.interval += 5 * time.Second // RFC 8628 §3.5
			case unavailable(err): // a restart of the server does not end the login
			default:
				return secret.Text{}, err
			}
			next = time.Now().Add(f.interval)
		}
		t.progress("Waiting for you in the browser… %s left", left(f.expires, now))
		select {
		case <-ctx.Done():
			return secret.Text{}, ctx.Err()
		case <-tick.C:
		}
	}
}

func unavailable(err error) bool {
	var f *failure
	return errors.As(err, &f) && f.Code == exitUnavailable
}

// oauthForm sends a form to an OAuth endpoint; code is a device code, or none.
func oauthForm(ctx context.Context, server, path string, form url.Values, code secret.Text, out any) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	body := form.Encode()
	if !code.IsZero() {
		body += "&" + url.Values{"device_code": {code.Reveal()}}.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, server+path, strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("build the request: %w", err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.Header.Set("Accept", api.MediaJSON)
	req.Header.Set("User-Agent", "valetkey-cli")
	res, err := (&http.Client{CheckRedirect: noRedirect}).Do(req)
	if err != nil {
		if errors.Is(ctx.Err(), context.Canceled) {
			return context.Canceled
		}
		return &failure{Code: exitUnavailable, Reason: "unreachable", Text: fmt.Sprintf("The server at %s cannot be reached.", server), Next: "Check that it runs, and the address (--server URL).", Err: err}
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if err != nil {
		return notOurs(res.StatusCode)
	}
	if res.StatusCode/100 == 2 {
		if out != nil && (kind != api.MediaJSON || json.Unmarshal(raw, out) != nil) {
			return notOurs(res.StatusCode)
		}
		return nil
	}
	var e api.TokenError
	if kind != api.MediaJSON || json.Unmarshal(raw, &e) != nil || e.Error == "" {
		return notOurs(res.StatusCode)
	}
	return &answerError{status: res.StatusCode, problem: api.Problem{
		Type: "about:blank", Title: http.StatusText(res.StatusCode), Status: res.StatusCode, Reason: e.Error, Detail: e.Description, Action: e.Action,
	}}
}

// whoAmI asks for the name behind a fresh login. It is for the greeting only.
func whoAmI(ctx context.Context, server string, token secret.Text) string {
	me, err := get[api.Me](ctx, overNetwork(server, token), "v1/me", nil)
	if err != nil || me.User == nil {
		return ""
	}
	return me.User.Name
}

// openBrowser opens a page if this machine has a way to; the link is printed
// anyway, so a failure is nobody's concern.
func openBrowser(ctx context.Context, page string) {
	var cmd *exec.Cmd
	switch runtime.GOOS {
	case "darwin":
		cmd = exec.CommandContext(ctx, "open", page)
	case "windows":
		cmd = exec.CommandContext(ctx, "rundll32", "url.dll,FileProtocolHandler", page)
	default:
		if os.Getenv("DISPLAY") == "" && os.Getenv("WAYLAND_DISPLAY") == "" {
			return
		}
		cmd = exec.CommandContext(ctx, "xdg-open", page)
	}
	if cmd.Start() == nil {
		go func() { _ = cmd.Wait() }() // reaps the launcher, which ends by itself
	}
}

type logoutCommand struct{}

// Run ends the session at the server and forgets it here, also when the server
// cannot be asked.
func (c *logoutCommand) Run(r *run) error {
	path, err := loginPath(r.getenv)
	if err != nil {
		return err
	}
	all, err := readLogins(path)
	if err != nil {
		return err
	}
	want := r.Server
	if want == "" {
		want = r.getenv("VALETKEY_SERVER")
	}
	if want != "" {
		if want, err = serverURL(want); err != nil {
			return err
		}
	}
	server, l, ok := all.of(want)
	if !ok {
		if r.json {
			return r.print(loggedIn{Server: want})
		}
		r.note("You were not logged in.")
		return nil
	}
	ended := endSession(r.ctx, server, l.token)
	delete(all.servers, server)
	if all.current == server {
		all.current = ""
		for other := range all.servers {
			all.current = other
		}
	}
	if err := all.save(); err != nil {
		return err
	}
	if ended != nil {
		return &failure{Code: exitUnavailable, Reason: "not_ended", Err: ended,
			Text: fmt.Sprintf("The login was removed here, but %s could not be told to end it.", server),
			Next: "It ends by itself after 7 days without use; an owner can end it at once."}
	}
	if r.json {
		return r.print(loggedIn{Server: server, User: l.user})
	}
	r.say("Logged out at %s.", server)
	return nil
}

// endSession revokes the session that token is (RFC 7009).
func endSession(ctx context.Context, server string, token secret.Text) error {
	return oauthForm(ctx, server, "oauth/revoke", url.Values{"client_id": {deviceClient}, "token": {token.Reveal()}}, secret.Text{}, nil)
}

package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
	"github.com/valetkey/valetkey/internal/display"
)

// asAgent are the flags by which a command acts as an agent.
type asAgent struct {
	Key       string `placeholder:"FILE" help:"The agent's private key ($VALETKEY_KEY_FILE)."`
	KeyID     string `name:"key-id" placeholder:"KID" help:"Its kid, where that is not its thumbprint ($VALETKEY_KEY_ID)."`
	ClientID  string `name:"client-id" placeholder:"AGENT" help:"Name or id of the agent ($VALETKEY_CLIENT_ID)."`
	Address   string `placeholder:"URL" help:"Where the server is reached, if not at its public URL ($VALETKEY_ADDRESS)."`
	AllowHTTP bool   `name:"allow-http" help:"Permit plain http to another machine, over a way that is private."`

	issuer, reached string // whom it signs for, and where it sends that
}

func (c *asAgent) client(r *run) (*client.Client, error) {
	or := func(flag, env string) string {
		if flag != "" {
			return flag
		}
		return r.getenv(env)
	}
	path, name := or(c.Key, "VALETKEY_KEY_FILE"), or(c.ClientID, "VALETKEY_CLIENT_ID")
	switch {
	case path == "":
		return nil, usage("Make one with 'valetkey agent add NAME --new-key FILE', then pass --key FILE.", "Say with which key: this command is an agent's.")
	case name == "":
		return nil, usage("Pass --client-id NAME, or set VALETKEY_CLIENT_ID.", "Say as which agent.")
	}
	key, err := r.signingKey(path)
	if err != nil {
		return nil, err
	}
	if kid := or(c.KeyID, "VALETKEY_KEY_ID"); kid != "" {
		key = key.WithID(kid)
	}
	server := or(r.Server, "VALETKEY_SERVER")
	if server == "" {
		if server, err = r.serverToUse(); err != nil {
			return nil, err
		}
	}
	if server, err = agentsURL("--server", server, c.AllowHTTP); err != nil {
		return nil, err
	}
	c.issuer, c.reached = server, server
	address := or(c.Address, "VALETKEY_ADDRESS")
	if address != "" {
		if address, err = agentsURL("--address", address, c.AllowHTTP); err != nil {
			return nil, err
		}
		c.reached = address
	}
	cl, err := client.New(server, client.Options{ClientID: name, Key: key, UserAgent: "valetkey-cli", Address: address, AllowHTTP: c.AllowHTTP})
	if err != nil {
		return nil, usage("", "%s", sentence(strings.TrimPrefix(err.Error(), "new client: ")))
	}
	return cl, nil
}

// agentsURL reads the address of a server as an agent names it. It may have a
// path, and be plain http over a way that is private.
func agentsURL(flag, raw string, allowHTTP bool) (string, error) {
	s := withScheme(raw)
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", usage(flag+" looks like https://valetkey.example.com.", "%q is not the address of a server.", raw)
	case u.Scheme == "http" && !allowHTTP && !isLoopback(u.Hostname()):
		return "", usage("Use https, or say --allow-http if the way there is private.", "%s is plain http to another machine.", s)
	}
	return strings.TrimSuffix(s, "/") + "/", nil
}

// explain adds to a refusal what only this side can find out: an assertion that
// names another server than the one that answers is refused like a forged one
// (RFC 7523 §3), which tells nobody what is wrong. What the server calls itself
// is told and not used: a server that could choose the audience could have a
// signature made that it takes to another one.
func (c *asAgent) explain(r *run, err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.OAuth != "invalid_client" || c.reached == "" || e.ClockSkew != 0 {
		return err
	}
	var meta struct {
		Issuer string `json:"issuer"`
	}
	to := &remote{base: c.reached, http: &http.Client{CheckRedirect: noRedirect}}
	if to.ask(r.ctx, http.MethodGet, ".well-known/oauth-authorization-server", nil, nil, &meta) != nil || meta.Issuer == "" {
		return err
	}
	issuer, bad := agentsURL("--server", meta.Issuer, true)
	if bad != nil || issuer == c.issuer {
		return err
	}
	here, there := strings.TrimSuffix(c.reached, "/"), strings.TrimSuffix(issuer, "/")
	// Who passes that name signs for it, and must not send it to whoever said so.
	next := "If that is the one you mean, pass --server " + display.Shell(there)
	if c.reached != c.issuer {
		next += ", and leave out --address (or $VALETKEY_ADDRESS): its name leads to it"
	}
	return &failure{Code: exitRefused, Reason: "wrong_audience", Err: err,
		Text: fmt.Sprintf("The server at %s calls itself %s, and takes signatures for that name only; this one was for %s.", here, display.VisibleText(there), strings.TrimSuffix(c.issuer, "/")),
		Next: display.VisibleText(next) + "."}
}

type callCommand struct {
	Operation string `arg:"" optional:"" help:"Such as github.issues.create_comment; or the id of an action or its approval, to wait for it with --await."`
	asAgent
	Connection string   `short:"c" placeholder:"NAME" help:"Name or id of the connection; that of the operation's provider if left out."`
	Field      []string `short:"f" sep:"none" placeholder:"NAME=TEXT" help:"A parameter that is text. May be repeated."`
	Typed      []string `short:"F" name:"typed" sep:"none" placeholder:"NAME=JSON" help:"A parameter that is a number, true, false, null, a list or an object; NAME=@FILE reads it. May be repeated."`

	Method string   `help:"Of a raw request, with --path."`
	Path   string   `placeholder:"PATH" help:"Of a raw request: below the API base, escaped."`
	Query  string   `placeholder:"QUERY" help:"Of a raw request, as it goes over the wire."`
	Header []string `short:"H" sep:"none" placeholder:"NAME:VALUE" help:"Of a raw request. May be repeated."`
	Base   string   `placeholder:"URL" help:"Of a raw request: which of the provider's API bases."`
	Body   string   `placeholder:"TEXT|@FILE" help:"Of a raw request: sent byte for byte. @- reads standard input."`

	Note           string `help:"A word to the approver; it counts for nothing."`
	IdempotencyKey string `placeholder:"KEY" xor:"again" help:"Names the intent. Made of the request if left out: the same call again attaches to the action that waits, or has just ended."`
	Again          bool   `xor:"again" help:"Ask afresh, even if the same call waits or has just ended."`
	Await          bool   `help:"If a person has to approve first, wait for the end."`
	Stream         bool   `help:"Stream the answer, of any size. Waits as --await does."`
	Output         string `short:"o" placeholder:"FILE" help:"Write the answer's body to a file."`
	List           bool   `help:"List what this agent may do, and with which connections."`
	All            bool   `help:"With --list: also the operations that no grant covers."`
}

func (c *callCommand) Run(r *run) error { return c.explain(r, c.run(r)) }

func (c *callCommand) run(r *run) error {
	if c.List {
		return c.list(r)
	}
	if c.All {
		return usage("Pass --list, too.", "--all is for --list.")
	}
	if strings.HasPrefix(c.Operation, "act_") || strings.HasPrefix(c.Operation, "apr_") {
		return c.resume(r)
	}
	req, err := c.request(r)
	if err != nil {
		return err
	}
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	if req.Connection == "" {
		if req.Connection, err = usual(r.ctx, cl, c.Operation); err != nil {
			return err
		}
	}
	if req.IdempotencyKey == "" && !c.Again {
		req.IdempotencyKey = intent(req)
	}
	if c.Stream {
		r.progress("Waiting…")
		res, err := cl.Do(r.ctx, req)
		if err != nil {
			return c.suggest(r, cl, err)
		}
		defer res.Body.Close()
		return c.raw(r, res)
	}
	out, err := cl.Submit(r.ctx, req)
	if err != nil {
		return c.suggest(r, cl, err)
	}
	if out.Held == nil {
		return c.ran(r, out.Result)
	}
	return c.held(r, cl, out.Held)
}

// suggest names the operations that may have been meant by one that there is
// not.
func (c *callCommand) suggest(r *run, cl *client.Client, err error) error {
	var e *client.Error
	if !errors.As(err, &e) || e.Reason != "unknown_operation" && e.Reason != "bad_parameter" {
		return err
	}
	if e.Reason == "bad_parameter" {
		return c.parameter(r, cl, err)
	}
	var names []string
	if all, err := cl.Operations(r.ctx, c.Connection); err == nil {
		for _, o := range all {
			names = append(names, o.Name)
		}
	}
	return noOperation(c.Operation, names, "See them: "+c.command(r, "call", nil, "--list"))
}

// parameter says of a parameter that was refused how it would have been right:
// what is not text was given as text, or one was misspelt.
func (c *callCommand) parameter(r *run, cl *client.Client, refusal error) error {
	all, err := cl.Operations(r.ctx, c.Connection)
	if err != nil {
		return refusal
	}
	i := slices.IndexFunc(all, func(o api.Operation) bool { return o.Name == c.Operation })
	if i < 0 {
		return refusal
	}
	if next := corrected(all[i], c.Field, c.Typed); next != "" {
		return &failure{Code: judge(refusal).code, Reason: "bad_parameter", Text: sentence(judge(refusal).problem.Detail), Next: next, Err: refusal}
	}
	return refusal
}

// corrected is the first thing to put right about the fields of a call, or "".
func corrected(o api.Operation, text, typed []string) string {
	var names []string
	for _, p := range o.Params {
		names = append(names, p.Name)
	}
	for i, f := range append(slices.Clone(text), typed...) {
		name, value, _ := strings.Cut(f, "=")
		at := slices.Index(names, name)
		if at < 0 {
			if near := nearest(name, names); len(near) > 0 {
				return "Did you mean " + strings.Join(near, " or ") + "?"
			}
			continue
		}
		if i >= len(text) {
			continue
		}
		switch o.Params[at].Type {
		case "string":
		case "strings":
			return "Write -F " + display.Shell(name+"="+asJSON([]string{value}))
		default:
			return "Write -F " + display.Shell(f)
		}
	}
	return ""
}

// request makes the request from the flags.
func (c *callCommand) request(r *run) (api.ActionRequest, error) {
	req := api.ActionRequest{Connection: c.Connection, Operation: c.Operation, Note: c.Note, IdempotencyKey: c.IdempotencyKey}
	raw := c.Method != "" || c.Path != ""
	switch {
	case raw && c.Operation != "":
		return req, usage("Leave out --method and --path, or the operation.", "A call is an operation or a raw request, not both.")
	case !raw && c.Operation == "":
		return req, usage("For example: valetkey call github.issues.list -f owner=octo -f repo=api; --list shows what you may do.", "Say what to do.")
	case raw && (c.Method == "" || c.Path == ""):
		return req, usage("For example: --method GET --path /repos/octo/api", "A raw request needs both --method and --path.")
	case raw && c.Connection == "":
		return req, usage("Pass --connection NAME.", "Say through which connection.")
	case raw && len(c.Field)+len(c.Typed) > 0:
		return req, usage("Put it into --query or --body.", "A raw request has no fields.")
	case !raw && (c.Body != "" || c.Query != "" || c.Base != "" || len(c.Header) > 0):
		return req, usage("Use --method and --path for a raw request.", "An operation takes fields, and nothing raw.")
	}
	if !raw {
		var err error
		req.Params, err = c.params(r)
		return req, err
	}
	req.Method, req.Path, req.Query, req.Base = strings.ToUpper(c.Method), c.Path, strings.TrimPrefix(c.Query, "?"), c.Base
	req.Headers = map[string]string{}
	for _, h := range c.Header {
		name, value, ok := strings.Cut(h, ":")
		if !ok || strings.TrimSpace(name) == "" {
			return req, usage("It looks like -H 'accept: application/json'.", "%q is not a header.", h)
		}
		req.Headers[strings.ToLower(strings.TrimSpace(name))] = strings.TrimSpace(value)
	}
	if c.Body != "" {
		body, err := c.value(r, c.Body)
		if err != nil {
			return req, err
		}
		// As bytes, so that not a blank changes on the way.
		req.Body = body
		if _, said := req.Headers["content-type"]; !said && json.Valid(body) {
			req.Headers["content-type"] = api.MediaJSON
		}
	}
	if len(req.Headers) == 0 {
		req.Headers = nil
	}
	return req, nil
}

// intent names what a call is for after the call itself. A program that calls
// again, because it was told to wait or was started anew, gets the action that
// is there; nobody is asked twice.
func intent(req api.ActionRequest) string {
	req.Note = "" // says nothing about what is done
	raw, err := json.Marshal(req)
	if err != nil {
		return "" // then each call is an intent of its own
	}
	sum := sha256.Sum256(raw)
	return "cli-" + hex.EncodeToString(sum[:16])
}

// usual is the connection of an operation when none is named: that at the
// provider of the same name, or the only one there is.
func usual(ctx context.Context, cl *client.Client, operation string) (string, error) {
	all, err := cl.Connections(ctx)
	if err != nil {
		return "", err
	}
	name, _, _ := strings.Cut(operation, ".")
	var fit, names []string
	for _, k := range all {
		names = append(names, cell(k.Name, 60))
		if k.Provider == name {
			fit = append(fit, k.ID)
		}
	}
	switch {
	case len(fit) == 1:
		return fit[0], nil
	case len(fit) == 0 && len(all) == 1:
		return all[0].ID, nil
	case len(all) == 0:
		return "", &failure{Code: exitRefused, Reason: "no_grant", Text: "This agent has no grant for any connection.", Next: "Its owner gives one: valetkey grant add AGENT CONNECTION --operation NAME"}
	}
	return "", usage("Pass --connection: "+strings.Join(names, ", ")+".", "Several connections fit.")
}

const maxBody = 1 << 20

func (c *callCommand) value(r *run, s string) ([]byte, error) {
	if name, ok := strings.CutPrefix(s, "@"); ok {
		return r.readInput(name, maxBody)
	}
	return []byte(s), nil
}

func (c *callCommand) params(r *run) (map[string]any, error) {
	out := map[string]any{}
	take := func(field string) (name, value string, err error) {
		name, value, ok := strings.Cut(field, "=")
		if !ok || name == "" {
			return "", "", usage("It looks like -f title=Hello, or -F number=1.", "%q is not NAME=VALUE.", field)
		}
		if _, twice := out[name]; twice {
			return "", "", usage("A list goes as JSON: -F labels='[\"a\",\"b\"]'", "%s is given twice.", name)
		}
		return name, value, nil
	}
	for _, f := range c.Field {
		name, value, err := take(f)
		if err != nil {
			return nil, err
		}
		out[name] = value
	}
	for _, f := range c.Typed {
		name, value, err := take(f)
		if err != nil {
			return nil, err
		}
		raw, err := c.value(r, value)
		if err != nil {
			return nil, err
		}
		if !json.Valid(raw) {
			if strings.HasPrefix(value, "@") && utf8.Valid(raw) { // a file of text
				out[name] = string(raw)
				continue
			}
			return nil, usage(fmt.Sprintf("For text use: -f %s=…", name), "-F %s is not JSON.", name)
		}
		out[name] = json.RawMessage(raw)
	}
	return out, nil
}

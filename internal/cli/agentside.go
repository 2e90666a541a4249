package cli

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"strings"
	"time"
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
	key, err := client.LoadKey(path)
	if err != nil {
		return nil, usage("", "%s", sentence(err.Error()))
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
	cl, err := client.New(server, client.Options{
		ClientID: name, Key: key, UserAgent: "valetkey-cli", Address: or(c.Address, "VALETKEY_ADDRESS"), AllowHTTP: c.AllowHTTP,
	})
	if err != nil {
		return nil, usage("", "%s", sentence(strings.TrimPrefix(err.Error(), "new client: ")))
	}
	return cl, nil
}

type callCommand struct {
	Operation string `arg:"" optional:"" help:"Such as github.issues.create_comment; or the id of an action, to wait for it with --await."`
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
}

func (c *callCommand) Run(r *run) error {
	if c.List {
		return c.list(r)
	}
	if strings.HasPrefix(c.Operation, "act_") {
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
			return err
		}
		defer res.Body.Close()
		return c.raw(r, res)
	}
	out, err := cl.Submit(r.ctx, req)
	if err != nil {
		return err
	}
	if out.Held == nil {
		return c.ran(r, out.Result)
	}
	return c.held(r, cl, out.Held)
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
		return "", &failure{Code: exitRefused, Reason: "no_grant", Text: "This agent has no grant for any connection.", Next: "Its owner gives one: valetkey grant add AGENT CONNECTION --operation …"}
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

// ran prints what a permitted action brought.
func (c *callCommand) ran(r *run, res *api.ActionResult) error {
	if r.json {
		if err := r.print(res); err != nil {
			return err
		}
		return upstreamCode(res.Status)
	}
	r.note("%s", r.dim(fmt.Sprintf("%s: HTTP %d", res.Action, res.Status)))
	switch {
	case res.Truncated:
		return &failure{Code: exitFailed, Reason: "too_large", Text: "It was done, and the answer is larger than 1 MiB.", Next: "For a read, ask again with --stream."}
	case res.Body != nil:
		if err := c.write(r, append(indent(r, res.Body), '\n')); err != nil {
			return err
		}
	case len(res.BodyBase64) > 0:
		if err := c.write(r, res.BodyBase64); err != nil {
			return err
		}
	}
	return upstreamCode(res.Status)
}

// upstreamCode is the exit code for an answer of the upstream: that the call
// was made is not enough for a script that wants it to have worked.
func upstreamCode(status int) error {
	if status >= 400 {
		return quiet{exitFailed}
	}
	return nil
}

// indent makes JSON readable where a person looks at it; a pipe gets what the
// upstream sent.
func indent(r *run, raw json.RawMessage) []byte {
	if !r.tty {
		return raw
	}
	pretty, err := json.MarshalIndent(raw, "", "  ")
	if err != nil {
		return raw
	}
	return pretty
}

// write writes the body of an answer: to the file, or to standard output. On
// a terminal it is text that we did not write.
func (c *callCommand) write(r *run, body []byte) error {
	r.clear()
	if c.Output != "" {
		if err := os.WriteFile(c.Output, body, 0o600); err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		return nil
	}
	if r.tty {
		for _, line := range strings.SplitAfter(string(body), "\n") {
			text, end := strings.CutSuffix(line, "\n")
			fmt.Fprint(r.out, display.VisibleText(text))
			if end {
				fmt.Fprintln(r.out)
			}
		}
		return nil
	}
	_, err := r.out.Write(body)
	return err
}

// raw streams an answer.
func (c *callCommand) raw(r *run, res *client.Response) error {
	r.clear()
	if r.json {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return lostAnswer(r.ctx, http.MethodGet, err)
		}
		return c.ran(r, asResult(res, body))
	}
	r.note("%s", r.dim(fmt.Sprintf("%s: HTTP %d", res.Action, res.Status)))
	kind, _, _ := mime.ParseMediaType(res.Header.Get("Content-Type"))
	if c.Output == "" && r.tty {
		body, err := io.ReadAll(res.Body)
		if err != nil {
			return lostAnswer(r.ctx, http.MethodGet, err)
		}
		if kind == api.MediaJSON || strings.HasSuffix(kind, "+json") {
			body = append(indent(r, body), '\n')
		}
		if err := c.write(r, body); err != nil {
			return err
		}
		return upstreamCode(res.Status)
	}
	out := r.out
	if c.Output != "" {
		f, err := os.OpenFile(c.Output, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
		if err != nil {
			return fmt.Errorf("write the answer: %w", err)
		}
		defer f.Close()
		out = f
	}
	if _, err := io.Copy(out, res.Body); err != nil {
		return &failure{Code: exitFailed, Reason: "answer_cut", Text: "The answer was cut off.", Next: "For a read, ask again.", Err: err}
	}
	return upstreamCode(res.Status)
}

func asResult(res *client.Response, body []byte) *api.ActionResult {
	out := &api.ActionResult{Action: res.Action, State: api.StateSucceeded, Status: res.Status, Headers: res.Header}
	if json.Valid(body) && len(body) > 0 {
		out.Body = body
	} else {
		out.BodyBase64 = body
	}
	return out
}

// held goes on with an action that waits for a person, or attached to one.
func (c *callCommand) held(r *run, cl *client.Client, a *api.Action) error {
	if !a.Final && !c.Await {
		if r.json {
			if err := r.print(a); err != nil {
				return err
			}
			return quiet{exitHeld}
		}
		r.say("%s %s", a.State, a.ID)
		if a.Approval != nil {
			r.note("A person has to approve this: %s", cell(a.Approval.URL, 300))
		}
		for _, why := range a.Explanation {
			r.note("  - %s", cell(why, 400))
		}
		r.note("To wait for it: valetkey call %s --await", a.ID)
		return quiet{exitHeld}
	}
	if !a.Final {
		var err error
		if a, err = c.await(r, cl, a); err != nil {
			return err
		}
	}
	return c.ended(r, cl, a)
}

// await waits for people, showing for how long.
func (c *callCommand) await(r *run, cl *client.Client, a *api.Action) (*api.Action, error) {
	if a.Approval != nil && a.State == api.StatePending {
		r.note("Waiting for a person to approve %s: %s", a.ID, cell(a.Approval.URL, 300))
	}
	ctx, stop := context.WithCancel(r.ctx)
	defer stop()
	done := make(chan struct{})
	go func() {
		defer close(done)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		began := time.Now()
		for {
			select {
			case <-ctx.Done():
				return
			case now := <-tick.C:
				r.progress("Waiting for %s… %s", a.ID, now.Sub(began).Round(time.Second))
			}
		}
	}()
	end, err := cl.Await(r.ctx, a.ID)
	stop()
	<-done
	r.clear()
	if err != nil && r.ctx.Err() != nil {
		return nil, &failure{Code: exitHeld, Reason: client.ReasonWaiting, Text: "You stopped waiting; the action goes on.", Next: "Wait again with: valetkey call " + a.ID + " --await"}
	}
	return end, err
}

// ended prints how a held action ended, and what the upstream answered.
func (c *callCommand) ended(r *run, cl *client.Client, a *api.Action) error {
	code := endCode(a.State)
	if r.json {
		if err := r.print(a); err != nil {
			return err
		}
		if code == exitOK && a.Outcome != nil {
			return upstreamCode(a.Outcome.Status)
		}
		return quiet{code}
	}
	if a.Replayed {
		r.note("This is the answer to an earlier request: nothing was sent again.")
	}
	if a.Outcome != nil && a.Outcome.Response {
		res, err := cl.Response(r.ctx, a.ID)
		if err != nil {
			return err
		}
		defer res.Body.Close()
		err = c.raw(r, res)
		if code != exitOK {
			return quiet{code}
		}
		return err
	}
	why := ""
	if a.Outcome != nil && a.Outcome.Why != "" {
		why = a.Outcome.Why
	}
	f := &failure{Code: code, Reason: string(a.State)}
	switch a.State {
	case api.StateSucceeded:
		r.note("%s", r.dim(fmt.Sprintf("%s succeeded; its answer is no longer kept.", a.ID)))
		return nil
	case api.StateDenied:
		f.Text, f.Next = "A person denied it.", why
		if why != "" {
			f.Text, f.Next = "A person denied it:", sentence(why)
		}
		return f
	case api.StateUnknown:
		f.Text, f.Next = "It was sent and the provider's answer was lost: it may have happened.", "Look before repeating it."
		return f
	case api.StateExpired:
		f.Text, f.Next = "Nobody answered in time.", "Ask again if it still matters."
		return f
	}
	f.Text = fmt.Sprintf("The action is %s.", a.State)
	if why != "" {
		f.Text = fmt.Sprintf("The action is %s: %s", a.State, sentence(why))
	}
	return f
}

func endCode(s api.ActionState) int {
	switch s {
	case api.StateSucceeded:
		return exitOK
	case api.StateDenied, api.StateExpired, api.StateCancelled, api.StateRevoked:
		return exitRefused
	case api.StateFailed:
		return exitFailed
	case api.StateProposed, api.StatePending, api.StateApproved, api.StateExecuting:
		return exitHeld
	}
	return exitUnknown
}

// resume waits for an action that was asked for earlier.
func (c *callCommand) resume(r *run) error {
	if !c.Await {
		return usage("Wait for it with: valetkey call "+c.Operation+" --await", "%s is an action, not an operation.", c.Operation)
	}
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	a, err := c.await(r, cl, &api.Action{ID: c.Operation})
	if err != nil {
		return err
	}
	return c.ended(r, cl, a)
}

// list shows the connections that the agent has grants for.
func (c *callCommand) list(r *run) error {
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	ops, err := cl.Operations(r.ctx, c.Connection)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(api.Page[api.Operation]{Items: append([]api.Operation{}, ops...)})
	}
	cons, err := cl.Connections(r.ctx)
	if err != nil {
		return err
	}
	for _, k := range cons {
		for _, g := range k.Grants {
			r.note("%s: %s at %s, %s on %s, %s", cell(k.Name, 60), cell(k.Account, 60), cell(k.Provider, 40), cell(strings.Join(g.Operations, ", "), 100), onWhat(g), until(g))
		}
	}
	return r.operations(ops)
}

type tokenCommand struct {
	asAgent
	Connection string   `short:"c" required:"" placeholder:"NAME" help:"Name or id of the connection."`
	User       string   `placeholder:"USER" help:"Id of the user whose account it is; found by the connection if left out."`
	Scope      []string `sep:"," placeholder:"SCOPE" help:"Narrower than what the connection has. May be repeated."`
	LoginHint  string   `placeholder:"ID" help:"The provider's id of the account, where the user has several."`
	Why        string   `default:"valetkey token" placeholder:"TEXT" help:"What it is for; goes into the audit log."`
	Reveal     bool     `help:"Print the token even though a terminal would show it."`
}

func (c *tokenCommand) Run(r *run) error {
	if r.tty && !c.Reveal {
		return usage("Pipe it to where it is needed, or say --reveal.", "A token does not belong on a screen, whose scrollback keeps it.")
	}
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	who := c.User
	if who == "" {
		if who, err = ownerOf(r.ctx, cl, c.Connection); err != nil {
			return err
		}
	}
	tok, err := cl.Exchange(r.ctx, client.ExchangeRequest{User: who, Connection: c.Connection, Scopes: c.Scope, LoginHint: c.LoginHint, AuditContext: c.Why})
	if err != nil {
		return err
	}
	r.note("%s", r.dim(fmt.Sprintf("Good until %s. Revoking the grant stops the next one, not this one.", when(tok.ExpiresAt))))
	return r.printToken(tok)
}

// printToken writes a token to standard output, which was asked for.
func (r *run) printToken(tok client.Token) error {
	if r.json {
		return r.print(api.TokenResponse{
			AccessToken: tok.Access.Reveal(), TokenType: tok.Type, ExpiresIn: int64(time.Until(tok.ExpiresAt) / time.Second),
			Scope: strings.Join(tok.Scopes, " "), IssuedTokenType: tok.IssuedType,
		})
	}
	_, err := fmt.Fprintln(r.out, tok.Access.Reveal())
	return err
}

// ownerOf finds whose account a connection is, among those the agent may use.
func ownerOf(ctx context.Context, cl *client.Client, connection string) (string, error) {
	all, err := cl.Connections(ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for _, k := range all {
		if k.ID != connection && k.Name != connection && k.Provider != connection {
			continue
		}
		if found != "" && found != k.User {
			return "", usage("Pass --user.", "Several people have such a connection.")
		}
		found = k.User
	}
	if found == "" {
		return "", &failure{Code: exitNotFound, Reason: "connection_not_found", Text: fmt.Sprintf("This agent has no grant for a connection %s.", cell(connection, 60)), Next: "'valetkey call --list' shows what it has."}
	}
	return found, nil
}

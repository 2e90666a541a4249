package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

type agentCommand struct {
	Keygen  agentKeygen  `cmd:"" help:"Make a key pair for an agent: the private half goes to a file, the public half is printed."`
	Add     agentAdd     `cmd:"" help:"Register an agent with its public key, or make the pair here."`
	List    agentList    `cmd:"" help:"List agents."`
	Show    agentShow    `cmd:"" help:"Show an agent and its keys."`
	Suspend agentSuspend `cmd:"" help:"Stop an agent until it is resumed."`
	Resume  agentResume  `cmd:"" help:"Let a suspended agent go on."`
	Rotate  agentRotate  `cmd:"" help:"Give an agent another key, and revoke old ones."`
	Allow   agentAllow   `cmd:"" help:"Let an agent call from more networks."`
	Profile agentProfile `cmd:"" help:"Choose the rules by which an agent's tokens are judged."`
}

// keyFlags are the two ways to name a key.
type keyFlags struct {
	Key    string `placeholder:"FILE" xor:"key" help:"Its public key: PEM or JWK. '-' reads standard input."`
	NewKey string `placeholder:"FILE" xor:"key" help:"Make a key pair here: the private half goes to this new file and never leaves it, the public half is registered."`
	Alg    string `placeholder:"ALG" help:"For RSA keys RS256 (default), RS384 or PS256; with --new-key also ES256 (default) or EdDSA."`
}

// public returns the public key to register, and what undoes the making of a
// new one.
func (k *keyFlags) public(r *run) (text string, undo func(), err error) {
	switch {
	case k.Key == "" && k.NewKey == "":
		return "", nil, usage("For example: --new-key agent.pem", "Say which key: --new-key FILE makes a pair, --key FILE takes a public one.")
	case k.NewKey != "":
		key, err := newKey(k.NewKey, k.Alg)
		if err != nil {
			return "", nil, err
		}
		return key.PublicPEM(), func() { _ = os.Remove(k.NewKey) }, nil
	}
	raw, err := r.readInput(k.Key, 64<<10)
	if err != nil {
		return "", nil, err
	}
	if isPrivate(raw) {
		return "", nil, usage("Register the public half, such as of: openssl pkey -in KEY -pubout", "%s holds a private key. It was not sent, and must not be: it belongs to the agent alone.", k.Key)
	}
	return string(raw), func() {}, nil
}

// newKey makes a key pair and keeps the private half in a new file.
func newKey(path, alg string) (*client.Key, error) {
	key, err := client.GenerateKey(client.Alg(alg))
	if err != nil {
		return nil, usage("", "%s", sentence(err.Error()))
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, usage("Choose another place.", "The directory of %s cannot be made.", path)
	}
	err = key.Save(path)
	switch {
	case errors.Is(err, fs.ErrExist):
		return nil, usage("Choose another name, or use the key that is there.", "%s exists already, and a key is never overwritten.", path)
	case err != nil:
		return nil, usage("Choose another place.", "The key cannot be kept in %s.", path)
	}
	return key, nil
}

type agentKeygen struct {
	Out string `required:"" short:"o" placeholder:"FILE" help:"New file for the private half, readable by you alone."`
	Alg string `placeholder:"ALG" help:"ES256 (default), EdDSA, RS256, RS384 or PS256."`
}

// Run asks nobody: a key is made where the agent runs.
func (c *agentKeygen) Run(r *run) error {
	key, err := newKey(c.Out, c.Alg)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(api.AgentKeyRequest{Key: key.PublicPEM(), Alg: registeredAlg(c.Alg)})
	}
	r.note("The private half is in %s. Register this public half:", c.Out)
	fmt.Fprint(r.out, key.PublicPEM())
	return nil
}

// isPrivate recognises private keys before they are sent: PEM of any label,
// and JWKs with a private member (RFC 7518 §6).
func isPrivate(raw []byte) bool {
	s := string(raw)
	if strings.Contains(s, "PRIVATE KEY") {
		return true
	}
	var any struct {
		D, K, P, Q json.RawMessage
		Keys       []struct{ D, K, P, Q json.RawMessage }
	}
	if json.Unmarshal(raw, &any) != nil {
		return false
	}
	for _, k := range any.Keys {
		if k.D != nil || k.K != nil || k.P != nil || k.Q != nil {
			return true
		}
	}
	return any.D != nil || any.K != nil || any.P != nil || any.Q != nil
}

type agentAdd struct {
	Name string `arg:"" help:"1 to 63 of a-z, 0-9, dot, dash and underscore."`
	keyFlags
	From    []string `placeholder:"CIDR" help:"Network it may call from; this machine only if left out. May be repeated."`
	Profile string   `enum:"strict,compat-2025" default:"strict" help:"strict, or compat-2025 for programs written for another token vault."`
	Owner   string   `placeholder:"USER" help:"Whose agent it is: name or id."`
}

func (c *agentAdd) Run(r *run) error {
	for _, s := range c.From {
		if _, err := prefix(s); err != nil {
			return usage("It looks like 203.0.113.7/32.", "--from %q is not a network.", s)
		}
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	key, undo, err := c.public(r)
	if err != nil {
		return err
	}
	a, err := change[api.Agent](r.ctx, to, http.MethodPost, "v1/admin/agents", api.AgentRequest{
		Name: c.Name, Owner: c.Owner, Profile: c.Profile, Sources: c.From, Key: key, Alg: registeredAlg(c.Alg),
	})
	if err != nil {
		r.forget(&c.keyFlags, undo, err)
		return err
	}
	if r.json {
		return r.print(a)
	}
	r.say("Registered %s (%s).", cell(a.Name, 63), a.ID)
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), cell(w, 500))
	}
	if c.NewKey != "" {
		path, err := filepath.Abs(c.NewKey)
		if err != nil {
			path = c.NewKey
		}
		r.note("Its private key is %s, readable by you alone. The agent needs:\n", path)
		if to.public != "" {
			r.note("  export VALETKEY_SERVER=%s", strings.TrimSuffix(to.public, "/"))
		}
		r.note("  export VALETKEY_CLIENT_ID=%s\n  export VALETKEY_KEY_FILE=%s\n", a.Name, path)
	}
	r.note("It may do nothing yet: valetkey grant add %s CONNECTION --operation …", a.Name)
	return nil
}

// forget removes a new key whose registration was refused. It stays if the
// answer was lost, for then it may be registered, and if somebody may still
// confirm it.
func (r *run) forget(k *keyFlags, undo func(), err error) {
	if k.NewKey == "" {
		return
	}
	switch {
	case isOpen(err):
		r.note("The private key is in %s; its public half is registered when the proposal is confirmed.", k.NewKey)
	case judge(err).code == exitUnknown:
		r.note("The private key stays in %s: it may be registered.", k.NewKey)
	default:
		undo()
	}
}

// registeredAlg is the algorithm to tell the server: it asks only for RSA.
func registeredAlg(alg string) string {
	switch client.Alg(alg) {
	case client.ES256, client.EdDSA:
		return ""
	}
	return alg
}

type agentList struct{}

func (c *agentList) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	page, err := list[api.Agent](r.ctx, to, "v1/admin/agents", nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(page)
	}
	var rows [][]string
	for _, a := range page.Items {
		seen := when(a.SeenAt)
		if seen == "" {
			seen = "never"
		}
		rows = append(rows, []string{cell(a.Name, 63), a.Status, a.Profile, strings.Join(a.Sources, " "), seen, a.ID})
	}
	return r.table("There is no agent yet. 'valetkey agent add NAME --new-key FILE' makes one.", []string{"NAME", "STATUS", "PROFILE", "FROM", "LAST SEEN", "ID"}, rows)
}

type agentRef struct {
	Agent string `arg:"" help:"Name or id."`
}

func (a agentRef) path() string { return "v1/admin/agents/" + segment(a.Agent) }

type agentShow struct{ agentRef }

func (c *agentShow) Run(r *run) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	a, err := get[api.Agent](r.ctx, to, c.path(), nil)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(a)
	}
	seen := when(a.SeenAt)
	if seen == "" {
		seen = "never"
	}
	if err := r.fields("name", cell(a.Name, 63), "id", a.ID, "status", a.Status, "profile", a.Profile, "owner", a.Owner,
		"from", strings.Join(a.Sources, "\n"), "since", when(a.CreatedAt), "last seen", seen); err != nil {
		return err
	}
	r.say("")
	var rows [][]string
	for _, k := range a.Keys {
		rows = append(rows, []string{k.ID, k.Alg, k.Status, when(k.CreatedAt), cell(k.KID, 60)})
	}
	if err := r.table("It has no keys.", []string{"KEY", "ALG", "STATUS", "SINCE", "KID"}, rows); err != nil {
		return err
	}
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), cell(w, 500))
	}
	return nil
}

type agentSuspend struct{ agentRef }

func (c *agentSuspend) Run(r *run) error {
	return r.changeAgent(c.agentRef, api.AgentChange{Status: "suspended"})
}

type agentResume struct{ agentRef }

func (c *agentResume) Run(r *run) error {
	return r.changeAgent(c.agentRef, api.AgentChange{Status: "active"})
}

type agentAllow struct {
	agentRef
	From []string `arg:"" name:"cidr" help:"Networks or addresses to add."`
}

func (c *agentAllow) Run(r *run) error {
	for _, s := range c.From {
		if _, err := prefix(s); err != nil {
			return usage("It looks like 203.0.113.7/32.", "%q is not a network.", s)
		}
	}
	return r.changeAgent(c.agentRef, api.AgentChange{Sources: c.From})
}

type agentProfile struct {
	agentRef
	Profile string `arg:"" enum:"strict,compat-2025" help:"strict or compat-2025."`
}

func (c *agentProfile) Run(r *run) error {
	return r.changeAgent(c.agentRef, api.AgentChange{Profile: c.Profile})
}

func (r *run) changeAgent(ref agentRef, what api.AgentChange) error {
	to, err := r.reach()
	if err != nil {
		return err
	}
	a, err := change[api.Agent](r.ctx, to, http.MethodPatch, ref.path(), what)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(a)
	}
	r.say("%s is %s, profile %s, may call from %s.", cell(a.Name, 63), a.Status, a.Profile, strings.Join(a.Sources, ", "))
	for _, w := range a.Warnings {
		r.note("%s %s", r.yellow("warning:"), cell(w, 500))
	}
	return nil
}

type agentRotate struct {
	agentRef
	keyFlags
	Revoke []string `placeholder:"KEY" help:"Id of a key to revoke, with every token it earned. May be repeated."`
}

func (c *agentRotate) Run(r *run) error {
	if c.Key == "" && c.NewKey == "" && len(c.Revoke) == 0 {
		return usage("For example: valetkey agent rotate NAME --new-key FILE, and when the agent uses it: --revoke KEY", "Say what to do: add a key, or revoke one.")
	}
	to, err := r.reach()
	if err != nil {
		return err
	}
	var out []api.AgentKey
	if c.Key != "" || c.NewKey != "" {
		key, undo, err := c.public(r)
		if err != nil {
			return err
		}
		k, err := change[api.AgentKey](r.ctx, to, http.MethodPost, c.path()+"/keys", api.AgentKeyRequest{Key: key, Alg: registeredAlg(c.Alg)})
		if err != nil {
			r.forget(&c.keyFlags, undo, err)
			return err
		}
		out = append(out, k)
	}
	for _, old := range c.Revoke {
		k, err := change[api.AgentKey](r.ctx, to, http.MethodDelete, c.path()+"/keys/"+segment(old), nil)
		if err != nil {
			return err
		}
		out = append(out, k)
	}
	if r.json {
		return r.print(api.Page[api.AgentKey]{Items: out})
	}
	for _, k := range out {
		word := "Added"
		if k.Status != "active" {
			word = "Revoked"
		}
		r.say("%s %s (%s, kid %s).", word, k.ID, k.Alg, cell(k.KID, 60))
	}
	if len(c.Revoke) == 0 {
		r.note("The old keys still work. When the agent uses the new one: %s", fmt.Sprintf("valetkey agent show %s, then agent rotate %s --revoke KEY", c.Agent, c.Agent))
	}
	return nil
}

package cli

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// kindFlags say which kind of key pair to make.
type kindFlags struct {
	Type string `enum:"p256,ed25519,rsa," default:"" placeholder:"p256|ed25519|rsa" help:"Kind of pair to make; p256 if left out, rsa has 2048 bits."`
	Alg  string `placeholder:"ALG" help:"How it signs, where the kind leaves a choice: an RSA key RS256 (default), RS384 or PS256."`
}

// algorithm is what the flags say together: the kind chooses it, and --alg
// among those of the kind.
func (k *kindFlags) algorithm() (client.Alg, error) {
	kinds := map[string][]client.Alg{
		"p256": {client.ES256}, "ed25519": {client.EdDSA}, "rsa": {client.RS256, client.RS384, client.PS256},
	}
	fits, ok := kinds[k.Type]
	if !ok || k.Alg == "" {
		return append(fits, client.Alg(k.Alg))[0], nil
	}
	for _, a := range fits {
		if string(a) == k.Alg {
			return a, nil
		}
	}
	return "", usage("Leave out --alg, or choose another --type.", "A key of type %s does not sign %s.", k.Type, k.Alg)
}

// keyFlags are the two ways to name a key.
type keyFlags struct {
	Key    string `placeholder:"FILE" xor:"key" help:"Its public key: PEM or JWK. '-' reads standard input."`
	NewKey string `placeholder:"FILE" xor:"key" help:"Make a key pair here: the private half goes to this new file and never leaves it, the public half is registered."`
	kindFlags
}

// public returns the public key to register, its algorithm where the server
// has to be told, and what undoes the making of a new one.
func (k *keyFlags) public(r *run) (req api.AgentKeyRequest, undo func(), err error) {
	alg, err := k.algorithm()
	switch {
	case err != nil:
		return req, nil, err
	case k.Key == "" && k.NewKey == "":
		return req, nil, usage("For example: --new-key agent.key", "Say which key: --new-key FILE makes a pair, --key FILE takes a public one.")
	case k.NewKey != "":
		key, err := newKey(k.NewKey, alg)
		if err != nil {
			return req, nil, err
		}
		return registration(key), func() { _ = os.Remove(k.NewKey) }, nil
	case k.Type != "":
		return req, nil, usage("Leave out --type, or make a pair with --new-key.", "--type is for a new key; that of %s shows in it.", k.Key)
	}
	raw, err := r.readInput(k.Key, 64<<10)
	if err != nil {
		return req, nil, err
	}
	if isPrivate(raw) {
		return req, nil, usage("Register the public half, such as of: openssl pkey -in KEY -pubout", "%s holds a private key. It was not sent, and must not be: it belongs to the agent alone.", k.Key)
	}
	return api.AgentKeyRequest{Key: string(raw), Alg: told(alg)}, func() {}, nil
}

// registration is what the server is told of a key that was made here.
func registration(key *client.Key) api.AgentKeyRequest {
	return api.AgentKeyRequest{Key: key.PublicPEM(), Alg: told(key.Alg())}
}

// told is the algorithm to tell the server, which asks for it only where the
// key leaves a choice.
func told(alg client.Alg) string {
	switch alg {
	case client.ES256, client.EdDSA:
		return ""
	}
	return string(alg)
}

// newKey makes a key pair and keeps the private half in a new file.
func newKey(path string, alg client.Alg) (*client.Key, error) {
	if path == "-" {
		return nil, usage("Name a new file; it is made readable by you alone.", "A private key is not written to standard output.")
	}
	key, err := client.GenerateKey(alg)
	if err != nil {
		return nil, usage("--type chooses: p256, ed25519 or rsa.", "%s", sentence(strings.TrimPrefix(err.Error(), "generate key: ")))
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
	Out string `required:"" short:"o" placeholder:"FILE" help:"New file for the private half, readable by you alone. Its directory is made where it is missing."`
	kindFlags
}

// Run asks nobody: a key is made where the agent runs.
func (c *agentKeygen) Run(r *run) error {
	alg, err := c.algorithm()
	if err != nil {
		return err
	}
	key, err := newKey(c.Out, alg)
	if err != nil {
		return err
	}
	if r.json {
		return r.print(registration(key))
	}
	r.note("The private half is in %s (%s), readable by you alone. Register this public half:", c.Out, key.Alg())
	fmt.Fprint(r.out, key.PublicPEM())
	r.maybe("On the machine of the server, or with a login:", r.command("agent add", operands{"NAME"}, "--key", "FILE"))
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

// isPublic recognises the half that is of no use for signing: PEM and JWK.
func isPublic(raw []byte) bool {
	if isPrivate(raw) {
		return false
	}
	if block, _ := pem.Decode(raw); block != nil {
		_, err := x509.ParsePKIXPublicKey(block.Bytes)
		return err == nil || strings.HasSuffix(block.Type, "PUBLIC KEY") || block.Type == "CERTIFICATE"
	}
	var jwk struct{ Kty string }
	return json.Unmarshal(raw, &jwk) == nil && jwk.Kty != ""
}

// signingKey loads the private key that a command of an agent signs with.
func (r *run) signingKey(path string) (*client.Key, error) {
	if path == "-" {
		return nil, usage("Name the file that 'valetkey agent keygen' made.", "A private key is read from a file of its own, not from standard input.")
	}
	raw, err := r.readInput(path, 64<<10)
	if err != nil {
		return nil, err
	}
	if isPublic(raw) {
		next := "It is the file that 'valetkey agent keygen --out FILE' or 'agent add --new-key FILE' made."
		if other, ok := private(path); ok {
			next = "The private half seems to be " + other + "."
		}
		return nil, usage(next, "%s holds a public key; signing as the agent takes the private half.", path)
	}
	key, err := client.LoadKey(path)
	if err != nil {
		return nil, usage("", "%s", sentence(strings.TrimPrefix(err.Error(), "load key: ")))
	}
	return key, nil
}

// private guesses where the private half of a public key lies: beside it, under
// a name of the same stem.
func private(public string) (string, bool) {
	stem := strings.TrimSuffix(public, filepath.Ext(public))
	for _, name := range []string{stem + ".key", stem + ".pem", stem} {
		if name == public {
			continue
		}
		info, err := os.Stat(name)
		if err != nil || !info.Mode().IsRegular() || info.Size() > 64<<10 {
			continue
		}
		if raw, err := os.ReadFile(name); err == nil && isPrivate(raw) {
			return name, true
		}
	}
	return "", false
}

// forget removes a new key whose registration was refused. It stays where it
// may be registered, now or when somebody confirms it.
func (r *run) forget(k *keyFlags, undo func(), err error) {
	if k.NewKey == "" {
		return
	}
	switch code := judge(err).code; {
	case isOpen(err):
		r.note("The private key is in %s; its public half is registered when the proposal is confirmed.", k.NewKey)
	case code == exitUnknown, code == exitInterrupted:
		r.note("The private key stays in %s: its public half may be registered. If 'valetkey agent show' does not have it, register it with --key, or delete the file.", k.NewKey)
	default:
		undo()
	}
}

package approval_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/fxamacker/cbor/v2"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/approval"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// passkey is a key that signs assertions, made as a browser would.
type passkey struct {
	key  *ecdsa.PrivateKey
	cose []byte
	id   id.Passkey
}

func newPasskey(t testing.TB) *passkey {
	t.Helper()
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	public, err := k.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	cose, err := cbor.Marshal(map[int]any{1: 2, 3: -7, -1: 1, -2: public[1:33], -3: public[33:]})
	if err != nil {
		t.Fatal(err)
	}
	return &passkey{k, cose, id.NewPasskey()}
}

func (k *passkey) hash() string {
	h := sha256.Sum256(k.cose)
	return hex.EncodeToString(h[:])
}

func (k *passkey) assert(t testing.TB, who id.User, challenge [32]byte, at time.Time) []byte {
	t.Helper()
	client, err := json.Marshal(map[string]any{
		"type": "webauthn.get", "challenge": base64.RawURLEncoding.EncodeToString(challenge[:]), "origin": "https://vk.test",
	})
	if err != nil {
		t.Fatal(err)
	}
	rp := sha256.Sum256([]byte("vk.test"))
	data := binary.BigEndian.AppendUint32(append(rp[:], 0x05), 7) // present and verified
	ch := sha256.Sum256(client)
	digest := sha256.Sum256(append(bytes.Clone(data), ch[:]...))
	sig, err := ecdsa.SignASN1(rand.Reader, k.key, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(user.Evidence{
		Format: "valetkey/passkey-evidence/v1", RPID: "vk.test", Origin: "https://vk.test", User: who, Passkey: k.id,
		CredentialID: []byte("credential"), PublicKey: k.cose, Challenge: challenge[:], ClientDataJSON: client, AuthenticatorData: data, Signature: sig, At: at,
	})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// history is a log in memory.
type history struct {
	frontier audit.Frontier
	hashes   []tlog.Hash
	leaves   [][]byte
}

func (h *history) add(t testing.TB, events ...audit.Event) {
	t.Helper()
	next, b, err := h.frontier.Append(events)
	if err != nil {
		t.Fatal(err)
	}
	h.frontier, h.hashes, h.leaves = next, append(h.hashes, b.Hashes...), append(h.leaves, b.Encoded...)
}

func (h *history) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		var out []tlog.Hash
		for _, i := range at {
			out = append(out, h.hashes[i])
		}
		return out, nil
	})
}

// told is one decided action: its receipt, and the keys and heads of somebody
// who kept them.
type told struct {
	receipt  *approval.Receipt
	signer   *audit.Signer
	verifier *audit.Verifier
	head     audit.Head
	log      *history
	mallory  *passkey
}

func (o *told) trust() approval.Trust {
	return approval.Trust{Keys: o.verifier, Checkpoints: []audit.Head{o.head}}
}

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

// tell lets a critical action be asked, approved with a passkey, and run.
func tell(t testing.TB) *told {
	t.Helper()
	skey, vkey, err := audit.GenerateKey("vk.test")
	if err != nil {
		t.Fatal(err)
	}
	o := &told{log: &history{}, mallory: newPasskey(t)}
	if o.signer, err = audit.NewSigner(skey); err != nil {
		t.Fatal(err)
	}
	if o.verifier, err = audit.NewVerifier(vkey); err != nil {
		t.Fatal(err)
	}
	mira, key := id.NewUser(), newPasskey(t)
	party := action.Party{Org: "org_1", User: mira, Agent: id.NewAgent(), Connection: id.NewConnection(), Account: "583231"}
	req := &action.Request{Method: "DELETE", Scheme: "https", Host: "api.github.com", Port: "443", Path: "/repos/octo/attic", Body: []byte("<why & how>")}
	a := action.New(party, req, "", noon)
	a.Operation, a.Summary, a.Resource, a.Risk, a.Provider = "github.repos.delete", "Delete octo/attic", "repository:octo/attic", "critical", "github"
	ap := approval.New(a, approval.StepUp, time.Hour, noon)
	ap.PolicyVersion, ap.SpecHash, ap.Rules, ap.Why = "v7", "abc", []string{"critical"}, []string{"It deletes a repository."}
	must := func(e audit.Event, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		o.log.add(t, e)
	}
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	enrol := func(k *passkey, who id.User) audit.Event {
		return audit.Event{At: noon, Org: "org_1", Verb: "passkey.enrolled", Actor: "user:" + string(who), Object: string(k.id), Subject: string(who), Data: map[string]string{"key": k.hash()}}
	}
	must(enrol(key, mira), nil)
	must(a.Hold(ap.ID, ap.ExpiresAt, noon))
	must(ap.Opened(a, "agent:"+string(party.Agent), noon), nil)
	saw := strings.Repeat("5a", 32)
	answered := *ap
	answered.Precondition = saw
	evidence := key.assert(t, mira, answered.Digest(approval.Yes), at(9))
	must(ap.Decide(approval.Yes, approval.Decider{User: mira, Channel: "web", Level: approval.StepUp, Evidence: evidence, Precondition: saw}, a.Effect, "", at(10)))
	must(a.Approve("user:"+string(mira), at(10)))
	must(ap.Spend(a.Effect, at(11)))
	must(a.Claim(a.Effect, at(11)))
	must(a.Finish(action.Outcome{State: action.Succeeded, Status: 204}, at(12)))
	must(enrol(o.mallory, mira), nil)

	finished := a.FinishedAt
	digest := ap.Digest(approval.Yes)
	o.receipt = &approval.Receipt{
		Format: approval.ReceiptFormat, Issuer: "https://vk.test/", LogKey: vkey, IssuedAt: at(20),
		Action: approval.ReceiptAction{
			ID: a.ID, Org: a.Org, User: a.User, Agent: a.Agent, AgentName: "triage", Connection: a.Connection, Account: a.Account, Handle: "octocat",
			Provider: a.Provider, Operation: a.Operation, Summary: a.Summary, Resource: a.Resource, Risk: a.Risk, Effect: a.Effect.String(),
			Salt: base64.StdEncoding.EncodeToString(a.Salt), Request: req, State: a.State, Status: a.Status, CreatedAt: a.CreatedAt, FinishedAt: &finished,
		},
		Question: approval.ReceiptQuestion{
			ID: ap.ID, Level: ap.Level, PolicyVersion: ap.PolicyVersion, SpecHash: ap.SpecHash, Nonce: base64.StdEncoding.EncodeToString(ap.Nonce),
			OpenedAt: ap.CreatedAt, ExpiresAt: ap.ExpiresAt, Rules: ap.Rules, Why: ap.Why,
		},
		Decisions: []approval.ReceiptDecision{{
			Answer: approval.Yes, Digest: hex.EncodeToString(digest[:]), By: mira, ByName: "Mira", At: ap.DecidedAt, Channel: "web", Level: approval.StepUp, Precondition: saw, Evidence: evidence,
		}},
	}
	o.show(t)
	return o
}

// show anchors the log as it is and puts the events that the receipt wants
// into it, signed by the server.
func (o *told) show(t testing.TB) {
	t.Helper()
	o.head = o.log.frontier.Head()
	cp, err := o.signer.Sign(o.head, noon.Add(time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	var leaves [][]byte
	for _, raw := range o.log.leaves {
		e, err := audit.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		for _, want := range o.receipt.Wanted() {
			if e.Verb == want.Verb && e.Object == want.Object && (want.Actor == "" || e.Actor == want.Actor) {
				leaves = append(leaves, raw)
			}
		}
	}
	o.receipt.Events, o.receipt.Checkpoint = nil, string(cp)
	if err := o.receipt.Show(leaves, o.head.Size, o.log.reader()); err != nil {
		t.Fatal(err)
	}
	if err := o.receipt.Sign(o.signer); err != nil {
		t.Fatal(err)
	}
}

// retell writes the log anew, as a server with its keys could, and shows that.
func (o *told) retell(t testing.TB, change func(*audit.Event) bool) {
	t.Helper()
	anew := &history{}
	for _, raw := range o.log.leaves {
		e, err := audit.Decode(raw)
		if err != nil {
			t.Fatal(err)
		}
		if change(&e) {
			anew.add(t, e)
		}
	}
	o.log = anew
	o.show(t)
}

func links(v *approval.Verification) string {
	var b strings.Builder
	for _, l := range v.Links {
		b.WriteString(string(l.Strength) + " " + l.Name + ": " + l.Detail + "\n")
	}
	return b.String()
}

func strength(v *approval.Verification, name string) approval.Strength {
	for _, l := range v.Links {
		if l.Name == name {
			return l.Strength
		}
	}
	return ""
}

// Who holds the log's key and a checkpoint needs to believe nobody.
func TestReceipt(t *testing.T) {
	o := tell(t)
	doc, err := o.receipt.Encode()
	if err != nil {
		t.Fatal(err)
	}
	r, err := approval.ParseReceipt(doc)
	if err != nil {
		t.Fatal(err)
	}
	v := r.Verify(o.trust())
	if !v.OK() || v.Leans() {
		t.Errorf("not every link holds:\n%s", links(v))
	}
	for _, name := range []string{"signature", "log", "checkpoint", "request", "words", "decision", "presence", "key", "execution"} {
		if got := strength(v, name); got != approval.Holds {
			t.Errorf("%s is %q", name, got)
		}
	}

	// With less in hand less is known, and it says so.
	for _, c := range []struct {
		name  string
		trust approval.Trust
		link  string
		want  approval.Strength
	}{
		{"no key", approval.Trust{}, "signature", approval.Leans},
		{"no checkpoint", approval.Trust{Keys: o.verifier}, "checkpoint", approval.Leans},
		{"another history", approval.Trust{Keys: o.verifier, Checkpoints: []audit.Head{{Size: o.head.Size}}}, "checkpoint", approval.Broken},
		{"another log's key", approval.Trust{Keys: tell(t).verifier}, "signature", approval.Broken},
	} {
		if got := strength(r.Verify(c.trust), c.link); got != c.want {
			t.Errorf("%s: %s is %q, want %q", c.name, c.link, got, c.want)
		}
	}
}

// A server that lies, and signs what it says, is caught by everything that is
// not its own word.
func TestReceiptOfALiar(t *testing.T) {
	mallory := newPasskey(t)
	for name, c := range map[string]struct {
		lie   func(*told)
		link  string
		resay bool // sign the lie
	}{
		"denied, and run": {func(o *told) {
			o.retell(t, func(e *audit.Event) bool {
				if e.Verb == "approval.granted" {
					e.Verb = "approval.denied"
				}
				return true
			})
		}, "execution", true},
		"nobody's answer": {func(o *told) { o.receipt.Decisions = []approval.ReceiptDecision{} }, "execution", true},
		"answered too late": {func(o *told) {
			o.retell(t, func(e *audit.Event) bool {
				if e.Verb == "approval.granted" {
					e.At = noon.Add(2 * time.Hour)
					o.receipt.Decisions[0].At = e.At
				}
				return true
			})
		}, "decision", true},
		"run too late": {func(o *told) {
			o.retell(t, func(e *audit.Event) bool {
				if e.Verb == "action.executing" {
					e.At = noon.Add(2 * time.Hour)
				}
				return true
			})
		}, "execution", true},
		"run without a record": {func(o *told) { o.retell(t, func(e *audit.Event) bool { return e.Verb != "action.executing" }) }, "execution", true},
		"another status":       {func(o *told) { o.receipt.Action.Status = 500 }, "execution", true},
		"another why":          {func(o *told) { o.receipt.Action.Why = "upstream_500" }, "execution", true},
		"another end":          {func(o *told) { at := noon; o.receipt.Action.FinishedAt = &at }, "execution", true},
		"another operation":    {func(o *told) { o.receipt.Action.Operation = "github.repos.get" }, "words", true},
		"another summary":      {func(o *told) { o.receipt.Action.Summary = "Look at octo/attic" }, "words", true},
		"another risk":         {func(o *told) { o.receipt.Action.Risk = "low" }, "words", true},
		"other reasons":        {func(o *told) { o.receipt.Question.Why = []string{"It reads."} }, "words", true},
		"another time":         {func(o *told) { o.receipt.Decisions[0].At = noon }, "decision", true},
		"another channel":      {func(o *told) { o.receipt.Decisions[0].Channel = "cli" }, "decision", true},
		"another level":        {func(o *told) { o.receipt.Decisions[0].Level = approval.Approve }, "decision", true},
		"unsigned change":      {func(o *told) { o.receipt.Action.AgentName = "another" }, "signature", false},
		"another request":      {func(o *told) { o.receipt.Action.Request.Path = "/repos/octo/api" }, "request", true},
		"another body":         {func(o *told) { o.receipt.Action.Request.Body[0] ^= 1 }, "request", true},
		"another account":      {func(o *told) { o.receipt.Action.Account = "1" }, "request", true},
		"another effect":       {func(o *told) { o.receipt.Action.Effect = strings.Repeat("00", 32) }, "decision", true},
		"another salt":         {func(o *told) { o.receipt.Action.Salt = "AAAA" }, "execution", true},
		"later expiry":         {func(o *told) { o.receipt.Question.ExpiresAt = noon.Add(48 * time.Hour) }, "decision", true},
		"milder question":      {func(o *told) { o.receipt.Question.Level = approval.Approve }, "decision", true},
		"other rules":          {func(o *told) { o.receipt.Question.PolicyVersion = "v8" }, "decision", true},
		"another person":       {func(o *told) { o.receipt.Decisions[0].By = id.NewUser() }, "decision", true},
		"the other answer":     {func(o *told) { o.receipt.Decisions[0].Answer = approval.No }, "decision", true},
		"no evidence":          {func(o *told) { o.receipt.Decisions[0].Evidence = nil }, "decision", true},
		"another outcome":      {func(o *told) { o.receipt.Action.State = action.Failed }, "execution", true},
		"no passkey touch":     {func(o *told) { o.receipt.Events = o.receipt.Events[:1] }, "decision", true},
		"a foreign passkey":    {func(o *told) { forge(t, o, mallory) }, "decision", true},
		"another view":         {func(o *told) { o.receipt.Decisions[0].Precondition = strings.Repeat("00", 32) }, "decision", true},
		"no view":              {func(o *told) { o.receipt.Decisions[0].Precondition = "" }, "decision", true},
	} {
		t.Run(name, func(t *testing.T) {
			o := tell(t)
			c.lie(o)
			if c.resay {
				if err := o.receipt.Sign(o.signer); err != nil {
					t.Fatal(err)
				}
			}
			v := o.receipt.Verify(o.trust())
			if v.OK() || strength(v, c.link) != approval.Broken {
				t.Errorf("believed:\n%s", links(v))
			}
		})
	}

	// Even a whole new history cannot give an answer to a passkey that was
	// enrolled after it.
	o := tell(t)
	d := &o.receipt.Decisions[0]
	var digest [32]byte
	if _, err := hex.Decode(digest[:], []byte(d.Digest)); err != nil {
		t.Fatal(err)
	}
	d.Evidence = o.mallory.assert(t, d.By, digest, noon)
	sum := sha256.Sum256(d.Evidence)
	o.retell(t, func(e *audit.Event) bool {
		if e.Verb == "approval.granted" {
			e.Data["evidence"] = hex.EncodeToString(sum[:])
		}
		return true
	})
	if v := o.receipt.Verify(o.trust()); v.OK() || strength(v, "key") != approval.Broken {
		t.Errorf("believed a key of later:\n%s", links(v))
	}
}

// forge lets another key sign the same decision.
func forge(t testing.TB, o *told, k *passkey) {
	d := &o.receipt.Decisions[0]
	var digest [32]byte
	if _, err := hex.Decode(digest[:], []byte(d.Digest)); err != nil {
		t.Fatal(err)
	}
	d.Evidence = k.assert(t, d.By, digest, noon)
}

// There is one spelling, and no byte of it can change.
func TestReceiptBytes(t *testing.T) {
	o := tell(t)
	doc, err := o.receipt.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for name, other := range map[string]string{
		"a member twice":    strings.Replace(string(doc), `"issuer"`, `"issuer": "x", "issuer"`, 1),
		"an unknown member": strings.Replace(string(doc), `"issuer"`, `"also": 1, "issuer"`, 1),
		"another order":     strings.Replace(string(doc), `"format": "valetkey/receipt/v1",`, "", 1) + `"format"`,
		"another case":      strings.Replace(string(doc), `"issuer"`, `"Issuer"`, 1),
		"another escape":    strings.Replace(string(doc), "octocat", `octoc\u0061t`, 1),
		"another format":    strings.Replace(string(doc), "receipt/v1", "receipt/v2", 1),
		"more behind it":    string(doc) + "{}",
	} {
		if _, err := approval.ParseReceipt([]byte(other)); err == nil {
			t.Errorf("%s: was read", name)
		}
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		t.Fatal(err)
	}
	believed := 0
	for i := range compact.Len() {
		other := bytes.Clone(compact.Bytes())
		other[i] ^= 1
		r, err := approval.ParseReceipt(other)
		if err == nil && r.Verify(o.trust()).OK() {
			believed++
			t.Errorf("byte %d changed from %q to %q: believed", i, compact.Bytes()[i], other[i])
		}
		if believed > 5 {
			t.FailNow()
		}
	}
}

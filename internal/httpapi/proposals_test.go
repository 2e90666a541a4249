package httpapi_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-webauthn/webauthn/webauthn"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
)

// proposed is something that the operator proposed.
func (w *world) proposed() *proposal.Proposal {
	w.t.Helper()
	p, err := w.App.Proposals.Open(w.t.Context(), user.Principal{Org: id.DefaultOrg, Operator: true, UID: os.Getuid()},
		proposal.Request{Method: "PUT", Path: "/v1/admin/providers/github", Body: []byte(`{"client_id":"x"}`)}, time.Now())
	if err != nil {
		w.t.Fatal(err)
	}
	return p
}

// touch is the evidence of a passkey of p for one digest, as the login service
// returns it.
func (w *world) touch(p user.Principal, digest [32]byte) []byte {
	w.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		w.t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes()
	if err != nil {
		w.t.Fatal(err)
	}
	// A COSE key (RFC 9053 §7.1.1): EC2, ES256, P-256, x, y.
	public := slices.Concat([]byte{0xa5, 1, 2, 3, 0x26, 0x20, 1, 0x21, 0x58, 32}, point[1:33], []byte{0x22, 0x58, 32}, point[33:])
	credential := []byte(id.NewPasskey())
	record, err := json.Marshal(webauthn.Credential{ID: credential, PublicKey: public})
	if err != nil {
		w.t.Fatal(err)
	}
	now := time.Now()
	k := &user.Passkey{Org: id.DefaultOrg, ID: id.NewPasskey(), User: p.User, CredentialID: credential, Name: "key", Credential: record, CreatedAt: now, Version: 1}
	if err := w.App.DB.Users().Passkeys().Enrol(w.t.Context(), k, nil, now, nil); err != nil {
		w.t.Fatal(err)
	}
	const origin = "http://localhost"
	client, err := json.Marshal(map[string]string{"type": "webauthn.get", "challenge": base64.RawURLEncoding.EncodeToString(digest[:]), "origin": origin})
	if err != nil {
		w.t.Fatal(err)
	}
	party, hash := sha256.Sum256([]byte("localhost")), sha256.Sum256(client)
	data := append(party[:], 5, 0, 0, 0, 1) // present and verified; a counter
	signed := sha256.Sum256(slices.Concat(data, hash[:]))
	signature, err := ecdsa.SignASN1(rand.Reader, key, signed[:])
	if err != nil {
		w.t.Fatal(err)
	}
	b, err := json.Marshal(user.Evidence{
		Format: "valetkey/passkey-evidence/v1", RPID: "localhost", Origin: origin, User: p.User, Passkey: k.ID, CredentialID: credential,
		PublicKey: public, Challenge: digest[:], ClientDataJSON: client, AuthenticatorData: data, Signature: signature, At: now,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return b
}

// confirm has p confirm what was proposed, on the road that the page takes.
func (w *world) confirm(p user.Principal, ref string) (*proposal.Proposal, error) {
	w.t.Helper()
	v, err := w.App.DB.Proposals().Proposal(w.t.Context(), id.DefaultOrg, id.Proposal(ref))
	if err != nil {
		w.t.Fatal(err)
	}
	return w.App.Proposals.Confirm(w.t.Context(), p, v.ID, v.Digest, w.touch(p, v.Digest), time.Now())
}

// propose sends what becomes a proposal.
func (w *world) propose(by who, method, path string, body any) api.Proposal {
	w.t.Helper()
	a := w.send(by, method, path, body)
	if a.status != 202 || !strings.HasPrefix(a.header.Get("Location"), "/v1/proposals/prp_") {
		w.t.Fatalf("%s %s: %d %.300s", method, path, a.status, a.body)
	}
	return into[api.Proposal](w.t, a)
}

func reason(err error) string { return fault.From(err).Reason }

// What the operator proposes is done when an owner confirms it, and only then.
func TestOperatorProposes(t *testing.T) {
	w := newWorld(t).furnish()
	w.enrol(w.mira)
	olga := w.person("olga", user.Owner)
	op := w.socket0()
	asked := w.propose(op, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "from-the-socket", ClientSecret: "hush-hush"})
	if asked.State != api.ProposalOpen || !strings.HasPrefix(asked.URL, w.Config.PublicURL+"proposals/prp_") || !strings.Contains(asked.Summary, `"github"`) {
		t.Errorf("proposed: %+v", asked)
	}
	if got := w.clientID(); got == "from-the-socket" {
		t.Fatal("it was done before anybody confirmed it")
	}
	waited := make(chan api.Proposal, 1)
	go func() {
		waited <- into[api.Proposal](t, w.raw(w.request(op, "GET", "/v1/proposals/"+asked.ID+"?wait=60", nil), op))
	}()
	if _, err := w.confirm(olga, asked.ID); err != nil {
		t.Fatal(err)
	}
	got := <-waited
	var made api.Provider
	if err := json.Unmarshal(got.Answer, &made); err != nil || got.State != api.ProposalConfirmed || got.Status != 200 || made.ClientID != "from-the-socket" || !made.HasSecret {
		t.Errorf("the answer to who waited: %+v %s", got, got.Answer)
	}
	if got := w.clientID(); got != "from-the-socket" {
		t.Errorf("the client id is %s", got)
	}
	// The log has who proposed it, who confirmed it, and in whose name it was done.
	actors := map[string]string{}
	for _, e := range w.events(0) {
		actors[e.Verb] = e.Actor
	}
	for verb, actor := range map[string]string{"proposal.opened": "operator:", "proposal.confirmed": olga.Actor(), "provider.set": olga.Actor(), "proposal.finished": olga.Actor()} {
		if !strings.HasPrefix(actors[verb], actor) {
			t.Errorf("%s by %q, want %s; all: %v", verb, actors[verb], actor, actors)
		}
	}
	// The answer is for who asked and who confirmed; the body is gone.
	adam := w.person("adam", user.Admin)
	if seen := into[api.Proposal](t, w.send(w.browser(adam), "GET", "/v1/proposals/"+asked.ID, nil)); seen.Status != 200 || seen.Answer != nil {
		t.Errorf("another admin sees the answer: %+v", seen)
	}
	if v, err := w.App.DB.Proposals().Proposal(t.Context(), id.DefaultOrg, id.Proposal(asked.ID)); err != nil || v.Body != nil {
		t.Errorf("the body after it was done: %d bytes, %v", len(v.Body), err)
	}
	if _, err := w.confirm(olga, asked.ID); reason(err) != "proposal_not_open" {
		t.Errorf("confirmed twice: %v", err)
	}
}

func (w *world) clientID() string {
	w.t.Helper()
	p, err := w.App.Providers.Find(w.t.Context(), "github")
	if err != nil {
		w.t.Fatal(err)
	}
	return p.ClientID
}

// Who may not confirm does not; each is told no more than they may know.
func TestWhoConfirms(t *testing.T) {
	w := newWorld(t).furnish()
	w.enrol(w.mira)
	olga, adam := w.person("olga", user.Owner), w.person("adam", user.Admin)
	mine := w.propose(w.commandLine(adam), "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "adams"})
	theirs := w.propose(w.socket0(), "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "operators"})
	at := func(ref string) *proposal.Proposal {
		v, err := w.App.DB.Proposals().Proposal(t.Context(), id.DefaultOrg, id.Proposal(ref))
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	other := at(theirs.ID).Digest
	cli := adam
	cli.Kind = user.CLI
	for name, c := range map[string]struct {
		by     user.Principal
		ref    string
		seen   func(*proposal.Proposal) [32]byte
		touch  func(*proposal.Proposal) []byte
		now    time.Time
		reason string
	}{
		"another owner, an admin's own": {by: olga, ref: mine.ID, reason: "proposal_not_found"},
		"a member, the operator's":      {by: w.mira, ref: theirs.ID, reason: "proposal_not_found"},
		"an auditor, the operator's":    {by: w.person("ada", user.Auditor), ref: theirs.ID, reason: "proposal_not_found"},
		"its own command line":          {by: cli, ref: mine.ID, reason: "browser_required"},
		"the operator, the operator's":  {by: user.Principal{Org: id.DefaultOrg, Operator: true, UID: os.Getuid()}, ref: theirs.ID, reason: "proposal_not_found"},
		"a digest of another":           {by: adam, ref: mine.ID, seen: func(*proposal.Proposal) [32]byte { return other }, reason: "proposal_stale"},
		"a touch for another":           {by: adam, ref: mine.ID, touch: func(*proposal.Proposal) []byte { return w.touch(adam, other) }, reason: "presence_required"},
		"a touch of somebody else":      {by: adam, ref: mine.ID, touch: func(p *proposal.Proposal) []byte { return w.touch(olga, p.Digest) }, reason: "presence_required"},
		"no touch":                      {by: adam, ref: mine.ID, touch: func(*proposal.Proposal) []byte { return nil }, reason: "presence_required"},
		"a touch of no passkey here": {by: adam, ref: mine.ID, touch: func(p *proposal.Proposal) []byte {
			return bytes.Replace(w.touch(adam, p.Digest), []byte(`"publicKey":"p`), []byte(`"publicKey":"q`), 1)
		}, reason: "presence_required"},
		"too late":           {by: adam, ref: mine.ID, now: time.Now().Add(proposal.TTL), reason: "proposal_expired"},
		"one that never was": {by: adam, ref: string(id.NewProposal()), reason: "proposal_not_found"},
		"another org":        {by: func() user.Principal { p := adam; p.Org = "org_other"; return p }(), ref: mine.ID, reason: "proposal_not_found"},
	} {
		v := &proposal.Proposal{}
		if c.ref == mine.ID || c.ref == theirs.ID {
			v = at(c.ref)
		}
		seen, evidence, now := v.Digest, w.touch(c.by, v.Digest), time.Now()
		if c.seen != nil {
			seen = c.seen(v)
		}
		if c.touch != nil {
			evidence = c.touch(v)
		}
		if !c.now.IsZero() {
			now = c.now
		}
		if _, err := w.App.Proposals.Confirm(t.Context(), c.by, id.Proposal(c.ref), seen, evidence, now); reason(err) != c.reason {
			t.Errorf("%s: %v, want %s", name, err, c.reason)
		}
	}
	if got := w.clientID(); got == "adams" || got == "operators" {
		t.Fatalf("one of them changed the provider: %s", got)
	}
	// Who may not see it is not told that it is there; a command line has no way
	// to confirm at all.
	for name, by := range map[string]who{"owner": w.browser(olga), "operator": w.socket0(), "member": w.commandLine(w.mira)} {
		if p := w.send(by, "GET", "/v1/proposals/"+mine.ID, nil).problem(t); p.Reason != "proposal_not_found" {
			t.Errorf("%s sees adam's: %+v", name, p)
		}
	}
	for _, m := range []string{"POST", "PUT", "PATCH", "DELETE"} {
		if a := w.raw(w.request(w.commandLine(adam), m, "/v1/proposals/"+mine.ID, nil), who{}); a.status != 400 && a.status != 405 {
			t.Errorf("%s of a proposal: %d", m, a.status)
		}
	}
	// A second session of the same person does not get the first one's answer.
	if _, err := w.confirm(adam, mine.ID); err != nil {
		t.Fatal(err)
	}
	if got := into[api.Proposal](t, w.send(w.commandLine(adam), "GET", "/v1/proposals/"+mine.ID, nil)); got.Status != 200 || got.Answer != nil {
		t.Errorf("another login of adam: %+v", got)
	}
}

// A confirmation adds no authority: what is carried out is judged again, as a
// request of who confirmed.
func TestPerformingJudgesAgain(t *testing.T) {
	w := newWorld(t).furnish()
	adam := w.person("adam", user.Admin)
	by := w.commandLine(adam)
	asked := w.propose(by, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "adams"})
	demoted := adam
	demoted.Role = user.Member
	if _, err := w.confirm(demoted, asked.ID); err != nil {
		t.Fatal(err)
	}
	got := into[api.Proposal](t, w.send(by, "GET", "/v1/proposals/"+asked.ID, nil))
	var p api.Problem
	if err := json.Unmarshal(got.Answer, &p); err != nil || got.Status != 403 || p.Reason != "not_allowed" {
		t.Errorf("carried out for a member: %+v %s", got, got.Answer)
	}
	if got.State != api.ProposalFailed {
		t.Errorf("the state of what was refused is %s", got.State)
	}
	// What cannot be done is refused at once: nobody is asked for their passkey.
	for name, c := range map[string]struct {
		method, path, reason string
		body                 any
	}{
		"rules that are none":      {"PUT", "/v1/admin/policies/extra", "bad_policy", api.PolicyRequest{Text: "nonsense"}},
		"a provider on the inside": {"PUT", "/v1/admin/providers/forge", "bad_provider", api.ProviderRequest{Spec: "github", Base: &api.BaseURLs{API: []string{"https://10.0.0.1/api"}}}},
		"no such catalogue entry":  {"PUT", "/v1/admin/providers/forge", "provider_not_found", api.ProviderRequest{Spec: "gitlib"}},
		"a name that is taken":     {"POST", "/v1/admin/agents", "", api.AgentRequest{Name: "triage", Key: "no key"}},
	} {
		a := w.send(by, c.method, c.path, c.body)
		var p api.Problem
		if err := json.Unmarshal(a.body, &p); err != nil || a.status/100 != 4 || c.reason != "" && p.Reason != c.reason {
			t.Errorf("%s: %d %.200s, want %s", name, a.status, a.body, c.reason)
		}
	}
	// Only what can be proposed can be carried out, and only like this.
	held := w.freshHeld()
	body, err := json.Marshal(api.Decision{Decision: "approve", Effect: held.Effect})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []proposal.Request{
		{Method: "POST", Path: "/v1/approvals/" + held.Approval.ID + "/decision", Body: body},
		{Method: "GET", Path: "/v1/me"}, {Method: "POST", Path: "/v1/actions", Body: []byte("{}")}, {Method: "POST", Path: "no path"},
		{Method: "PUT", Path: "/v1/admin/../admin/providers/github", Body: []byte(`{"client_id":"x"}`)},
	} {
		if status, _ := w.api.Perform(t.Context(), w.mira, r); status != 404 && status != 400 {
			t.Errorf("%s %s: %d", r.Method, r.Path, status)
		}
	}
	cli := adam
	cli.Kind = user.CLI
	if status, _ := w.api.Perform(t.Context(), cli, proposal.Request{Method: "PUT", Path: "/v1/admin/providers/github", Body: []byte(`{"client_id":"x"}`)}); status == 200 {
		t.Error("carried out for a command line")
	}
	// Somebody who goes away does not stop it halfway.
	asked = w.propose(by, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "walked-away"})
	v, err := w.App.DB.Proposals().Proposal(t.Context(), id.DefaultOrg, id.Proposal(asked.ID))
	if err != nil {
		t.Fatal(err)
	}
	ctx, gone := context.WithCancel(t.Context())
	perform := w.App.Proposals.Perform
	w.App.Proposals.Perform = func(ctx context.Context, p user.Principal, r proposal.Request) (int, []byte) {
		gone()
		return perform(ctx, p, r)
	}
	if _, err := w.App.Proposals.Confirm(ctx, adam, v.ID, v.Digest, w.touch(adam, v.Digest), time.Now()); err != nil || w.clientID() != "walked-away" {
		t.Errorf("carried out for somebody who left: %v, %s", err, w.clientID())
	}
}

// A refused or forgotten proposal does nothing; neither does it linger.
func TestProposalsEnd(t *testing.T) {
	w := newWorld(t).furnish()
	w.enrol(w.mira)
	olga := w.person("olga", user.Owner)
	op := w.socket0()
	asked := w.propose(op, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "refused", ClientSecret: "hush"})
	if err := w.App.Proposals.Refuse(t.Context(), w.mira, id.Proposal(asked.ID), time.Now()); reason(err) != "proposal_not_found" {
		t.Errorf("refused by a member: %v", err)
	}
	if err := w.App.Proposals.Refuse(t.Context(), olga, id.Proposal(asked.ID), time.Now()); err != nil {
		t.Fatal(err)
	}
	if got := into[api.Proposal](t, w.send(op, "GET", "/v1/proposals/"+asked.ID+"?wait=60", nil)); got.State != api.ProposalRefused || got.Status != 0 {
		t.Errorf("refused: %+v", got)
	}
	if _, err := w.confirm(olga, asked.ID); reason(err) != "proposal_not_open" {
		t.Errorf("confirmed after it was refused: %v", err)
	}
	late := w.propose(op, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "late"})
	if err := w.App.Proposals.Sweep(t.Context(), time.Now().Add(proposal.TTL)); err != nil {
		t.Fatal(err)
	}
	if got := into[api.Proposal](t, w.send(op, "GET", "/v1/proposals/"+late.ID+"?wait=60", nil)); got.State != api.ProposalExpired {
		t.Errorf("expired: %+v", got)
	}
	for _, ref := range []string{asked.ID, late.ID} {
		if v, err := w.App.DB.Proposals().Proposal(t.Context(), id.DefaultOrg, id.Proposal(ref)); err != nil || v.Body != nil {
			t.Errorf("%s keeps its body: %v", ref, err)
		}
	}
	if w.clientID() == "refused" || w.clientID() == "late" {
		t.Errorf("it was done: %s", w.clientID())
	}
	if err := w.App.Proposals.Sweep(t.Context(), time.Now().Add(proposal.Kept+time.Minute)); err != nil {
		t.Fatal(err)
	}
	if p := w.send(op, "GET", "/v1/proposals/"+late.ID, nil).problem(t); p.Status != 404 {
		t.Errorf("a day later: %+v", p)
	}
}

// What never becomes a proposal: what one's role does not allow, what is no
// change, what a browser has to touch its passkey for, a decision, a freeze;
// and more than twenty at once.
func TestNoProposal(t *testing.T) {
	w := newWorld(t).furnish()
	w.enrol(w.mira)
	cli, held := w.commandLine(w.mira), w.freshHeld()
	for name, c := range map[string]struct {
		by           who
		method, path string
		body         any
		status       int
		reason       string
	}{
		"a member's provider":  {cli, "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "x"}, 403, "not_allowed"},
		"a member's user":      {cli, "POST", "/v1/admin/users", api.UserRequest{Name: "eve"}, 403, "not_allowed"},
		"an auditor's agent":   {w.commandLine(w.person("ada", user.Auditor)), "POST", "/v1/admin/agents", api.AgentRequest{Name: "x", Key: publicKey(t)}, 403, "not_allowed"},
		"somebody else's":      {w.commandLine(w.person("vera", user.Member)), "PATCH", "/v1/admin/agents/triage", api.AgentChange{Status: "suspended"}, 404, "agent_not_found"},
		"a decision":           {cli, "POST", "/v1/approvals/" + held.Approval.ID + "/decision", api.Decision{Decision: "approve", Effect: held.Effect}, 403, "browser_required"},
		"a stale browser":      {who{cookie: w.login(w.person("olga", user.Owner), user.Browser, time.Now().Add(-time.Hour))}, "POST", "/v1/admin/users", api.UserRequest{Name: "eve"}, 403, "confirm_required"},
		"an unknown member":    {w.socket0(), "POST", "/v1/admin/users", `{"name":"eve","admin":true}`, 400, "unknown_member"},
		"a body where no body": {w.socket0(), "POST", "/v1/admin/users/mira/enrol-link", `{}`, 400, "unexpected_body"},
	} {
		before := w.size()
		p := w.send(c.by, c.method, c.path, c.body).problem(t)
		if p.Status != c.status || p.Reason != c.reason {
			t.Errorf("%s: %+v", name, p)
		}
		if n := w.refusals(before); n != 1 {
			t.Errorf("%s was recorded %d times", name, n)
		}
	}
	before := w.size()
	for range proposal.Most {
		w.propose(w.socket0(), "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "x"})
	}
	if n := len(w.events(before)); n != proposal.Most {
		t.Errorf("%d events for %d proposals", n, proposal.Most)
	}
	if p := w.send(w.socket0(), "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "x"}).problem(t); p.Status != 429 || p.Reason != "too_many_proposals" {
		t.Errorf("one more: %+v", p)
	}
	if f := w.send(w.socket0(), "POST", "/v1/admin/freezes", api.FreezeRequest{Kind: "all"}); f.status != 201 {
		t.Errorf("a freeze with all that waiting: %d", f.status)
	}
	// What the log has of a proposal is not what is in it.
	if slices.ContainsFunc(w.events(0), func(e audit.Event) bool { return strings.Contains(string(e.Encode()), `"x"`) }) {
		t.Error("content is in the log")
	}
}

// What is stored is what was proposed, or it is not carried out.
func TestProposalIsBoundToItsBytes(t *testing.T) {
	w := newWorld(t).furnish()
	adam := w.person("adam", user.Admin)
	one := w.propose(w.commandLine(adam), "PUT", "/v1/admin/providers/github", api.ProviderRequest{ClientID: "shown"})
	two := w.proposed()
	for name, change := range map[string]func(*proposal.Proposal){
		"path":           func(p *proposal.Proposal) { p.Path = "/v1/admin/providers/other" },
		"method":         func(p *proposal.Proposal) { p.Method = "DELETE" },
		"user":           func(p *proposal.Proposal) { p.User = "" },
		"body":           func(p *proposal.Proposal) { p.Body = nil },
		"summary":        func(p *proposal.Proposal) { p.Summary = "Nothing." },
		"expiry":         func(p *proposal.Proposal) { p.ExpiresAt = p.ExpiresAt.Add(time.Hour) },
		"another's body": func(p *proposal.Proposal) { p.Body = two.Body },
	} {
		var was proposal.Proposal
		set := func(change func(*proposal.Proposal)) {
			err := w.App.DB.Proposals().UpdateProposal(t.Context(), id.DefaultOrg, id.Proposal(one.ID), func(p *proposal.Proposal) ([]audit.Event, error) {
				was = *p
				change(p)
				return nil, nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		set(change)
		back := was
		if _, err := w.confirm(adam, one.ID); err == nil || fault.From(err).Kind != fault.Internal {
			t.Errorf("with another %s: %v", name, err)
		}
		set(func(p *proposal.Proposal) { v := p.Version; *p = back; p.Version = v })
	}
	if _, err := w.confirm(adam, one.ID); err != nil || w.clientID() != "shown" {
		t.Errorf("as it was: %v, %s", err, w.clientID())
	}
}

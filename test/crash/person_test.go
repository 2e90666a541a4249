package crash_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/sandbox"
)

// person is somebody with a browser and a passkey, both made of software. They
// go the way of the pages: cookies, form tokens, ceremonies.
type person struct {
	base string
	http *http.Client
	rp   virtual.RelyingParty

	key   *passkey
	token atomic.Value // string: of the forms, for as long as the login lasts
}

// passkey is made of software, too. It is in one ceremony at a time: its
// counter must not be seen to go back.
type passkey struct {
	mu   sync.Mutex // held for a whole ceremony
	auth virtual.Authenticator
	key  virtual.Credential
}

func newPasskey() *passkey {
	k := &passkey{auth: virtual.NewAuthenticator(), key: virtual.NewCredential(virtual.KeyTypeEC2)}
	// The library leaves out leading zeros of a coordinate, and such a key is
	// refused: a whole COSE_Key with two coordinates of 32 bytes has 77.
	for len(k.key.Key.AttestationData()) != 77 {
		k.key = virtual.NewCredential(virtual.KeyTypeEC2)
	}
	return k
}

func newPerson(base string, over http.RoundTripper, key *passkey) (*person, error) {
	jar, err := cookiejar.New(nil)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(base)
	if err != nil {
		return nil, err
	}
	return &person{
		base: base, http: &http.Client{Jar: jar, Transport: over, Timeout: time.Minute, CheckRedirect: stay}, key: key,
		rp: virtual.RelyingParty{ID: u.Hostname(), Name: "Valetkey", Origin: strings.TrimSuffix(base, "/")},
	}, nil
}

// stay shows where the server sends the browser, instead of following.
func stay(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

var (
	formToken    = regexp.MustCompile(`<meta name="valetkey-csrf" content="([^"]+)">`)
	formQuestion = regexp.MustCompile(`name="question" value="([0-9a-f]{64})"`)
)

// visit opens a page and keeps its form token, if it has one.
func (p *person) visit(ctx context.Context, page string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, page, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/html")
	res, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	raw, err := slurp(res)
	if err != nil {
		return nil, err
	}
	if m := formToken.FindSubmatch(raw); m != nil {
		p.token.Store(string(m[1]))
	}
	return res, nil
}

// post sends a form as the pages do.
func (p *person) post(ctx context.Context, path string, in any) ([]byte, error) {
	body, err := json.Marshal(in)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, p.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	token, _ := p.token.Load().(string) // none before the first page
	for name, value := range map[string]string{
		"Content-Type": api.MediaJSON, "Accept": api.MediaJSON, "Origin": p.rp.Origin, "Sec-Fetch-Site": "same-origin", "Valetkey-Csrf": token,
	} {
		req.Header.Set(name, value)
	}
	res, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	raw, err := slurp(res)
	if err != nil {
		return nil, err
	}
	if res.StatusCode/100 == 2 {
		return raw, nil
	}
	var said api.Problem
	_ = json.Unmarshal(raw, &said) // what is no problem document has no reason
	return nil, &problem{res.StatusCode, said.Reason, said.Detail}
}

// location is where the answer to a form leads.
func location(raw []byte) (string, error) {
	var out struct {
		Location string `json:"location"`
	}
	err := json.Unmarshal(raw, &out)
	return out.Location, err
}

// enrol makes the passkey that an enrolment link is for.
func (p *person) enrol(ctx context.Context, link string) error {
	p.key.mu.Lock()
	defer p.key.mu.Unlock()
	if _, err := p.visit(ctx, link); err != nil {
		return err
	}
	invite := link[strings.LastIndex(link, "/")+1:]
	raw, err := p.post(ctx, "passkey/enrol/begin", map[string]string{"invite": invite})
	if err != nil {
		return err
	}
	o, err := virtual.ParseAttestationOptions(string(raw))
	if err != nil {
		return err
	}
	p.key.auth.Options.UserHandle = []byte(o.UserID)
	made := virtual.CreateAttestationResponse(p.rp, p.key.auth, p.key.key, *o)
	if _, err = p.post(ctx, "passkey/enrol/finish", map[string]any{"invite": invite, "name": "mira", "credential": json.RawMessage(made)}); err != nil {
		return err
	}
	_, err = p.visit(ctx, p.base+"inbox")
	return err
}

// touch begins a ceremony and answers it with the passkey.
func (p *person) touch(ctx context.Context, path string, in any) (json.RawMessage, error) {
	options, err := p.post(ctx, path, in)
	if err != nil {
		return nil, err
	}
	o, err := virtual.ParseAssertionOptions(string(options))
	if err != nil {
		return nil, err
	}
	p.key.key.Counter++
	return json.RawMessage(virtual.CreateAssertionResponse(p.rp, p.key.auth, p.key.key, *o)), nil
}

// login logs in with the passkey, unless a fresh page shows that it need not.
func (p *person) login(ctx context.Context) error {
	p.key.mu.Lock()
	defer p.key.mu.Unlock()
	if res, err := p.visit(ctx, p.base+"inbox"); err != nil || res.StatusCode == http.StatusOK {
		return err
	}
	if _, err := p.visit(ctx, p.base+"login"); err != nil {
		return err
	}
	signed, err := p.touch(ctx, "passkey/login/begin", struct{}{})
	if err != nil {
		return err
	}
	if _, err := p.post(ctx, "passkey/login/finish", map[string]any{"return_to": "/inbox", "assertion": signed}); err != nil {
		return err
	}
	_, err = p.visit(ctx, p.base+"inbox")
	return err
}

// decide answers the question that the page of a held action asks; a yes that
// takes a passkey is signed with it.
func (p *person) decide(ctx context.Context, a *api.Action, yes bool) error {
	p.key.mu.Lock()
	defer p.key.mu.Unlock()
	page := "actions/" + a.ID
	res, err := p.visit(ctx, p.base+page)
	if err != nil {
		return err
	}
	shown, err := slurp(res)
	if err != nil {
		return err
	}
	seen := map[string]any{"digest": a.Effect}
	if m := formQuestion.FindSubmatch(shown); m != nil {
		seen["question"] = string(m[1])
	}
	form := map[string]any{"decision": "deny", "reason": ""}
	if yes {
		form["decision"] = "approve"
		if a.Approval.Level == api.LevelStepUp {
			if form["assertion"], err = p.touch(ctx, page+"/passkey", seen); err != nil {
				return err
			}
		}
	}
	maps.Copy(form, seen)
	_, err = p.post(ctx, page+"/decision", form)
	return err
}

// unfreeze lifts a freeze.
func (p *person) unfreeze(ctx context.Context, freeze string) error {
	p.key.mu.Lock()
	defer p.key.mu.Unlock()
	signed, err := p.touch(ctx, "passkey/confirm/begin", struct{}{})
	if err != nil {
		return err
	}
	if _, err := p.post(ctx, "unfreeze", map[string]any{"id": freeze, "assertion": signed}); err != nil {
		return err
	}
	// The touch has renewed the login, and with it the token of the forms. A page
	// that does not come is one that the next form asks for.
	_, _ = p.visit(ctx, p.base+"inbox")
	return nil
}

// connect connects an account of the upstream, or connects it again.
func (p *person) connect(ctx context.Context, up *upstream, login, again string) error {
	path, form := "connections/connect", map[string]string{"provider": "github"}
	if again != "" {
		path, form = "connections/"+again+"/reconnect", map[string]string{}
	}
	raw, err := p.post(ctx, path, form)
	if err != nil {
		return err
	}
	to, err := location(raw)
	if err != nil {
		return err
	}
	back, err := sandbox.Approve(ctx, up.client, to, login)
	if err != nil {
		return err
	}
	u, err := url.Parse(back)
	if err != nil {
		return err
	}
	up.expect(u.Query().Get("code"), login)
	res, err := p.visit(ctx, back)
	if err != nil {
		return err
	}
	if where := res.Header.Get("Location"); !strings.HasSuffix(where, "done=connected") {
		return fmt.Errorf("%w: sent to %q (%d)", errNotConnected, where, res.StatusCode)
	}
	return nil
}

// errNotConnected is an answer of the server, unlike none.
var errNotConnected = errors.New("the account was not connected")

package user_test

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"log/slog"
	"net/netip"
	"path/filepath"
	"slices"
	"testing"
	"time"

	virtual "github.com/descope/virtualwebauthn"

	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

const (
	rpID   = "keys.example.com"
	origin = "https://keys.example.com"
)

// rowKey is a RowMAC for tests.
type rowKey []byte

func (k rowKey) Sum(table string, fields ...[]byte) []byte {
	h := hmac.New(sha256.New, k)
	for _, f := range append([][]byte{[]byte(table)}, fields...) {
		h.Write(binary.BigEndian.AppendUint64(nil, uint64(len(f))))
		h.Write(f)
	}
	return h.Sum(nil)
}

func (k rowKey) Verify(mac []byte, table string, fields ...[]byte) bool {
	return hmac.Equal(mac, k.Sum(table, fields...))
}

// world is a deployment with one owner, who has one passkey and is logged in.
type world struct {
	t    *testing.T
	ctx  context.Context
	now  time.Time
	db   *store.DB
	svc  *user.Service
	peer user.Peer
	logs *bytes.Buffer

	owner *user.User
	key   *device
	login *user.Login

	refused []string // surface and reason of anonymous refusals
}

// device is an authenticator with one passkey.
type device struct {
	id     []byte
	key    *virtual.Key
	count  uint32
	handle []byte
}

func newDevice(handle []byte) *device {
	c := virtual.NewCredential(virtual.KeyTypeEC2)
	for len(c.Key.AttestationData()) != 77 { // the library leaves out leading zeros of a coordinate, which makes a bad key
		c = virtual.NewCredential(virtual.KeyTypeEC2)
	}
	return &device{id: c.ID, key: c.Key, handle: handle}
}

// empty is a deployment without anybody.
func empty(t *testing.T) *world {
	t.Helper()
	w := &world{
		t: t, ctx: t.Context(), now: time.Date(2026, 3, 2, 10, 0, 0, 0, time.UTC), logs: &bytes.Buffer{},
		peer: user.Peer{From: netip.MustParseAddr("192.0.2.7"), Label: "Firefox on Linux"},
	}
	log := slog.New(slog.NewTextHandler(w.logs, nil))
	db, err := store.Open(w.ctx, secret.New("sqlite:"+filepath.Join(t.TempDir(), "test.db")), log)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	db.Authenticate(rowKey("row key for tests"))
	w.db = db
	web, warning := user.NewWebAuthn(origin, "Valetkey")
	if warning != "" {
		t.Fatal(warning)
	}
	w.svc = &user.Service{
		Org: id.DefaultOrg, Store: db.Users(), WebAuthn: web, Tries: &user.Limiter{Burst: 1000}, Log: log,
		Refused: func(_ context.Context, _ netip.Addr, surface string, refusal error, _ time.Time) {
			w.refused = append(w.refused, surface+" "+fault.From(refusal).Reason)
		},
	}
	return w
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := empty(t)
	u, link, err := w.svc.CreateFirst(w.ctx, "Ada", w.now)
	if err != nil {
		t.Fatal(err)
	}
	w.owner = u
	w.key, w.login = w.enrol(u, link)
	return w
}

// enrol adds a passkey to u by a link.
func (w *world) enrol(u *user.User, link secret.Text) (*device, *user.Login) {
	w.t.Helper()
	options, handle, err := w.svc.BeginEnrol(w.ctx, link, w.peer, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	d := newDevice(u.Handle)
	e, err := w.svc.FinishEnrol(w.ctx, user.Principal{}, handle, d.create(w.t, options, nil), "", w.peer, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	return d, e.Login
}

// person makes somebody with a passkey.
func (w *world) person(name string, role user.Role) (*user.User, *device, user.Principal) {
	w.t.Helper()
	u, link, err := w.svc.Create(w.ctx, w.fresh(), name, role, w.now)
	if err != nil {
		w.t.Fatal(err)
	}
	d, l := w.enrol(u, link)
	return u, d, l.Principal
}

// fresh is the owner, who has just touched the passkey.
func (w *world) fresh() user.Principal {
	p := w.login.Principal
	p.AuthAt = w.now
	return p
}

func (w *world) loginWith(d *device) (*user.Login, error) {
	w.t.Helper()
	options, handle, err := w.svc.BeginLogin(w.ctx, w.peer, w.now)
	if err != nil {
		return nil, err
	}
	return w.svc.FinishLogin(w.ctx, handle, d.answer(w.t, options, nil), w.peer, w.now)
}

// answer is what a browser sends after a touch; tampering may change every
// part of it before and after signing.
type answer struct {
	client    map[string]any
	rpID      string
	flags     byte
	count     uint32
	authData  []byte // overrides what is made of the above
	signed    []byte // the authenticator data that is signed, if it is another
	signature []byte // overrides the signature
	signer    *virtual.Key
	id        []byte
	handle    []byte
}

const (
	flagUP, flagUV, flagBE, flagBS, flagAT = 1 << 0, 1 << 2, 1 << 3, 1 << 4, 1 << 6
)

func challengeOf(t *testing.T, options []byte) string {
	t.Helper()
	var o struct {
		PublicKey struct {
			Challenge string `json:"challenge"`
		} `json:"publicKey"`
	}
	if err := json.Unmarshal(options, &o); err != nil {
		t.Fatal(err)
	}
	return o.PublicKey.Challenge
}

func b64(b []byte) string            { return base64.RawURLEncoding.EncodeToString(b) }
func unb64(s string) ([]byte, error) { return base64.RawURLEncoding.DecodeString(s) }

// answer signs the challenge in options, counting up.
func (d *device) answer(t *testing.T, options []byte, tamper func(*answer)) []byte {
	t.Helper()
	d.count++
	a := &answer{
		client: map[string]any{"type": "webauthn.get", "challenge": challengeOf(t, options), "origin": origin, "crossOrigin": false},
		rpID:   rpID, flags: flagUP | flagUV, count: d.count, signer: d.key, id: d.id, handle: d.handle,
	}
	if tamper != nil {
		tamper(a)
	}
	client, err := json.Marshal(a.client)
	if err != nil {
		t.Fatal(err)
	}
	if a.authData == nil {
		a.authData = authData(a.rpID, a.flags, a.count)
	}
	if a.signed == nil {
		a.signed = a.authData
	}
	if a.signature == nil {
		hash := sha256.Sum256(client)
		digest := sha256.Sum256(append(slices.Clone(a.signed), hash[:]...))
		if a.signature, err = a.signer.Sign(digest[:]); err != nil {
			t.Fatal(err)
		}
	}
	out, err := json.Marshal(map[string]any{
		"id": b64(a.id), "rawId": b64(a.id), "type": "public-key", "clientExtensionResults": map[string]any{},
		"response": map[string]any{
			"clientDataJSON": b64(client), "authenticatorData": b64(a.authData), "signature": b64(a.signature), "userHandle": b64(a.handle),
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func authData(rpID string, flags byte, count uint32) []byte {
	h := sha256.Sum256([]byte(rpID))
	return binary.BigEndian.AppendUint32(append(h[:], flags), count)
}

// create makes d's passkey for the options, by the virtual authenticator.
func (d *device) create(t *testing.T, options []byte, tamper func(*virtual.RelyingParty, *virtual.AuthenticatorOptions, *virtual.AttestationOptions)) []byte {
	t.Helper()
	o, err := virtual.ParseAttestationOptions(string(options))
	if err != nil {
		t.Fatal(err)
	}
	rp := virtual.RelyingParty{ID: rpID, Name: "Valetkey", Origin: origin}
	var opts virtual.AuthenticatorOptions
	if tamper != nil {
		tamper(&rp, &opts, o)
	}
	return []byte(virtual.CreateAttestationResponse(rp, virtual.NewAuthenticatorWithOptions(opts), virtual.Credential{ID: d.id, Key: d.key, Counter: d.count}, *o))
}

// verbs lists the audit log.
func (w *world) verbs() []string {
	w.t.Helper()
	events, err := w.db.Log().Events(w.ctx, 0, 10_000)
	if err != nil {
		w.t.Fatal(err)
	}
	var out []string
	for _, e := range events {
		out = append(out, e.Verb)
	}
	return out
}

func (w *world) wantVerb(verb string) {
	w.t.Helper()
	if v := w.verbs(); !slices.Contains(v, verb) {
		w.t.Errorf("the log has no %s: %q", verb, v)
	}
}

func wantReason(t *testing.T, err error, reason string) {
	t.Helper()
	f, ok := errors.AsType[*fault.Error](err)
	if !ok || f.Reason != reason {
		t.Errorf("got %v, want a fault %s", err, reason)
	}
}

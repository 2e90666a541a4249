package user

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// RecoveryCode lets its person in once more after every passkey is lost: to
// enrol another one, and to nothing else. Only its hash is kept.
type RecoveryCode struct {
	Org       id.Org
	Hash      []byte
	User      id.User
	CreatedAt time.Time
	UsedAt    time.Time
	Version   int64
}

// RecoveryCodes is how many codes a person is given at a time, and RecoveryTTL
// how long somebody who has used one may take to enrol a passkey.
const (
	RecoveryCodes = 10
	RecoveryTTL   = 15 * time.Minute
)

// RecoveryStore keeps recovery codes.
type RecoveryStore interface {
	// Replace removes the codes of u and stores others in their place.
	Replace(ctx context.Context, org id.Org, u id.User, codes []*RecoveryCode, events []audit.Event) error
	// OfUser lists the codes of u, used ones, too.
	OfUser(ctx context.Context, org id.Org, u id.User) ([]*RecoveryCode, error)
	// Redeem uses the code with this hash up and stores the link that it earns;
	// it fails with [ErrCode] when there is none, or somebody was faster. make
	// sees the code and returns the link with the events.
	Redeem(ctx context.Context, hash []byte, now time.Time, make func(*RecoveryCode) (*Link, []audit.Event, error)) error
}

// ErrCode refuses a recovery code. It does not say whether there ever was one.
var ErrCode = fault.New(fault.Unauthenticated, "code_refused", "This recovery code is not right, or was used already. Each works once; try another one, or ask an owner for a new enrolment link.")

// codeGroups is how many groups of four letters a code has: together 86 bits,
// so that the hash in a stolen database is as good as random.
const codeGroups = 5

// newCode makes a code of the letters of user codes, which nobody misreads.
func newCode() string {
	var b strings.Builder
	for i := 0; i < codeGroups*4; {
		var raw [1]byte
		rand.Read(raw[:])
		if raw[0] >= 240 { // above it some letters would be likelier
			continue
		}
		if i > 0 && i%4 == 0 {
			b.WriteByte('-')
		}
		b.WriteByte(letters[raw[0]%byte(len(letters))])
		i++
	}
	return b.String()
}

// readCode takes a code as a person types it, from paper.
func readCode(typed string) (secret.Text, bool) {
	if len(typed) > 64 {
		return secret.Text{}, false
	}
	var b strings.Builder
	n := 0
	for _, r := range strings.ToUpper(typed) {
		switch {
		case r == '-' || r == ' ':
		case r < 0x80 && strings.ContainsRune(letters, r):
			if n > 0 && n%4 == 0 {
				b.WriteByte('-')
			}
			b.WriteRune(r)
			n++
		default:
			return secret.Text{}, false
		}
	}
	return secret.New(b.String()), n == codeGroups*4
}

// codesFormat names the layout of what a passkey signs for new codes.
const codesFormat = "valetkey/recovery-codes/v1"

// codesDigest is what p's passkey signs to have p's codes replaced.
func codesDigest(p Principal) [32]byte {
	return digestOf(codesFormat, string(p.Org), string(p.User), string(p.Session))
}

// BeginCodes asks p for a touch of a passkey that has been there for a day, for
// a new set of recovery codes: whoever came in by one of the old ones cannot
// make the others worthless.
func (s *Service) BeginCodes(ctx context.Context, p Principal, now time.Time) (options []byte, handle secret.Text, err error) {
	digest := codesDigest(p)
	return s.beginPresence(ctx, p, CeremonyCodes, digest[:], now)
}

// FinishCodes checks the answer and returns the new codes, which nobody sees
// again. Those before them are void.
func (s *Service) FinishCodes(ctx context.Context, p Principal, handle secret.Text, response []byte, now time.Time) ([]secret.Text, error) {
	digest := codesDigest(p)
	key, err := s.touched(ctx, p, CeremonyCodes, handle, response, digest, now)
	if err != nil {
		return nil, err
	}
	var texts []secret.Text
	var codes []*RecoveryCode
	for range RecoveryCodes {
		text := secret.New(newCode())
		h := text.Hash()
		texts = append(texts, text)
		codes = append(codes, &RecoveryCode{Org: s.Org, Hash: h[:], User: p.User, CreatedAt: now, Version: 1})
	}
	e := p.Event("recovery.codes_made", string(p.User), p.User, now, map[string]string{
		"passkey": string(key.ID), "digest": hex.EncodeToString(digest[:]),
	})
	if err := s.Store.Recovery().Replace(ctx, s.Org, p.User, codes, []audit.Event{e}); err != nil {
		return nil, err
	}
	return texts, nil
}

// Codes says how many recovery codes p has left, and since when.
func (s *Service) Codes(ctx context.Context, p Principal) (left int, since time.Time, err error) {
	if p.User == "" {
		return 0, time.Time{}, ErrLogin
	}
	all, err := s.Store.Recovery().OfUser(ctx, s.Org, p.User)
	for _, c := range all {
		if since = c.CreatedAt; c.UsedAt.IsZero() {
			left++
		}
	}
	return left, since, err
}

// Recover uses a recovery code up. What it gives is an enrolment link that ends
// soon: whoever holds it may make a passkey for the code's person, which rests
// for a day before it decides anything critical. Every code that lets nobody in
// is refused alike.
func (s *Service) Recover(ctx context.Context, typed string, peer Peer, now time.Time) (secret.Text, error) {
	if err := s.WebAuthn.Available(); err != nil {
		return secret.Text{}, err
	}
	if err := s.try(peer.place(), now); err != nil {
		return secret.Text{}, err
	}
	link, err := s.redeemCode(ctx, typed, peer, now)
	if err != nil {
		s.refuseUnknown(ctx, peer, "recovery", err, now)
		return secret.Text{}, err
	}
	s.Tries.Return(peer.place(), now)
	return link, nil
}

func (s *Service) redeemCode(ctx context.Context, typed string, peer Peer, now time.Time) (secret.Text, error) {
	code, ok := readCode(typed)
	if !ok {
		return secret.Text{}, ErrCode
	}
	everybody, err := s.Store.Users(ctx, s.Org)
	if err != nil {
		return secret.Text{}, err
	}
	text := secret.Random(32)
	h := code.Hash()
	err = s.Store.Recovery().Redeem(ctx, h[:], now, func(c *RecoveryCode) (*Link, []audit.Event, error) {
		for _, u := range everybody {
			if u.ID != c.User || c.Org != s.Org || u.Status != Active {
				continue
			}
			link := text.Hash()
			me := Principal{Org: s.Org, User: u.ID}
			return &Link{Org: s.Org, Hash: link[:], User: u.ID, CreatedAt: now, ExpiresAt: now.Add(RecoveryTTL), Version: 1},
				[]audit.Event{me.Event("recovery.used", string(u.ID), u.ID, now, map[string]string{"source": peer.source(), "label": clean(peer.Label, 100)})}, nil
		}
		return nil, nil, ErrCode
	})
	if err != nil {
		return secret.Text{}, err
	}
	return text, nil
}

// Alert is something about how a person gets in that they have to hear of,
// whichever browser they are in.
type Alert struct {
	Kind string // "passkey", "recovery" or "identity"
	Name string // of the passkey or identity
	At   time.Time
}

// Alerts lists what happened to how p gets in within the last day: a passkey or
// an identity that rests, a recovery code that was used.
func (s *Service) Alerts(ctx context.Context, p Principal, now time.Time) ([]Alert, error) {
	var out []Alert
	codes, err := s.Store.Recovery().OfUser(ctx, s.Org, p.User)
	if err != nil {
		return nil, err
	}
	for _, c := range codes {
		if !c.UsedAt.IsZero() && now.Sub(c.UsedAt) < NewPasskeyRest {
			out = append(out, Alert{Kind: "recovery", At: c.UsedAt})
		}
	}
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, p.User)
	if err != nil {
		return nil, err
	}
	may, err := s.Settled(ctx, p.User, keys, now)
	if err != nil {
		return nil, err
	}
	for _, k := range keys {
		if !may[k.ID] {
			out = append(out, Alert{Kind: "passkey", Name: k.Name, At: k.CreatedAt})
		}
	}
	identities, err := s.Store.Passkeys().Identities(ctx, s.Org, p.User)
	if err != nil {
		return nil, err
	}
	for _, v := range identities {
		if v.Rests(now) {
			out = append(out, Alert{Kind: "identity", Name: v.Label, At: v.CreatedAt})
		}
	}
	return out, nil
}

// Settled says which of keys, all of one person, may decide what is critical.
func (s *Service) Settled(ctx context.Context, u id.User, keys []*Passkey, now time.Time) (map[id.Passkey]bool, error) {
	guarded, err := s.guarded(ctx, u, keys)
	out := map[id.Passkey]bool{}
	for _, k := range settled(keys, guarded, now) {
		out[k.ID] = true
	}
	return out, err
}

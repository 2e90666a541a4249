package user

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"slices"
	"strings"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/secret"
)

// DeviceTTL is how long a terminal waits for its person, and DeviceInterval
// how often it may ask (RFC 8628 §3.2).
const (
	DeviceTTL      = 10 * time.Minute
	DeviceInterval = 5 * time.Second

	// pollSlack forgives a client whose five seconds were a little short on
	// the way here.
	pollSlack = time.Second
)

// The answers to a poll are named by RFC 8628 §3.5.
var (
	ErrPending  = fault.New(fault.Invalid, "authorization_pending", "Nobody has answered yet; ask again after the interval.")
	ErrSlowDown = fault.New(fault.Invalid, "slow_down", "Ask less often: add five seconds to the interval.")
	ErrDenied   = fault.New(fault.Forbidden, "access_denied", "The login was refused in the browser.")
	ErrExpired  = fault.New(fault.Invalid, "expired_token", "This login has ended; run 'valetkey login' again.")

	// ErrDevice is for the person: no login waits under this code.
	ErrDevice = fault.New(fault.NotFound, "device_not_found", "No login waits under this code. It may have expired; run 'valetkey login' again.")

	errDeviceStale = fault.New(fault.Conflict, "device_stale", "What you saw is not what waits under this code; reload the page and look again.")
)

// letters are those of user codes: no vowels, so that no code is a word, and
// nothing that is read as something else (RFC 8628 §6.1).
const letters = "BCDFGHJKLMNPQRSTVWXZ"

// newUserCode makes a code of 34 bits, which a person guesses at a few tries
// a minute.
func newUserCode() string {
	var code [9]byte
	for i := range code {
		if i == 4 {
			code[i] = '-'
			continue
		}
		for {
			var b [1]byte
			rand.Read(b[:])
			// 240 is a multiple of 20: above it some letters would be likelier.
			if b[0] < 240 {
				code[i] = letters[b[0]%byte(len(letters))]
				break
			}
		}
	}
	return string(code[:])
}

// readUserCode takes a code as a person types it: in any case, with or without
// the dash (RFC 8628 §6.1).
func readUserCode(typed string) (string, bool) {
	if len(typed) > 32 {
		return "", false
	}
	var code []byte
	for _, r := range strings.ToUpper(typed) {
		switch {
		case r == '-' || r == ' ':
		case r < 0x80 && strings.ContainsRune(letters, r):
			code = append(code, byte(r))
		default:
			return "", false
		}
	}
	if len(code) != 8 {
		return "", false
	}
	return string(code[:4]) + "-" + string(code[4:]), true
}

// BeginDevice begins the login of a terminal. It returns the code that the
// terminal polls with; what it shows is in the device.
func (s *Service) BeginDevice(ctx context.Context, peer Peer, now time.Time) (secret.Text, *Device, error) {
	if err := s.try(peer.place(), now); err != nil {
		return secret.Text{}, nil, err
	}
	text := secret.Token("vkd_", 32)
	h := text.Hash()
	d := &Device{
		Org: s.Org, Hash: h[:], Label: clean(peer.Label, 100), Source: peer.source(), Status: DevicePending,
		CreatedAt: now, ExpiresAt: now.Add(DeviceTTL), Version: 1,
	}
	for tries := 0; ; tries++ {
		d.UserCode = newUserCode()
		err := s.Store.Devices().CreateDevice(ctx, d, []audit.Event{{
			At: now, Org: s.Org, Verb: "device.begun", Actor: "anonymous", Data: map[string]string{"label": d.Label, "source": d.Source},
		}})
		switch {
		case err == nil:
			return text, d, nil
		case reason(err) != "exists" || tries == 3:
			return secret.Text{}, nil, err
		}
	}
}

// LookupDevice finds the login that waits under a code, to be shown to p
// before p answers.
func (s *Service) LookupDevice(ctx context.Context, p Principal, code string, now time.Time) (*Device, error) {
	if _, err := s.person(ctx, p); err != nil {
		return nil, err
	}
	if err := s.try(p.place(), now); err != nil {
		return nil, err
	}
	d, err := s.waiting(ctx, code, now)
	if err != nil {
		s.refuse(ctx, p, Peer{}, "device", err, now)
		return nil, err
	}
	s.Tries.Return(p.place(), now)
	return d, nil
}

func (s *Service) waiting(ctx context.Context, typed string, now time.Time) (*Device, error) {
	code, ok := readUserCode(typed)
	if !ok {
		return nil, ErrDevice
	}
	d, err := s.Store.Devices().ByCode(ctx, code)
	if err != nil {
		return nil, err
	}
	if d.Org != s.Org || d.Status != DevicePending || !now.Before(d.ExpiresAt) {
		return nil, ErrDevice
	}
	return d, nil
}

// deviceFormat names the layout of [Service.DeviceDigest].
const deviceFormat = "valetkey/device-login/v2"

// DeviceDigest is what the passkey of who signs to let d in: which login it is,
// what the page said about the terminal and what it may do, and in whose name.
func (s *Service) DeviceDigest(d *Device, who id.User) [32]byte {
	may := "propose"
	if s.TrustCommandLine {
		may = "change"
	}
	return digestOf(deviceFormat, string(d.Org), string(d.Hash), d.UserCode, d.Label, d.Source, string(who), may)
}

// BeginDeviceApproval asks p's passkey to let a terminal in: seen is the digest
// of what p was shown, which is still what waits under the code.
func (s *Service) BeginDeviceApproval(ctx context.Context, p Principal, code string, seen [32]byte, now time.Time) (options []byte, handle secret.Text, err error) {
	d, err := s.LookupDevice(ctx, p, code, now)
	if err != nil {
		return nil, secret.Text{}, err
	}
	if s.DeviceDigest(d, p.User) != seen {
		s.refuse(ctx, p, Peer{}, "device", errDeviceStale, now)
		return nil, secret.Text{}, errDeviceStale
	}
	return s.beginPresence(ctx, p, CeremonyDevice, seen[:], now)
}

// ApproveDevice lets the terminal under code in as p, whose passkey answered
// for just this login. Only a browser session may: a terminal that is logged in
// cannot log in another, and a cookie alone cannot become a command line.
func (s *Service) ApproveDevice(ctx context.Context, p Principal, code string, handle secret.Text, response []byte, now time.Time) error {
	d, err := s.LookupDevice(ctx, p, code, now)
	if err != nil {
		return err
	}
	digest := s.DeviceDigest(d, p.User)
	key, err := s.touched(ctx, p, CeremonyDevice, handle, response, digest, now)
	if err != nil {
		return err
	}
	return s.decideDevice(ctx, p, d, DeviceApproved, key.ID, "device.approved", map[string]string{
		"passkey": string(key.ID), "digest": hex.EncodeToString(digest[:]),
	}, now)
}

// DenyDevice refuses a terminal. It is the safe direction and needs no touch.
func (s *Service) DenyDevice(ctx context.Context, p Principal, code string, now time.Time) error {
	d, err := s.LookupDevice(ctx, p, code, now)
	if err != nil {
		return err
	}
	return s.decideDevice(ctx, p, d, DeviceDenied, "", "device.denied", map[string]string{}, now)
}

func (s *Service) decideDevice(ctx context.Context, p Principal, seen *Device, to DeviceStatus, by id.Passkey, verb string, data map[string]string, now time.Time) error {
	data["label"], data["source"] = seen.Label, seen.Source
	err := s.Store.Devices().UpdateDevice(ctx, seen.Hash, func(d *Device) ([]audit.Event, error) {
		if d.Status != DevicePending || !now.Before(d.ExpiresAt) || s.DeviceDigest(d, p.User) != s.DeviceDigest(seen, p.User) {
			return nil, ErrDevice
		}
		d.Status, d.User, d.Passkey = to, p.User, by
		return []audit.Event{p.Event(verb, string(p.Session), p.User, now, data)}, nil
	})
	if err != nil { // somebody was faster, or removed the passkey
		s.refuse(ctx, p, Peer{}, "device", err, now)
	}
	return err
}

// PollDevice answers a terminal: one of the faults above, or its session, to
// one poll only (RFC 8628 §3.5). A code that never was looks like one that has
// ended.
func (s *Service) PollDevice(ctx context.Context, code secret.Text, now time.Time) (*Login, error) {
	hash := code.Hash()
	// Looking first spares the writer from codes that never were.
	d, err := s.Store.Devices().ByHash(ctx, hash[:])
	if reason(err) == ErrDevice.Reason {
		return nil, ErrExpired
	}
	if err != nil {
		return nil, err
	}
	if d.Org != s.Org || d.Status == DeviceUsed || !now.Before(d.ExpiresAt) {
		return nil, ErrExpired
	}
	if now.Sub(d.PolledAt) < DeviceInterval-pollSlack {
		return nil, ErrSlowDown
	}
	switch d.Status {
	case DevicePending:
		err := s.Store.Devices().UpdateDevice(ctx, hash[:], func(d *Device) ([]audit.Event, error) {
			d.PolledAt = now
			return nil, nil
		})
		if err != nil {
			return nil, err
		}
		return nil, ErrPending
	case DeviceDenied:
		return nil, ErrDenied
	case DeviceApproved:
		return s.redeem(ctx, d, now)
	}
	return nil, ErrExpired
}

// redeem opens the session of an approved device, which lasts no longer than
// the passkey that approved it. AuthAt stays zero: nobody proved presence in
// this session, and it never counts as fresh.
func (s *Service) redeem(ctx context.Context, d *Device, now time.Time) (*Login, error) {
	u, err := s.Store.User(ctx, s.Org, d.User)
	if err != nil {
		return nil, err
	}
	if u.Status != Active {
		return nil, ErrDenied.Because(ErrSuspended)
	}
	keys, err := s.Store.Passkeys().OfUser(ctx, s.Org, u.ID)
	if err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(keys, func(k *Passkey) bool { return k.ID == d.Passkey }) {
		return nil, ErrDenied.Because(ErrPasskey)
	}
	text, hash := newBearer()
	v := &Session{
		Org: s.Org, ID: id.NewSession(), Hash: hash, User: u.ID, Kind: CLI, Label: d.Label, PasskeyRef: d.Passkey,
		CreatedAt: now, SeenAt: now, ExpiresAt: now.Add(CLI.Lifetime()), Version: 1,
	}
	p := principal(v, u)
	opened := p.Event("session.opened", string(v.ID), u.ID, now, map[string]string{
		"kind": string(v.Kind), "passkey": string(v.PasskeyRef), "label": v.Label, "source": d.Source,
	})
	err = s.Store.Devices().Redeem(ctx, d.Hash, func(d *Device) ([]audit.Event, error) {
		if d.Status != DeviceApproved || !now.Before(d.ExpiresAt) {
			return nil, ErrExpired
		}
		d.Status = DeviceUsed
		return nil, nil
	}, v, []audit.Event{opened})
	if overtaken(err) {
		return nil, ErrDenied.Because(err)
	}
	if err != nil {
		return nil, err
	}
	return &Login{Bearer: text, Session: v, Principal: p}, nil
}

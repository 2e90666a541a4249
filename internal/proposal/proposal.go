// Package proposal is a change that a command line may not make by itself.
//
// A [Proposal] is a request to our own API, frozen: method, path, query and
// the exact bytes of its body, with who proposed it and when it ends. Its
// digest covers all of that and a nonce; a person confirms the digest with a
// touch of their passkey, on a page that shows what it stands for.
//
// Invariants:
//
//   - A proposal is open, then confirmed, refused or expired; each once. A
//     confirmed one that could not be done when it came to it has failed.
//   - It is confirmed in a browser only, with evidence that the passkey signed
//     this very digest: by a person who manages the org when the operator
//     proposed it, else by the person whose command line did.
//   - It is marked as confirmed before it is carried out. What was interrupted
//     in between has an unknown outcome and is not carried out again.
//   - It is carried out in the name of who confirmed it, through the route it
//     was sent to, which judges their authority like any other request's.
//   - Its body is destroyed when it has been decided; its answer is for who
//     proposed it and who confirmed it, and is destroyed a day later.
//
// What it never does: it knows no HTTP beyond the words of a request, it
// carries nothing out by itself, and it proposes no decision about an action,
// which people make on the action's own page.
package proposal

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strconv"
	"time"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/user"
)

// State is where a proposal stands.
type State string

// The states.
const (
	Open      State = "open"
	Confirmed State = "confirmed"
	Refused   State = "refused"
	Expired   State = "expired"
	// Failed is what a confirmed one is called once it was carried out and
	// refused: nothing was done. It is told from what came of it, not stored.
	Failed State = "failed"
)

// Limits.
const (
	TTL  = 10 * time.Minute // to confirm in
	Kept = 24 * time.Hour   // how long one can be looked at
	Most = 20               // open ones of one proposer
)

// Proposal is one frozen request and what became of it.
type Proposal struct {
	Org       id.Org
	ID        id.Proposal
	By        string     // who proposed it, as the log names them
	User      id.User    // whose command line it was; "" for the operator
	Session   id.Session // of that command line; "" for the operator
	Label     string     // what that command line calls itself
	Method    string
	Path      string // as it was sent, escapes included
	Query     string
	Summary   string // what it would do, in a sentence of ours
	Body      []byte // sealed; nil where there is none, and once it was decided
	Digest    [sha256.Size]byte
	Nonce     []byte // 128 bits; makes each proposal a new one
	CreatedAt time.Time
	ExpiresAt time.Time
	State     State
	DecidedAt time.Time
	DecidedBy id.User
	Evidence  []byte // JSON of [user.Evidence]; what proves the presence
	Status    int    // HTTP status of what came of it; 0 until it is known
	Answer    []byte // sealed
	Version   int64
}

// Errors about proposals.
var (
	ErrUnknown  = fault.New(fault.NotFound, "proposal_not_found", "There is no such proposal, or it is not yours to see.")
	ErrNotOpen  = fault.New(fault.Conflict, "proposal_not_open", "This proposal was decided already; reload to see how.")
	ErrExpired  = fault.New(fault.Conflict, "proposal_expired", "This proposal has expired; give the command again.")
	ErrStale    = fault.New(fault.Conflict, "proposal_stale", "What you saw is not what is stored; reload and look again.")
	ErrPresence = fault.New(fault.Forbidden, "presence_required", "This needs your passkey for this very proposal; open its page and confirm there.")
	ErrTooMany  = fault.New(fault.TooMany, "too_many_proposals", "Twenty proposals wait already; confirm or refuse them in the browser first.")
)

// Request is what is proposed.
type Request struct {
	Method string
	Path   string // escaped
	Query  string
	Body   []byte
	// Frozen is what a freeze holds that is to be lifted, as it was then: the
	// path has an id, which says nothing to a person.
	Frozen Frozen
}

// Frozen is something that a freeze holds, in people's words.
type Frozen struct {
	Kind string // "agent", "connection", "user" or "all"; "" where it is not known
	Name string // somebody else's text
}

// New opens a proposal of p. Its body is to be sealed into it.
func New(p user.Principal, r Request, now time.Time) *Proposal {
	nonce := make([]byte, 16)
	rand.Read(nonce)
	now = now.Truncate(time.Microsecond) // as it is stored, for the digest
	v := &Proposal{
		Org: p.Org, ID: id.NewProposal(), By: p.Actor(), User: p.User, Session: p.Session, Label: p.Label, Method: r.Method, Path: r.Path,
		Query: r.Query, Summary: r.sentence(), Nonce: nonce, CreatedAt: now, ExpiresAt: now.Add(TTL), State: Open, Version: 1,
	}
	v.Digest = v.digest(r.Body)
	return v
}

// digestFormat names the layout below. It keeps a proposal's digest from being
// taken for that of anything else that a passkey signs.
const digestFormat = "valetkey/proposal/v1"

// digest is what a passkey signs to confirm p, body being the plain one.
func (p *Proposal) digest(body []byte) [sha256.Size]byte {
	h := sha256.New()
	for _, s := range []string{
		digestFormat, string(p.Org), string(p.ID), p.By, string(p.User), string(p.Session), p.Label, p.Method, p.Path, p.Query, p.Summary,
		string(body), string(p.Nonce), strconv.FormatInt(p.CreatedAt.UnixMicro(), 10), strconv.FormatInt(p.ExpiresAt.UnixMicro(), 10),
	} {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	return [sha256.Size]byte(h.Sum(nil))
}

// At is where p stands at a moment: an open one that has run out is expired,
// whether or not that was written down yet; a confirmed one that was refused
// when it was carried out has failed.
func (p *Proposal) At(now time.Time) State {
	if p.State == Confirmed && p.Status != 0 && p.Status/100 != 2 {
		return Failed
	}
	if p.State == Open && !now.Before(p.ExpiresAt) {
		return Expired
	}
	return p.State
}

// Settled reports whether nothing more will become of p.
func (p *Proposal) Settled(now time.Time) bool {
	s := p.At(now)
	return s == Refused || s == Expired || s == Failed || s == Confirmed && p.Status != 0
}

// proposer reports whether p is by who: the same session, or the same user of
// the host.
func (p *Proposal) proposer(who user.Principal) bool {
	return p.Org == who.Org && p.By == who.Actor() && p.Session == who.Session
}

// decider reports whether p is for who to decide.
func (p *Proposal) decider(who user.Principal) bool {
	if p.Org != who.Org || who.User == "" {
		return false
	}
	if p.User == "" {
		return who.Role.Manages()
	}
	return p.User == who.User
}

// mayDecide says whether who may answer p, from where they are.
func (p *Proposal) mayDecide(who user.Principal) error {
	switch {
	case !p.decider(who):
		return ErrUnknown
	case who.Kind != user.Browser:
		return user.ErrBrowser
	}
	return nil
}

// open says whether p can be answered now.
func (p *Proposal) open(now time.Time) error {
	switch p.At(now) {
	case Open:
		return nil
	case Expired:
		return ErrExpired
	}
	return ErrNotOpen
}

// Confirm is a person's yes to what seen is the digest of, with the evidence
// that their passkey signed just that.
func (p *Proposal) Confirm(who user.Principal, seen [sha256.Size]byte, evidence []byte, now time.Time) (audit.Event, error) {
	if err := p.mayDecide(who); err != nil {
		return audit.Event{}, err
	}
	if who.Role == user.Auditor {
		return audit.Event{}, user.ErrNotOwner
	}
	if err := p.open(now); err != nil {
		return audit.Event{}, err
	}
	if seen != p.Digest {
		return audit.Event{}, ErrStale
	}
	var e user.Evidence
	if err := json.Unmarshal(evidence, &e); err != nil {
		return audit.Event{}, ErrPresence.Because(fmt.Errorf("read evidence: %w", err))
	}
	if e.User != who.User || subtle.ConstantTimeCompare(e.Challenge, p.Digest[:]) != 1 {
		return audit.Event{}, ErrPresence
	}
	p.State, p.DecidedAt, p.DecidedBy, p.Evidence = Confirmed, now, who.User, evidence
	return p.event("proposal.confirmed", who.Actor(), now, map[string]string{"passkey": string(e.Passkey)}), nil
}

// Refuse is a person's no.
func (p *Proposal) Refuse(who user.Principal, now time.Time) (audit.Event, error) {
	if err := p.mayDecide(who); err != nil {
		return audit.Event{}, err
	}
	if err := p.open(now); err != nil {
		return audit.Event{}, err
	}
	p.State, p.DecidedAt, p.DecidedBy, p.Body = Refused, now, who.User, nil
	return p.event("proposal.refused", who.Actor(), now, nil), nil
}

// Expire ends a proposal that nobody answered in time.
func (p *Proposal) Expire(now time.Time) (audit.Event, error) {
	if p.State != Open || now.Before(p.ExpiresAt) {
		return audit.Event{}, ErrNotOpen
	}
	p.State, p.Body = Expired, nil
	return p.event("proposal.expired", "system", now, nil), nil
}

// Finish notes what came of a confirmed proposal. The answer is sealed.
func (p *Proposal) Finish(status int, answer []byte, now time.Time) (audit.Event, error) {
	if p.State != Confirmed || p.Status != 0 || status <= 0 {
		return audit.Event{}, ErrNotOpen
	}
	p.Status, p.Answer, p.Body = status, answer, nil
	return p.event("proposal.finished", "user:"+string(p.DecidedBy), now, map[string]string{"status": strconv.Itoa(status)}), nil
}

// Opened is the event that p was put before people.
func (p *Proposal) Opened(now time.Time) audit.Event {
	return p.event("proposal.opened", p.By, now, map[string]string{"digest": hex.EncodeToString(p.Digest[:])})
}

func (p *Proposal) event(verb, actor string, now time.Time, data map[string]string) audit.Event {
	if data == nil {
		data = map[string]string{}
	}
	data["proposer"], data["method"], data["path"] = p.By, p.Method, p.Path[:min(len(p.Path), 500)]
	return audit.Event{At: now, Org: p.Org, Verb: verb, Actor: actor, Object: string(p.ID), Subject: string(p.User), Data: data}
}

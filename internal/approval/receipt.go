package approval

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/action"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
)

// ReceiptFormat is the version of the document.
const ReceiptFormat = "valetkey/receipt/v1"

// Receipt is all that is needed to check one decided action, offline, by
// somebody who trusts nothing but keys that they hold: what was asked, who
// answered and with which passkey, and the events of the log that say so. It
// is one JSON document in one spelling: compact or indented, but with these
// members in this order and no others, so that its digest is that of the
// document without its last member.
type Receipt struct {
	Format     string            `json:"format"`
	Issuer     string            `json:"issuer"`  // the public URL of the server
	LogKey     string            `json:"log_key"` // the log's verifier key, as the server says; who checks pins their own
	IssuedAt   time.Time         `json:"issued_at"`
	Action     ReceiptAction     `json:"action"`
	Question   ReceiptQuestion   `json:"question"`
	Decisions  []ReceiptDecision `json:"decisions"`
	Events     []ReceiptEvent    `json:"events"` // in the order of the log
	Checkpoint string            `json:"checkpoint"`
	Signature  string            `json:"signature,omitempty"`
}

// ReceiptAction is what was asked for, and what came of it.
type ReceiptAction struct {
	ID         id.Action       `json:"id"`
	Org        id.Org          `json:"org"`
	User       id.User         `json:"user"`
	Agent      id.Agent        `json:"agent"`
	AgentName  string          `json:"agent_name"`
	Connection id.Connection   `json:"connection"`
	Account    string          `json:"account"`      // the provider's own id of the account
	Handle     string          `json:"account_name"` // what people call it
	Provider   string          `json:"provider"`     //
	Operation  string          `json:"operation"`    //
	Summary    string          `json:"summary"`      //
	Resource   string          `json:"resource"`     //
	Risk       string          `json:"risk"`         //
	Amount     string          `json:"amount"`       //
	Effect     string          `json:"effect"`       // the effect digest, in hex
	Salt       string          `json:"salt"`         // base64; blinds the effect in the log
	Request    *action.Request `json:"request"`      // null when its content was destroyed, or was not for who asked
	State      action.State    `json:"state"`        //
	Status     int             `json:"status"`       // the upstream's, 0 for none
	Why        string          `json:"why"`          //
	CreatedAt  time.Time       `json:"created_at"`   //
	FinishedAt *time.Time      `json:"finished_at"`  // null while it is not over
}

// ReceiptQuestion is what the approvers answered, with all that goes into the
// decision digest.
type ReceiptQuestion struct {
	ID            id.Approval `json:"id"`
	Level         Level       `json:"level"`
	Quorum        int         `json:"quorum,omitempty"` // how many have to say yes; left out for one
	PolicyVersion string      `json:"policy_version"`
	SpecHash      string      `json:"spec_hash"`
	Nonce         string      `json:"nonce"` // base64
	OpenedAt      time.Time   `json:"opened_at"`
	ExpiresAt     time.Time   `json:"expires_at"`
	Rules         []string    `json:"rules"`
	Why           []string    `json:"why"`
}

// ReceiptDecision is one person's answer.
type ReceiptDecision struct {
	Answer  Answer    `json:"answer"`
	Digest  string    `json:"digest"` // the decision digest, in hex
	By      id.User   `json:"by"`
	ByName  string    `json:"by_name"`
	At      time.Time `json:"at"`
	Channel string    `json:"channel"`
	Level   Level     `json:"level"` // the assurance that it carried
	Reason  string    `json:"reason"`
	// Precondition stands for what was shown of what was there, in hex.
	Precondition string          `json:"precondition"`
	Evidence     json.RawMessage `json:"evidence"` // a passkey's assertion, or null
}

// ReceiptEvent is an event of the log and the path from it to the root that
// the receipt's checkpoint names.
type ReceiptEvent struct {
	Event string           `json:"event"` // exactly as it was hashed
	Path  tlog.RecordProof `json:"path"`
}

// statementKind is what the server's signature on a receipt says of it.
const statementKind = "receipt/v1"

// encode gives the compact spelling.
func (r *Receipt) encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(r); err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	return bytes.TrimSpace(b.Bytes()), nil
}

// digest is SHA-256 over the compact spelling without the signature.
func (r Receipt) digest() ([sha256.Size]byte, error) {
	r.Signature = ""
	b, err := r.encode()
	return sha256.Sum256(b), err
}

// Sign completes a receipt.
func (r *Receipt) Sign(s *audit.Signer) error {
	d, err := r.digest()
	if err != nil {
		return err
	}
	r.Signature, err = s.Attest(statementKind, d)
	return err
}

// Encode gives the document as people keep it: indented.
func (r *Receipt) Encode() ([]byte, error) {
	compact, err := r.encode()
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := json.Indent(&b, compact, "", "  "); err != nil {
		return nil, fmt.Errorf("encode receipt: %w", err)
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

// MaxReceipt is how long a receipt may be: a request of 1 MiB in base64, and
// its proofs.
const MaxReceipt = 4 << 20

// ParseReceipt reads a receipt in its one spelling. What it returns has not
// been checked.
func ParseReceipt(doc []byte) (*Receipt, error) {
	if len(doc) > MaxReceipt {
		return nil, fmt.Errorf("read receipt: over %d bytes", MaxReceipt)
	}
	var compact bytes.Buffer
	if err := json.Compact(&compact, doc); err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	r := new(Receipt)
	if err := json.Unmarshal(compact.Bytes(), r); err != nil {
		return nil, fmt.Errorf("read receipt: %w", err)
	}
	for i := range r.Decisions {
		if string(r.Decisions[i].Evidence) == "null" {
			r.Decisions[i].Evidence = nil
		}
	}
	if r.Format != ReceiptFormat {
		return nil, fmt.Errorf("read receipt: its format is %q, this reads %s", clip(r.Format), ReceiptFormat)
	}
	// A member twice, or one that we do not know, would be read differently by
	// somebody else.
	again, err := r.encode()
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(compact.Bytes(), again) {
		return nil, fmt.Errorf("read receipt: it was written by something else, or changed: not in the one spelling of %s", ReceiptFormat)
	}
	return r, nil
}

// commitment is how the log names the effect.
func (a *ReceiptAction) commitment() (string, error) {
	salt, err := base64.StdEncoding.DecodeString(a.Salt)
	if err != nil {
		return "", fmt.Errorf("salt: %w", err)
	}
	effect, err := action.ParseDigest(a.Effect)
	if err != nil {
		return "", err
	}
	return (&action.Action{Salt: salt, Effect: effect}).Commitment(), nil
}

// asked is the approval as the decision digest sees it.
func (r *Receipt) asked() (*Approval, error) {
	nonce, err := base64.StdEncoding.DecodeString(r.Question.Nonce)
	if err != nil {
		return nil, fmt.Errorf("nonce: %w", err)
	}
	effect, err := action.ParseDigest(r.Action.Effect)
	if err != nil {
		return nil, err
	}
	q := &r.Question
	return &Approval{
		Org: r.Action.Org, ID: q.ID, Effect: effect, Level: q.Level, Quorum: q.Quorum, PolicyVersion: q.PolicyVersion, SpecHash: q.SpecHash,
		Nonce: nonce, ExpiresAt: q.ExpiresAt,
	}, nil
}

// evidenceHash is how the log names the evidence of a decision.
func evidenceHash(evidence []byte) string {
	if len(evidence) == 0 {
		return ""
	}
	h := sha256.Sum256(evidence)
	return hex.EncodeToString(h[:])
}

func clip(s string) string {
	if len(s) > 60 {
		s = s[:60]
	}
	return strings.ToValidUTF8(s, "?")
}

package api

import "time"

// User is a person.
type User struct {
	ID        string    `json:"id"`       // usr_…
	Name      string    `json:"name"`     // what others see; unique
	Role      string    `json:"role"`     // "owner", "admin", "member" or "auditor"
	Status    string    `json:"status"`   // "active" or "suspended"
	Passkeys  int       `json:"passkeys"` // how many; 0 means that they have not enrolled
	CreatedAt time.Time `json:"created_at"`
	// LinkExpiresAt is until when the newest enrolment link works, for those who
	// may look at everybody.
	LinkExpiresAt time.Time `json:"link_expires_at,omitzero"`
}

// UserRequest adds a person.
type UserRequest struct {
	Name string `json:"name"`
	Role string `json:"role,omitempty"` // "member" if left out
}

// UserChange changes one thing about a person.
type UserChange struct {
	Name   string `json:"name,omitempty"`
	Status string `json:"status,omitempty"` // "active" or "suspended"
	Role   string `json:"role,omitempty"`   // "owner", "admin", "member" or "auditor": an owner's to change
}

// Group is people whom rules name together, as in @approvers("group:release").
type Group struct {
	ID        string    `json:"id"`   // grp_…
	Name      string    `json:"name"` // as rules write it; never changed
	Members   []Member  `json:"members"`
	CreatedAt time.Time `json:"created_at"`
}

// Member is a person in a group.
type Member struct {
	ID   string `json:"id"`             // usr_…
	Name string `json:"name,omitempty"` // what others see
}

// GroupRequest makes a group.
type GroupRequest struct {
	Name    string   `json:"name"`              // a-z, 0-9, dot, hyphen and underscore
	Members []string `json:"members,omitempty"` // ids or names of people
}

// GroupChange puts one person into a group, or takes one out.
type GroupChange struct {
	Add    string `json:"add,omitempty"` // id or name
	Remove string `json:"remove,omitempty"`
}

// UserCreated is a person and the link by which they enrol. Whoever holds the
// link can, so it is to be handed over in private.
type UserCreated struct {
	User         User      `json:"user"`
	EnrolmentURL string    `json:"enrolment_url"` // works once: never log a value of this type
	ExpiresAt    time.Time `json:"expires_at"`
}

// Policy is a set of rules in Cedar.
type Policy struct {
	ID        string    `json:"id"`              // pol_…
	Name      string    `json:"name"`            //
	Owner     string    `json:"owner,omitempty"` // usr_…: rules for this user's connections only
	Text      string    `json:"text"`            // Cedar
	Version   string    `json:"version"`         // of all rules in force together, as decisions name it
	Revision  int64     `json:"revision"`        // counts the changes of this one; 0 for rules that ship and were never saved
	UpdatedAt time.Time `json:"updated_at,omitzero"`
	UpdatedBy string    `json:"updated_by,omitempty"` // "user:usr_…"
}

// PolicyRequest replaces a policy, or checks a text without storing it.
type PolicyRequest struct {
	Owner string `json:"owner,omitempty"` // usr_…, for a user's own rules; only for a new policy
	Text  string `json:"text"`            // Cedar
	// Revision is that of the policy that was edited: if somebody else saved it
	// since, nothing is stored. Left out, the text replaces whatever is there.
	Revision int64 `json:"revision,omitempty"`
}

// PolicyCheck is what is wrong with a policy text, and what storing it would
// change.
type PolicyCheck struct {
	OK       bool            `json:"ok"`
	Findings []PolicyFinding `json:"findings"`          // never null
	Changes  []string        `json:"changes,omitempty"` // what it permits or asks that the stored one does not, a sentence each
}

// PolicyFinding is one thing to look at in a policy text.
type PolicyFinding struct {
	Severity string `json:"severity"`         // "error" or "warning"
	Line     int    `json:"line,omitempty"`   // from 1
	Column   int    `json:"column,omitempty"` // from 1, in bytes
	Text     string `json:"text"`
}

// Freeze is one thrown switch.
type Freeze struct {
	ID     string `json:"id"`               // frz_…
	Kind   string `json:"kind"`             // "agent", "connection", "user" or "all"
	Target string `json:"target,omitempty"` // the id; left out for "all"
	// TargetName and ByName say in people's words what the ids stand for.
	TargetName string    `json:"target_name,omitempty"`
	ByName     string    `json:"by_name,omitempty"`
	Reason     string    `json:"reason,omitempty"`
	By         string    `json:"by"` // "user:usr_…", "operator:0"
	At         time.Time `json:"at"`
	LiftedAt   time.Time `json:"lifted_at,omitzero"`
	// Already says, in answer to throwing it, that it had been thrown before.
	Already bool `json:"already,omitempty"`
	// Warning says what could not be written down. The freeze holds all the same.
	Warning string `json:"warning,omitempty"`
}

// FreezeRequest throws a switch. It holds from the moment it is answered.
type FreezeRequest struct {
	Kind   string `json:"kind"`             // as in Freeze
	Target string `json:"target,omitempty"` // id or name
	Reason string `json:"reason,omitempty"` // for people
}

// Event is one record of the audit log.
type Event struct {
	Seq     int64             `json:"seq"` // the leaf's index, from 0 without gaps
	At      time.Time         `json:"at"`
	Org     string            `json:"org,omitempty"`
	Verb    string            `json:"verb"`              // "action.approved"
	Actor   string            `json:"actor"`             // "agent:agt_…", "user:usr_…", "operator:0", "system"
	Object  string            `json:"object,omitempty"`  // what it was done to: "act_…"
	Subject string            `json:"subject,omitempty"` // whose data it concerns
	Data    map[string]string `json:"data,omitempty"`    // ids, reasons and salted digests; never content
	// Leaf is the canonical encoding that the tree hashes, byte for byte.
	Leaf string `json:"leaf,omitempty"`
}

// Checkpoint is the newest signed tree head of the log.
type Checkpoint struct {
	Origin string    `json:"origin"` // the log's name
	Size   int64     `json:"size"`   // events covered
	Root   string    `json:"root"`   // base64 of the tree's hash
	At     time.Time `json:"at"`     // when it was signed
	Note   string    `json:"note"`   // the signed note itself (C2SP tlog-checkpoint)
	Key    string    `json:"key"`    // the verifier key of the log
	Lag    int64     `json:"lag"`    // events that came after it
}

// AuditReport is what a reading of the whole log found: three verdicts that must
// not be mixed.
type AuditReport struct {
	OK           bool          `json:"ok"`     // nothing was found
	Events       int64         `json:"events"` // read and found sound
	Root         string        `json:"root"`   // base64 of the hash over all of them
	Integrity    *AuditFinding `json:"integrity,omitempty"`
	Completeness *AuditFinding `json:"completeness,omitempty"` // what outside checkpoints know of and is not there
	Checkpoints  int           `json:"checkpoints"`            // outside checkpoints read
	Anchored     int64         `json:"anchored"`               // events that an outside checkpoint covers
	AnchoredAt   time.Time     `json:"anchored_at,omitzero"`
	Tail         int64         `json:"tail"`  // sound events that no outside checkpoint covers
	Lines        []string      `json:"lines"` // the verdicts for people, one each
}

// AuditFinding is something wrong, somewhere between two events.
type AuditFinding struct {
	First int64  `json:"first"`
	Last  int64  `json:"last"`
	What  string `json:"what"`
}

// Proof shows that an event is in the log, to someone who has only its
// verifier key.
type Proof struct {
	Event      string   `json:"event"`      // the leaf, as encoded
	Path       []string `json:"path"`       // base64 hashes from the leaf to the root
	Checkpoint string   `json:"checkpoint"` // the signed note that names the root
}

// Doctor is what a look at the whole deployment found.
type Doctor struct {
	OK     bool     `json:"ok"` // no check failed
	Checks []Check  `json:"checks"`
	Config []Config `json:"config"` // the effective configuration, without secrets
}

// Check is one thing that was looked at.
type Check struct {
	Name   string `json:"name"`             // stable: "checkpoint_sink"
	Status string `json:"status"`           // "ok", "warning" or "failed"
	Detail string `json:"detail,omitempty"` // what was found, in a sentence
	Fix    string `json:"fix,omitempty"`    // what to do about it
}

// Config is one setting and where it came from.
type Config struct {
	Name   string `json:"name"`   // as on the command line: "public-url"
	Value  string `json:"value"`  // for a secret only where it is kept
	Source string `json:"source"` // "default", "set", or more precisely "flag", "environment" or "file"
}

// Me is who asks.
type Me struct {
	Kind   string    `json:"kind"`           // "browser", "cli" or "operator"
	User   *User     `json:"user,omitempty"` // nobody, for the operator
	UID    *int      `json:"uid,omitempty"`  // of the operator's process
	AuthAt time.Time `json:"auth_at,omitzero"`
	// Changes says whether changes of who may do what are open to them right now,
	// without touching a passkey first.
	Changes bool `json:"changes"`
}

// Status is how a deployment stands.
type Status struct {
	Version     string    `json:"version"`
	PublicURL   string    `json:"public_url"`
	StartedAt   time.Time `json:"started_at"`
	Passkey     bool      `json:"passkey"` // somebody has one: from then on the operator socket reads, proposes and freezes
	Users       int       `json:"users"`
	Agents      int       `json:"agents"`
	Connections int       `json:"connections"` // that are not revoked
	Grants      int       `json:"grants"`      // that can be used
	Pending     int       `json:"pending"`     // open approvals, counted up to 200
	Freezes     int       `json:"freezes"`
	Events      int64     `json:"events"`             // size of the audit log
	Warnings    []string  `json:"warnings,omitempty"` // what the operator should know, a sentence each
}

package httpapi

import (
	"context"
	"iter"
	"log/slog"
	"net/http"
	"net/netip"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/secret"
)

// Server answers the API. All fields must be set before it is used, except
// those that say otherwise.
type Server struct {
	Org       id.Org
	Version   string // of the program, for people
	StartedAt time.Time
	Config    config.Config
	// Sources says where a setting came from, by its name on the command line;
	// nil when nobody noted it.
	Sources  map[string]string
	Warnings []string // what the operator should know, one sentence each; may be nil

	Agents       *agent.Service
	Refusals     *agent.Refusals
	Users        *user.Service
	Broker       *broker.Broker
	Receipts     *broker.Receipts
	Manage       *manage.Service
	Connect      *connect.Service
	Proposals    *proposal.Service
	Checkpointer *audit.Checkpointer
	Record       Record

	// Cookie is the name of the cookie that holds a browser's session; "" where
	// there is none.
	Cookie string
	// EnrolURL is the page behind an enrolment link.
	EnrolURL func(link secret.Text) string
	// ClientIP says where a request comes from, proxies considered.
	ClientIP func(*http.Request) netip.Addr
	// Leaving is closed when the server begins to stop: whoever waits is told to
	// come back.
	Leaving <-chan struct{}
	// Heartbeat is how long a stream stays silent at most; 15 s if zero.
	Heartbeat time.Duration
	Log       *slog.Logger

	verifying sync.Mutex // one reading of the whole log at a time
	ready     readiness
}

// Record is the reading side of the audit log.
type Record interface {
	Head(ctx context.Context) (audit.Head, error)
	ReadHashes(ctx context.Context, indexes []int64) ([]tlog.Hash, error)
	// Leaves returns the encoded events from seq on, at most limit.
	Leaves(ctx context.Context, from int64, limit int) ([][]byte, error)
	// Woken returns a channel that is closed at the next commit with events.
	Woken() <-chan struct{}
	// Select returns the newest events that fit, newest first.
	Select(ctx context.Context, which Selection) ([]audit.Event, error)
	// Snapshot opens the log as it is, for verification and export.
	Snapshot(ctx context.Context) (Snapshot, error)
}

// Selection is which events to select. Empty members select everything.
type Selection struct {
	Org    id.Org
	Before int64  // sequence number, exclusive; 0 means from the newest
	Object string //
	Actor  string //
	Verb   string // exact, or a prefix that ends in a dot
	Limit  int
}

// Snapshot is the log at one moment.
type Snapshot interface {
	Head(ctx context.Context) (audit.Head, error)
	Records(ctx context.Context) iter.Seq2[audit.Record, error]
	Hashes(ctx context.Context) iter.Seq2[tlog.Hash, error]
	Close() error
}

var _ audit.Source = Snapshot(nil)

// conns and users are stores that several handlers only read.
func (s *Server) conns() vault.Store { return s.Manage.Conns }
func (s *Server) users() user.Store  { return s.Users.Store }

// page is the address of a page of the dashboard.
func (s *Server) page(path string) string { return s.Config.PublicURL + path }

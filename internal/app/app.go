// Package app wires Valetkey together. It is the one place that knows both a
// service and its adapter; everything is built here top to bottom, in reading
// order, and nothing is found by any other way than a field.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/broker"
	"github.com/valetkey/valetkey/internal/config"
	"github.com/valetkey/valetkey/internal/connect"
	"github.com/valetkey/valetkey/internal/dash"
	"github.com/valetkey/valetkey/internal/egress"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/freeze"
	"github.com/valetkey/valetkey/internal/httpapi"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/jwt"
	"github.com/valetkey/valetkey/internal/manage"
	"github.com/valetkey/valetkey/internal/oauth"
	"github.com/valetkey/valetkey/internal/proposal"
	"github.com/valetkey/valetkey/internal/seal"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/internal/vault"
	"github.com/valetkey/valetkey/provider/catalog"
	"github.com/valetkey/valetkey/secret"
)

// App is a server that has been put together and not yet started.
type App struct {
	Config   config.Config
	Log      *slog.Logger
	Version  string   // of the program, for people
	Warnings []string // what the operator should know, one sentence each

	DB           *store.DB
	Keys         *seal.Keyring
	Journal      *audit.Journal
	Sink         *audit.FileSink
	Checkpointer *audit.Checkpointer
	Signer       *jwt.Signer

	Egress *egress.Client
	// IdentityOut is the way to the identity provider; nil without one.
	IdentityOut *egress.Client
	Users       *user.Service
	Agents      *agent.Service
	Refusals    *agent.Refusals
	Freezes     *freeze.Switch
	Providers   *vault.Providers
	Vault       *vault.Service
	Connect     *connect.Service
	Policies    *broker.Policies
	Broker      *broker.Broker
	Receipts    *broker.Receipts
	Manage      *manage.Service
	Proposals   *proposal.Service

	OAuth *oauth.Server
	API   *httpapi.Server
	Dash  *dash.Server

	started time.Time
	leaving chan struct{} // closed when the server begins to stop
	fatal   chan error    // history was lost or forked: stop serving
}

const org = id.DefaultOrg

// New builds the server that cfg describes. The caller closes it.
func New(ctx context.Context, cfg config.Config, log *slog.Logger) (_ *App, err error) {
	a := &App{Config: cfg, Log: log, started: time.Now(), fatal: make(chan error, 1), leaving: make(chan struct{})}
	defer func() {
		if err != nil {
			err = errors.Join(err, a.Close())
		}
	}()
	harden(log)
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return nil, fault.New(fault.Invalid, "bad_config", fmt.Sprintf("The data directory %s cannot be created.", cfg.Data)).Because(err)
	}
	dsn, err := cfg.Database()
	if err != nil {
		return nil, err
	}
	if a.DB, err = store.Open(ctx, dsn, log); err != nil {
		return nil, err
	}
	if err := a.openKeys(ctx); err != nil {
		return nil, err
	}
	if err := a.openAudit(ctx); err != nil {
		return nil, err
	}
	if err := a.services(); err != nil {
		return nil, err
	}
	if err := a.recover(ctx); err != nil {
		return nil, err
	}
	return a, a.edges()
}

func (a *App) openKeys(ctx context.Context) error {
	var kek seal.KEK
	var err error
	if a.Config.PassphraseFile != "" {
		var phrase secret.Text
		if phrase, err = a.Config.Passphrase(); err != nil {
			return err
		}
		kek, err = seal.NewPassphraseKEK(phrase)
	} else {
		kek, err = seal.NewFileKEK(a.Config.RootKeyFile)
	}
	if err != nil {
		return err
	}
	if a.Keys, err = seal.Open(ctx, kek, a.DB.Keys()); err != nil {
		return err
	}
	a.DB.Authenticate(a.Keys.RowMAC())
	pkcs8, err := a.Keys.Secret(ctx, seal.TokenSigning, jwt.GenerateSigningKey)
	if err != nil {
		return err
	}
	a.Signer, err = jwt.NewSigner(pkcs8)
	return err
}

// openAudit opens what lies outside the database: the checkpoints and the
// journal, and refuses to go on when the database has fallen behind them.
func (a *App) openAudit(ctx context.Context) error {
	skey, err := a.Keys.Secret(ctx, seal.AuditSigning, func() (secret.Text, error) {
		skey, _, err := audit.GenerateKey(logOrigin(a.Config.PublicURL))
		return skey, err
	})
	if err != nil {
		return err
	}
	signer, err := audit.NewSigner(skey)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(a.Config.CheckpointSink), 0o700); err != nil {
		return fault.New(fault.Invalid, "bad_config", "The directory of the checkpoint sink cannot be created.").Because(err)
	}
	if a.Sink, err = audit.OpenFileSink(a.Config.CheckpointSink); err != nil {
		return err
	}
	if a.Journal, err = audit.OpenJournal(a.Config.Journal()); err != nil {
		return err
	}
	if sameDisk(a.Config.CheckpointSink, a.Config.Data) {
		a.Warnings = append(a.Warnings, fmt.Sprintf("The checkpoints in %s lie on the same disk as the data: whoever can change one can change both. Put them elsewhere with --checkpoint-sink.", a.Config.CheckpointSink))
	}
	a.Checkpointer = &audit.Checkpointer{
		Log: a.DB.Log(), Signer: signer, Sinks: []audit.Sink{a.Sink}, Logger: a.Log,
		OnFault: func(err error) { a.fatal <- err },
	}
	if err := a.Checkpointer.Resume(ctx); err != nil {
		return fault.New(fault.Conflict, "history_lost", "The audit log in the database is older than, or other than, what the checkpoints outside prove. If the database was restored from a backup, keep both files and read 'Restoring' in docs/operations.md before going on.").Because(err)
	}
	return nil
}

// logOrigin names the log in its checkpoints, after the deployment.
func logOrigin(publicURL string) string {
	host := strings.TrimSuffix(publicURL[strings.Index(publicURL, "//")+2:], "/")
	return "valetkey/" + strings.ReplaceAll(host, ":", "/")
}

func sameDisk(a, b string) bool {
	var x, y syscall.Stat_t
	if syscall.Stat(filepath.Dir(a), &x) != nil || syscall.Stat(b, &y) != nil {
		return false
	}
	return x.Dev == y.Dev
}

func (a *App) services() error {
	specs, err := catalog.Load()
	if err != nil {
		return err
	}
	actions := a.DB.Actions()
	epoch := actions.Epoch

	a.Refusals = &agent.Refusals{Org: org, Store: a.DB.Agents().Tokens(), Log: a.Log}
	a.Agents = &agent.Service{Org: org, Store: a.DB.Agents(), Issuer: a.Config.PublicURL, Epoch: epoch}

	wa, warning := user.NewWebAuthn(a.Config.PublicURL, "Valetkey")
	if warning != "" {
		a.Warnings = append(a.Warnings, warning)
	}
	a.Users = &user.Service{Org: org, Store: a.DB.Users(), WebAuthn: wa, Tries: &user.Limiter{}, Refused: a.Refusals.Unknown,
		TrustCommandLine: a.Config.Operator == "socket", Log: a.Log}
	if a.Users.OIDC, err = a.signIn(); err != nil {
		return err
	}

	a.Providers = &vault.Providers{Org: org, Catalog: specs, Store: a.DB.Registrations(), Keys: a.Keys, Epoch: epoch}
	a.Egress = egress.New(egress.Options{
		Guard: &egress.Guard{AllowInternal: a.Config.AllowInternal}, Internal: a.Providers.InternalHost, AllowHTTP: a.Providers.InternalHost,
		UserAgent: "valetkey", MaxResponse: broker.MaxAnswer, Log: a.Log,
	})
	a.Providers.Web = a.Egress.HTTPClient
	oauth := &vault.OAuth{Client: a.Egress}
	a.Vault = &vault.Service{Org: org, Store: a.DB.Connections(), Keys: a.Keys, Providers: a.Providers, OAuth: oauth, Log: a.Log}
	a.Connect = &connect.Service{
		Org: org, Store: a.DB.Flows(), Vault: a.Vault, Conns: a.DB.Connections(), Providers: a.Providers, OAuth: oauth, Keys: a.Keys,
		PublicURL: a.Config.PublicURL, Log: a.Log,
	}
	a.Freezes = &freeze.Switch{Store: a.DB.Freezes(), Journal: a.Journal, Log: a.Log}
	a.Policies = &broker.Policies{Org: org, Store: a.DB.Policies(), Epoch: epoch}
	a.Broker = &broker.Broker{
		Org: org, Store: actions, Queue: actions, Log: a.DB.Log(), Policies: a.Policies, Freezes: a.Freezes, Grants: a.DB.Grants(),
		Vault: a.Vault, Conns: a.DB.Connections(), Users: a.DB.Users(), Agents: a.DB.Agents(), Refusals: a.Refusals, Keys: a.Keys,
		Egress: a.Egress, Logger: a.Log, Reliefs: a.DB.Reliefs(), MaxAsked: broker.MaxAsked,
	}
	a.Freezes.Thrown = a.Broker.Halt
	a.Receipts = &broker.Receipts{Broker: a.Broker, Proofs: a.DB.Log(), Anchors: a.Checkpointer, Issuer: a.Config.PublicURL}
	a.Manage = &manage.Service{
		Org: org, Agents: a.Agents, Grants: a.DB.Grants(), Conns: a.DB.Connections(), Vault: a.Vault, Providers: a.Providers,
		Freezes: a.Freezes, Users: a.DB.Users(), CheckURL: a.Egress.CheckURL, Seen: a.DB.Agents().Seen,
	}
	a.Proposals = &proposal.Service{Org: org, Store: a.DB.Proposals(), Keys: a.Keys, Passkeys: a.DB.Users().Passkeys(), Log: a.Log}
	return nil
}

// recover puts right what a crash left behind, before anything is served.
func (a *App) recover(ctx context.Context) error {
	if err := a.Freezes.Load(ctx, org); err != nil {
		return err
	}
	// On SQLite the lock says that no other process is at anything, whatever the
	// clocks said. On PostgreSQL one may be, for a while.
	before := time.UnixMicro(math.MaxInt64)
	if a.DB.Engine() == "postgres" {
		before = a.started.Add(-broker.Abandoned)
	} else if err := a.Vault.EndLeases(ctx); err != nil {
		a.Log.ErrorContext(ctx, "ending the leases of a process before", slog.Any("error", err)) // they end by themselves
	}
	if err := a.Broker.Recover(ctx, before); err != nil {
		return err
	}
	// Rules that cannot be read would refuse everything: better not to start.
	if _, err := a.Policies.Set(ctx); err != nil {
		return fault.New(fault.Conflict, "bad_policy", "The stored policies cannot be compiled, so nothing could be judged: "+err.Error())
	}
	_, err := a.Providers.All(ctx)
	return err
}

// Close ends what New began. It is safe after an error.
func (a *App) Close() error {
	var errs []error
	if a.Egress != nil {
		a.Egress.CloseIdle()
	}
	if a.IdentityOut != nil {
		a.IdentityOut.CloseIdle()
	}
	if a.DB != nil {
		errs = append(errs, a.DB.Close())
	}
	if a.Sink != nil {
		errs = append(errs, a.Sink.Close())
	}
	if a.Journal != nil {
		errs = append(errs, a.Journal.Close())
	}
	return errors.Join(errs...)
}

// Background runs the loops until ctx is done: the road, the checkpoints, the
// counted refusals, proposals that have run out, interrupted disconnects.
func (a *App) Background(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return a.Broker.Run(ctx) })
	g.Go(func() error { return a.Checkpointer.Run(ctx) })
	g.Go(func() error { return a.Refusals.Run(ctx) })
	g.Go(func() error { return a.Proposals.Run(ctx) })
	g.Go(func() error {
		if err := a.Vault.FinishDisconnects(ctx); err != nil && ctx.Err() == nil {
			a.Log.ErrorContext(ctx, "finishing disconnects", slog.Any("error", err))
		}
		return nil
	})
	g.Go(func() error {
		select {
		case err := <-a.fatal:
			return fmt.Errorf("history was lost or forked, nothing is served any more: %w", err)
		case <-ctx.Done():
			return nil
		}
	})
	return g.Wait()
}

// ClientAddr is who is calling: the peer of the connection, or, when that is a
// proxy the operator trusts, the last address in X-Forwarded-For that is not
// one.
func (a *App) ClientAddr(remote string, forwarded []string) netip.Addr {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return netip.Addr{}
	}
	addr, err := netip.ParseAddr(host)
	if err != nil {
		return netip.Addr{}
	}
	addr = addr.Unmap().WithZone("")
	var hops []string
	for _, line := range forwarded {
		hops = append(hops, strings.Split(line, ",")...)
	}
	for i := len(hops) - 1; i >= 0 && a.trusted(addr); i-- {
		next, err := netip.ParseAddr(strings.TrimSpace(hops[i]))
		if err != nil {
			return netip.Addr{} // a trusted proxy that writes nonsense tells us nobody
		}
		addr = next.Unmap().WithZone("")
	}
	return addr
}

func (a *App) trusted(addr netip.Addr) bool {
	for _, p := range a.Config.TrustedProxies {
		if p.Contains(addr) {
			return true
		}
	}
	return false
}

package sandbox

import (
	"net/http"
	"strings"
	"time"

	"github.com/valetkey/valetkey/secret"
)

const (
	codeTTL    = 10 * time.Minute
	formTTL    = 10 * time.Minute
	refreshTTL = 184 * 24 * time.Hour // about six months, as upstream
)

// hash is how codes, forms and tokens are kept.
type hash = [32]byte

// authority is the OAuth half of the world: what was asked, what was granted,
// which tokens work. The server's mutex guards it.
type authority struct {
	accessTTL  time.Duration
	omitExpiry bool     // answers lack expires_in, as some providers' do
	shrunk     []string // grant at most these scopes
	shrink     bool
	loseNext   int // so many refreshes rotate and lose their answer
	lastFamily int64

	forms   map[hash]request
	codes   map[hash]*code
	access  map[hash]*access
	refresh map[hash]*refresh
	family  map[*family]bool // those alive
}

// request is what an application asked for at the authorization endpoint.
type request struct {
	redirectURI string
	redirected  bool // the URI was in the request, so it must be in the exchange
	state       string
	challenge   string
	scopes      []string
	expiresAt   time.Time
}

// code is an authorization code. It stays after its use, so that a second use
// is recognised.
type code struct {
	request
	login  string
	spent  bool
	family *family
}

// family is one authorization and every token that descends from it. At most
// one access token and one refresh token of a family work at a time.
type family struct {
	id        int64
	login     string
	scopes    []string
	app       bool // of the OAuth application; otherwise a personal token
	dead      bool
	access    hash
	refresh   hash
	createdAt time.Time
}

type access struct {
	family    *family
	expiresAt time.Time // zero never expires
}

type refresh struct {
	family    *family
	spent     bool
	expiresAt time.Time
}

// pair is what a successful exchange hands out.
type pair struct {
	access, refresh secret.Text
	scopes          []string
	renewed         bool // not the first of its family
}

func newAuthority(accessTTL time.Duration) *authority {
	return &authority{
		accessTTL: accessTTL,
		forms:     map[hash]request{}, codes: map[hash]*code{},
		access: map[hash]*access{}, refresh: map[hash]*refresh{}, family: map[*family]bool{},
	}
}

// mint makes a token with the prefix by which scanners recognise its kind.
func mint(prefix string) secret.Text { return secret.New(prefix + secret.Random(27).Reveal()) }

func (a *authority) newFamily(login string, scopes []string, app bool, now time.Time) *family {
	a.lastFamily++
	f := &family{id: a.lastFamily, login: login, scopes: scopes, app: app, createdAt: now}
	a.family[f] = true
	return f
}

// rotate gives the family a new pair; the one before stops at once, the
// access token as well as the refresh token.
func (a *authority) rotate(f *family, now time.Time) pair {
	a.prune(now)
	delete(a.access, f.access)
	if old := a.refresh[f.refresh]; old != nil {
		old.spent = true
	}
	p := pair{mint("ghu_"), mint("ghr_"), f.scopes, f.access != hash{}}
	f.access, f.refresh = p.access.Hash(), p.refresh.Hash()
	a.access[f.access] = &access{f, now.Add(a.accessTTL)}
	a.refresh[f.refresh] = &refresh{family: f, expiresAt: now.Add(refreshTTL)}
	return p
}

// kill stops every token of a family for good.
func (a *authority) kill(f *family) {
	f.dead = true
	delete(a.access, f.access)
	delete(a.family, f)
}

// killAll stops the tokens of a user: those of the application, or all.
func (a *authority) killAll(login string, personalToo bool) {
	for f := range a.family {
		if strings.EqualFold(f.login, login) && (f.app || personalToo) {
			a.kill(f)
		}
	}
}

// renew uses up a refresh token. One that was used before, or belongs to a
// dead family, is a sign of theft: everything that descends from the same
// authorization stops (RFC 9700 §4.14.2).
func (a *authority) renew(token secret.Text, now time.Time) (pair, bool) {
	t := a.refresh[token.Hash()]
	switch {
	case t == nil || t.family.dead:
		return pair{}, false
	case t.spent:
		a.kill(t.family)
		return pair{}, false
	case !now.Before(t.expiresAt):
		return pair{}, false
	}
	return a.rotate(t.family, now), true
}

// token finds a working access token.
func (a *authority) token(token secret.Text, now time.Time) *access {
	t := a.access[token.Hash()]
	if t == nil || !t.expiresAt.IsZero() && !now.Before(t.expiresAt) {
		return nil
	}
	return t
}

// caller says who sends a request with these headers.
func (a *authority) caller(h http.Header, now time.Time) caller {
	values := h.Values("Authorization")
	if len(values) == 0 {
		return caller{}
	}
	scheme, token, _ := strings.Cut(values[0], " ")
	if len(values) > 1 || !strings.EqualFold(scheme, "bearer") && !strings.EqualFold(scheme, "token") {
		return caller{bad: true}
	}
	t := a.token(secret.New(token), now)
	if t == nil {
		return caller{bad: true}
	}
	return caller{login: t.family.login, scopes: t.family.scopes, bound: len(t.family.scopes) > 0}
}

// prune forgets what has expired, so that memory stays bounded.
func (a *authority) prune(now time.Time) {
	for h, f := range a.forms {
		if !now.Before(f.expiresAt) {
			delete(a.forms, h)
		}
	}
	for h, c := range a.codes {
		if !now.Before(c.expiresAt) {
			delete(a.codes, h)
		}
	}
	for h, t := range a.access {
		if !t.expiresAt.IsZero() && !now.Before(t.expiresAt) {
			delete(a.access, h)
		}
	}
	for h, t := range a.refresh {
		if h == t.family.refresh && !now.Before(t.expiresAt) {
			a.kill(t.family) // nothing can come of it any more
		}
		if !now.Before(t.expiresAt) || t.family.dead {
			delete(a.refresh, h)
		}
	}
}

// PersonalToken makes a personal access token of a user. It never expires.
// Without scopes it may do whatever the user may. It panics if there is no
// such user.
func (s *Server) PersonalToken(login string, scopes ...string) secret.Text {
	s.mu.Lock()
	defer s.mu.Unlock()
	u := s.world.must(login)
	f := s.authority.newFamily(u.login, scopes, false, time.Now())
	t := mint("ghp_")
	f.access = t.Hash()
	s.authority.access[f.access] = &access{family: f}
	return t
}

package crash_test

import (
	"slices"
	"sync"
	"time"

	"github.com/valetkey/valetkey/api"
)

// intent is one write that an agent wants done, from the first submission to
// the last word about it.
type intent struct {
	marker string // stands in its body, and nowhere else
	agent  *agent
	con    string
	body   string

	busy    bool            // somebody is at it
	sent    bool            // it was asked for before
	action  string          // its id, once that was acknowledged
	saw     api.ActionState // the latest state that was acknowledged
	said    string          // the decision that was acknowledged: "approve", "deny" or ""
	saidIn  int             // the life that acknowledged it
	trying  string          // the decision that was sent last
	status  int             // of an answer that came at once
	ran     bool            // "already_ran": it may have happened, nobody knows the answer
	settled bool            // nothing more will be learned of it, until the end
}

// tokenRequest is a signed request to the token endpoint. What was signed is
// good for one answer.
type tokenRequest struct {
	body []byte
	used bool // a token was answered for it
	at   time.Time
}

// book is what the server acknowledged.
type book struct {
	mu       sync.Mutex
	intents  []*intent
	deaths   map[int]time.Time // by life
	requests []*tokenRequest   // since the last check
	grants   map[string]string
	freezes  map[string]string
	ended    map[string]bool // connections whose end was acknowledged
	linked   map[string]bool // logins whose connection was acknowledged last

	actions, vends, replays, lost, duplicates, unknown, resumed, reconnected int
	wrongs                                                                   int
}

func newBook() *book {
	return &book{deaths: map[int]time.Time{}, grants: map[string]string{}, freezes: map[string]string{}, ended: map[string]bool{}, linked: map[string]bool{}}
}

// do changes the book.
func (b *book) do(change func()) {
	b.mu.Lock()
	defer b.mu.Unlock()
	change()
}

// signed notes what became of a token request. One that got an answer which is
// no token is of no interest.
func (b *book) signed(body []byte, used, lost bool, at time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if used || lost {
		b.requests = append(b.requests, &tokenRequest{body, used, at})
	}
}

// want opens an intent.
func (b *book) want(in *intent) *intent {
	b.do(func() { b.intents = append(b.intents, in) })
	return in
}

// take picks one of the intents that a test selects, for whoever gives it back.
func (b *book) take(pick func(n int) int, which func(*intent) bool) *intent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var free []*intent
	for _, in := range b.intents {
		if !in.busy && which(in) {
			free = append(free, in)
		}
	}
	if len(free) == 0 {
		return nil
	}
	in := free[pick(len(free))]
	in.busy = true
	return in
}

// open are the intents that a test selects.
func (b *book) open(which func(*intent) bool) []*intent {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []*intent
	for _, in := range b.intents {
		if which(in) {
			out = append(out, in)
		}
	}
	return out
}

// takeRequests hands out the token requests since the last call.
func (b *book) takeRequests() []*tokenRequest {
	b.mu.Lock()
	defer b.mu.Unlock()
	out := b.requests
	b.requests = nil
	return out
}

// rank orders the states of a held action: none goes back.
func rank(s api.ActionState) int {
	order := []api.ActionState{api.StatePending, api.StateApproved, api.StateExecuting}
	if i := slices.Index(order, s); i >= 0 {
		return i
	}
	return len(order) // final
}

func final(s api.ActionState) bool { return rank(s) == 3 }

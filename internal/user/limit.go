package user

import (
	"sync"
	"time"
)

// Limiter counts tries, so that guessing stays hopeless. Each key has its own
// allowance: one peer's failures never lock another out. The number of keys is
// bounded; when more peers try at once than that, the rest share one
// allowance, which bounds what all of them together can try.
//
// It lives in memory: with several replicas each allows as much.
type Limiter struct {
	Burst int           // tries before the first wait; 10 if zero
	Every time.Duration // one more try is allowed each; 6 s if zero
	Keys  int           // peers told apart; 10 000 if zero

	mu    sync.Mutex
	spent map[string]time.Time // when all tries of the key are available again
	swept time.Time
}

func (l *Limiter) settings() (burst, every time.Duration, keys int) {
	n, every, keys := l.Burst, l.Every, l.Keys
	if n == 0 {
		n = 10
	}
	if every == 0 {
		every = 6 * time.Second
	}
	if keys == 0 {
		keys = 10_000
	}
	return time.Duration(n) * every, every, keys
}

// crowd is the key of everybody beyond the bound.
const crowd = ""

// Take spends one try of key; it reports false, and spends nothing, when none
// is left.
func (l *Limiter) Take(key string, now time.Time) bool {
	burst, every, _ := l.settings()
	l.mu.Lock()
	defer l.mu.Unlock()
	key = l.place(key, now)
	at := l.spent[key]
	if at.Before(now) {
		at = now
	}
	if at = at.Add(every); at.Sub(now) > burst {
		return false
	}
	l.spent[key] = at
	return true
}

// Return gives a try back that turned out to be legitimate.
func (l *Limiter) Return(key string, now time.Time) {
	_, every, _ := l.settings()
	l.mu.Lock()
	defer l.mu.Unlock()
	key = l.place(key, now)
	if at := l.spent[key].Add(-every); at.After(now) {
		l.spent[key] = at
	} else {
		delete(l.spent, key)
	}
}

// place finds the key under which key is counted, and makes room for it.
func (l *Limiter) place(key string, now time.Time) string {
	_, every, keys := l.settings()
	if l.spent == nil {
		l.spent = map[string]time.Time{}
	}
	if _, known := l.spent[key]; known || len(l.spent) < keys {
		return key
	}
	// Sweeping costs as much as there are keys, so it is done rarely.
	if now.Sub(l.swept) >= every || now.Before(l.swept) {
		l.swept = now
		for k, at := range l.spent {
			if !at.After(now) {
				delete(l.spent, k)
			}
		}
		if len(l.spent) < keys {
			return key
		}
	}
	return crowd
}

// place is what a peer is counted by: an IPv4 address, or the /64 that one
// IPv6 host commonly owns.
func (p Peer) place() string {
	from := p.From.Unmap()
	bits := 32
	if from.Is6() {
		bits = 64
	}
	block, err := from.Prefix(bits)
	if err != nil || !from.IsValid() {
		return "nowhere" // no address: a local socket
	}
	return "at " + block.Addr().String()
}

// place is what a person who is logged in is counted by.
func (p Principal) place() string { return "user " + string(p.User) }

// source is how the log names where a peer is.
func (p Peer) source() string {
	if !p.From.IsValid() {
		return ""
	}
	return p.From.Unmap().String()
}

package crash_test

import (
	"sync"
	"time"
)

// trap is where a life ends. Whoever passes a spot says so; the one that the
// trap waits for springs it.
type trap struct {
	mu    sync.Mutex
	spot  string
	skip  int           // how many pass first
	delay time.Duration // from the spot to the kill
	fire  func()
}

// arm sets the trap for one life.
func (t *trap) arm(spot string, skip int, delay time.Duration, fire func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.spot, t.skip, t.delay, t.fire = spot, skip, delay, fire
}

func (t *trap) disarm() { t.arm("", 0, 0, nil) }

// pass says that spot is reached. It reports whether that ends the life; then
// the process is gone on return, or will be when the delay is over.
func (t *trap) pass(spot string) bool {
	t.mu.Lock()
	if t.fire == nil || t.spot != spot {
		t.mu.Unlock()
		return false
	}
	if t.skip > 0 {
		t.skip--
		t.mu.Unlock()
		return false
	}
	fire, delay := t.fire, t.delay
	t.fire = nil
	t.mu.Unlock()
	if delay > 0 {
		time.AfterFunc(delay, fire)
	} else {
		fire()
	}
	return true
}

// armed reports whether the trap waits for spot.
func (t *trap) armed(spot string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.fire != nil && t.spot == spot
}

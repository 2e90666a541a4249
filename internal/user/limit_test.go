package user_test

import (
	"fmt"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/user"
)

// However tries, returns and waits follow each other, nobody gets more than
// the burst and what time has brought.
func TestLimiterBound(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		l := &user.Limiter{Burst: 3, Every: time.Second, Keys: 4}
		start := time.Unix(1_700_000_000, 0)
		now, taken := start, 0
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			switch rapid.IntRange(0, 3).Draw(t, "step") {
			case 0:
				now = now.Add(time.Duration(rapid.IntRange(0, 2500).Draw(t, "ms")) * time.Millisecond)
			case 1:
				if taken > 0 && l.Take("me", now) {
					l.Return("me", now) // costs nothing
				}
			default:
				if l.Take("me", now) {
					taken++
				}
			}
			if most := 3 + int(now.Sub(start)/time.Second); taken > most {
				t.Fatalf("%d tries in %s", taken, now.Sub(start))
			}
		}
	})
}

// A crowd of strangers shares one allowance, and takes nobody else's.
func TestLimiterCrowd(t *testing.T) {
	l := &user.Limiter{Burst: 2, Every: time.Second, Keys: 5}
	now := time.Unix(1_700_000_000, 0)
	l.Take("me", now)
	let := 0
	for i := range 100 {
		if l.Take(fmt.Sprintf("stranger %d", i), now) {
			let++
		}
	}
	if let > 4+2 {
		t.Errorf("%d strangers were let try", let)
	}
	if !l.Take("me", now) {
		t.Error("the crowd spent my tries")
	}
	if l.Take("me", now) {
		t.Error("more tries than the burst")
	}
	if now = now.Add(time.Minute); !l.Take("stranger 99", now) {
		t.Error("a stranger waits though everybody has gone")
	}
}

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"os"
	"syscall"
	"time"
)

// lockPatience is how long a lock is tried for: a process that is just ending,
// or a child that has been forked and not yet executed, holds it a moment
// longer than its owner does.
const lockPatience = 500 * time.Millisecond

// lockFile takes the lock on path, or returns errLocked.
func lockFile(path string) (unlock func() error, err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, err
	}
	for start := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		switch {
		case err == nil:
			return f.Close, nil
		case !errors.Is(err, syscall.EWOULDBLOCK):
			return nil, errors.Join(err, f.Close())
		case time.Since(start) > lockPatience:
			return nil, errors.Join(errLocked, f.Close())
		}
	}
}

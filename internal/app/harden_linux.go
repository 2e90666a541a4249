package app

import (
	"log/slog"
	"syscall"
)

const prSetDumpable = 4 // prctl(2)

// harden keeps secrets in this process from reaching a core file or another
// process of the same user.
func harden(log *slog.Logger) {
	if err := syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}); err != nil {
		log.Warn("core files not switched off", slog.Any("error", err))
	}
	if _, _, errno := syscall.RawSyscall(syscall.SYS_PRCTL, prSetDumpable, 0, 0); errno != 0 {
		log.Warn("process left dumpable", slog.Any("error", errno))
	}
}

package httpapi

import (
	"fmt"
	"net"
	"syscall"
)

// peerUID is the user of the process that connected, as the kernel noted it
// then (SO_PEERCRED, unix(7)).
func peerUID(c net.Conn) (int, error) {
	u, ok := c.(*net.UnixConn)
	if !ok {
		return 0, fmt.Errorf("read peer of %T: not a Unix socket", c)
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return 0, fmt.Errorf("read peer: %w", err)
	}
	var cred *syscall.Ucred
	var failed error
	err = raw.Control(func(fd uintptr) {
		cred, failed = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED)
	})
	if err == nil {
		err = failed
	}
	if err != nil {
		return 0, fmt.Errorf("read peer: %w", err)
	}
	return int(cred.Uid), nil
}

package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"sync"
)

// roleFlag starts this program as one of the servers.
const roleFlag = "-role"

// The roles.
const (
	roleTarget   = "target"
	roleCeiling  = "ceiling"
	roleUpstream = "upstream"
	roleProxy    = "proxy"
)

// child is this program in another role. The two talk in JSON values over the
// child's standard input and output: first what it is to serve and where it
// does, then a request and a reply at a time.
type child struct {
	cmd   *exec.Cmd
	mu    sync.Mutex
	to    io.WriteCloser
	reply *json.Decoder
}

// start runs a role and waits until it serves. It ends with ctx, with stop, or
// with us, whichever comes first: its input ends then.
func start(ctx context.Context, role string, what, ready any) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, self, roleFlag, role)
	cmd.Stderr = os.Stderr
	to, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	from, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", role, err)
	}
	c := &child{cmd: cmd, to: to, reply: json.NewDecoder(bufio.NewReader(from))}
	if err := c.ask(what, ready); err != nil {
		return nil, errors.Join(fmt.Errorf("start %s: %w", role, err), c.stop())
	}
	return c, nil
}

// ask sends a request and reads the reply.
func (c *child) ask(request, reply any) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := json.NewEncoder(c.to).Encode(request); err != nil {
		return err
	}
	return c.reply.Decode(reply)
}

func (c *child) pid() int { return c.cmd.Process.Pid }

func (c *child) stop() error {
	return errors.Join(c.to.Close(), c.cmd.Wait())
}

// play is the child's side.
func play(ctx context.Context, role string, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	requests, replies := json.NewDecoder(in), json.NewEncoder(out)
	switch role {
	case roleTarget:
		return playTarget(ctx, requests, replies)
	case roleCeiling:
		return playCeiling(requests, replies)
	case roleUpstream:
		return playUpstream(requests, replies)
	case roleProxy:
		return playProxy(requests, replies)
	}
	return fmt.Errorf("there is no role %q", role)
}

// place is where a role serves.
type place struct {
	Addr string // HOST:PORT
}

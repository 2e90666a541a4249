package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// load is what the clients of one measurement send.
type load struct {
	addr     string
	pid      int      // of the server, to count what it costs
	requests [][]byte // whole HTTP/1.1 requests
	status   string   // what each must be answered with: "200"
	clients  int
	// repeat sends the requests again and again for this long; 0 sends each
	// once. What is remembered as spent cannot be repeated.
	repeat time.Duration
}

// sample is one side of one measurement.
type sample struct {
	Rate float64 `json:"per_second"`
	P50  float64 `json:"p50_us"`
	P99  float64 `json:"p99_us"`
	N    int     `json:"requests"`
	// CPU is what the server spent on each request. It tells more than the rate
	// where somebody else uses the machine, too.
	CPU float64 `json:"cpu_us"`
}

// fire sends a load over kept-alive connections, one request at a time on
// each, and measures it from the first byte to the last. It is as lean as it
// can be: what the load costs is taken from the same cores.
func fire(ctx context.Context, l load) (sample, error) {
	if len(l.requests) == 0 {
		return sample{}, errors.New("nothing to send")
	}
	conns := make([]*conn, l.clients)
	for i := range conns {
		c, err := dial(ctx, l.addr)
		if err != nil {
			return sample{}, err
		}
		defer c.Close()
		conns[i] = c
	}
	var next, failed atomic.Int64
	errs := make([]error, l.clients)
	times := make([][]time.Duration, l.clients)
	spent := spentBy(l.pid)
	begin := time.Now()
	var wait sync.WaitGroup
	for i, c := range conns {
		wait.Go(func() {
			for failed.Load() == 0 && ctx.Err() == nil {
				n := next.Add(1) - 1
				if l.repeat == 0 && n >= int64(len(l.requests)) || l.repeat > 0 && time.Since(begin) > l.repeat {
					return
				}
				sent := time.Now()
				if err := c.send(l.requests[n%int64(len(l.requests))], l.status); err != nil {
					errs[i] = err
					failed.Add(1)
					return
				}
				times[i] = append(times[i], time.Since(sent))
			}
		})
	}
	wait.Wait()
	took := time.Since(begin)
	spent = spentBy(l.pid) - spent
	if err := errors.Join(errors.Join(errs...), ctx.Err()); err != nil {
		return sample{}, err
	}
	all := slices.Concat(times...)
	return sample{Rate: float64(len(all)) / took.Seconds(), P50: quantile(all, 0.5), P99: quantile(all, 0.99), N: len(all),
		CPU: float64(spent.Microseconds()) / float64(len(all))}, nil
}

// quantile is the value below which the part q of all lies, in microseconds.
func quantile(all []time.Duration, q float64) float64 {
	if len(all) == 0 {
		return math.NaN()
	}
	slices.Sort(all)
	return float64(all[int(q*float64(len(all)-1))].Nanoseconds()) / 1e3
}

// conn is one kept-alive connection.
type conn struct {
	net.Conn
	r    *bufio.Reader
	body bytes.Buffer // of the last answer
}

func dial(ctx context.Context, addr string) (*conn, error) {
	c, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	return &conn{Conn: c, r: bufio.NewReaderSize(c, 16<<10)}, nil
}

// send writes a request and reads the answer to its end. It understands what
// our servers send, and no more of HTTP.
func (c *conn) send(request []byte, status string) error {
	if _, err := c.Write(request); err != nil {
		return err
	}
	line, err := c.r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if len(line) < 12 {
		return fmt.Errorf("not a status line: %q", line)
	}
	got := string(line[9:12])
	size, chunked := int64(0), false
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimRight(line, "\r\n")
		if len(line) == 0 {
			break
		}
		switch name, value, _ := bytes.Cut(line, []byte(": ")); {
		case len(name) == len("Content-Length") && bytes.EqualFold(name, []byte("Content-Length")):
			if size, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return err
			}
		case len(name) == len("Transfer-Encoding") && bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		}
	}
	c.body.Reset()
	if chunked {
		err = c.chunks()
	} else {
		_, err = io.CopyN(&c.body, c.r, size)
	}
	if err == nil && got != status {
		err = fmt.Errorf("answered with status %s, want %s: %.300s", got, status, c.body.Bytes())
	}
	return err
}

// chunks reads a chunked body (RFC 9112 §7.1); ours have no trailers.
func (c *conn) chunks() error {
	for {
		line, err := c.r.ReadSlice('\n')
		if err != nil {
			return err
		}
		size, err := strconv.ParseInt(string(bytes.TrimRight(line, "\r\n")), 16, 64)
		if err != nil {
			return err
		}
		if _, err := io.CopyN(&c.body, c.r, size); err != nil {
			return err
		}
		if _, err := c.r.Discard(2); err != nil {
			return err
		}
		if size == 0 {
			return nil
		}
	}
}

// post is a whole POST request.
func post(path, kind, bearer string, body []byte) []byte {
	b := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: %s\r\n", path, kind)
	if bearer != "" {
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", bearer)
	}
	return append(fmt.Appendf(b, "Content-Length: %d\r\n\r\n", len(body)), body...)
}

// get is a whole GET request.
func get(path, bearer string) []byte {
	b := fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: localhost\r\n", path)
	if bearer != "" {
		b = fmt.Appendf(b, "Authorization: Bearer %s\r\n", bearer)
	}
	return append(b, "\r\n"...)
}

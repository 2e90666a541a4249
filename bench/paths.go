package main

import (
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/valetkey/valetkey/api"
)

// path is something that is measured, and what it is measured against.
type path struct {
	name    string
	against string
	goal    string
	measure func(*lab) (measurement, error)
}

// measurement is one round of one path.
type measurement struct {
	Target  sample  `json:"target"`
	Ceiling *sample `json:"ceiling,omitempty"`
	// Base is what the ceiling itself is measured against, where there is such
	// a thing: the upstream without any proxy.
	Base *sample `json:"base,omitempty"`
}

func (m measurement) String() string {
	s := m.Target.String()
	if m.Ceiling != nil {
		s += fmt.Sprintf("   ceiling %s   ratio %.2f", m.Ceiling, m.Target.Rate/m.Ceiling.Rate)
	}
	return s
}

func (s sample) String() string {
	return fmt.Sprintf("%6.0f/s p50 %5.0f µs p99 %6.0f µs cpu %4.0f µs", s.Rate, s.P50, s.P99, s.CPU)
}

func paths() []path {
	return []path{
		{"exchange-strict", "ceiling(ES256), 2 JWTs", "ratio ≥ 0.50, p99 ≤ 2 × the ceiling's", func(l *lab) (measurement, error) {
			return l.exchange("exchange-strict", l.strict, true, l.clients)
		}},
		{"exchange-compat", "ceiling(ES256), 1 JWT", "ratio ≥ 0.50, p99 ≤ 2 × the ceiling's", func(l *lab) (measurement, error) {
			return l.exchange("exchange-compat", l.compat, false, l.clients)
		}},
		{"exchange-compat-rsa", "ceiling(RS256), 1 JWT", "ratio ≥ 0.45", func(l *lab) (measurement, error) {
			return l.exchange("exchange-compat-rsa", l.compatRSA, false, l.clients)
		}},
		{"exchange-lone", "ceiling(ES256), 2 JWTs, 1 client", "p50 ≤ 1000 µs above the ceiling's", func(l *lab) (measurement, error) {
			return l.exchange("exchange-lone", l.strict, true, 1)
		}},
		{"call", "ReverseProxy", "ratio ≥ 0.60", func(l *lab) (measurement, error) { return l.call("call", l.clients) }},
		{"call-lone", "ReverseProxy, 1 client", "p50 ≤ 150 µs above the proxy's", func(l *lab) (measurement, error) { return l.call("call-lone", 1) }},
		{"hold", "", "≥ 10000/s at 64 clients", (*lab).hold},
		{"wake", "", "p99 ≤ 5000 µs, the durable denial included", (*lab).wake},
	}
}

// names are what can be asked for.
func names() []string {
	out := []string{"process"}
	for _, p := range paths() {
		out = append(out, p.name)
	}
	return out
}

// exchange measures the token exchange. The ceiling gets the same requests
// again and again: it remembers nothing.
func (l *lab) exchange(name string, agents []*signer, strict bool, clients int) (measurement, error) {
	first := 2000.0
	if clients == 1 {
		first = 500
	}
	now := time.Now()
	requests, err := batch(l.size(name, first), func(i int) ([]byte, error) {
		return agents[i%len(agents)].exchange(l.ready.Issuer, strict, now)
	})
	if err != nil {
		return measurement{}, err
	}
	target, err := l.onTarget(name, load{requests: requests, status: "200", clients: clients})
	if err != nil {
		return measurement{}, err
	}
	ceiling, err := fire(l.ctx, load{addr: l.ceilingAt.Addr, pid: l.ceiling.pid(), requests: requests, status: "200", clients: clients, repeat: l.seconds})
	return measurement{Target: target, Ceiling: &ceiling}, err
}

// upstreamPath is what is read upstream.
const upstreamPath = "/repos/octo/api/issues"

// call measures a permitted read of 1 KiB.
func (l *lab) call(name string, clients int) (measurement, error) {
	body := []byte(`{"connection":"github","operation":"github.issues.list","params":{"owner":"octo","repo":"api"}}`)
	var requests [][]byte
	for _, bearer := range l.bearers {
		requests = append(requests, post("/v1/actions?stream=1", api.MediaJSON, bearer, body))
	}
	target, err := l.onTarget(name, load{requests: requests, status: "200", clients: clients, repeat: l.seconds})
	if err != nil {
		return measurement{}, err
	}
	plain := [][]byte{get(upstreamPath, upstreamToken+"0")}
	ceiling, err := fire(l.ctx, load{addr: l.proxyAt.Addr, pid: l.proxy.pid(), requests: plain, status: "200", clients: clients, repeat: l.seconds})
	if err != nil {
		return measurement{}, err
	}
	base, err := fire(l.ctx, load{addr: l.upstreamAt.Addr, pid: l.upstream.pid(), requests: plain, status: "200", clients: clients, repeat: l.seconds / 2})
	return measurement{Target: target, Ceiling: &ceiling, Base: &base}, err
}

// question is a write that is held, and no two are the same.
func (l *lab) question() []byte {
	n := l.held.Add(1) - 1
	body := fmt.Appendf(nil, `{"connection":"github","operation":"github.issues.create_comment","params":{"owner":"octo","repo":"api","number":1,"body":"question %d"}}`, n)
	return post("/v1/actions", api.MediaJSON, l.holding[int(n)%len(l.holding)], body)
}

// hold measures how many actions can be parked for approval.
func (l *lab) hold() (measurement, error) {
	requests := make([][]byte, heldPerRound)
	for i := range requests {
		requests[i] = l.question()
	}
	s, err := l.onTarget("hold", load{requests: requests, status: "202", clients: 64})
	return measurement{Target: s}, err
}

// wake measures how long after a person's no, which is made durable first, the
// agents that wait for it have their answers. A yes would end only when the
// upstream has answered.
func (l *lab) wake() (measurement, error) {
	actions := make([]string, waitedPerRound)
	conns := make([]*conn, waitedPerRound)
	bearers := make([]string, waitedPerRound)
	for i := range actions {
		c, err := dial(l.ctx, l.ready.Addr)
		if err != nil {
			return measurement{}, err
		}
		defer c.Close()
		bearers[i] = l.holding[int(l.held.Load())%len(l.holding)]
		if err := c.send(l.question(), "202"); err != nil {
			return measurement{}, err
		}
		var a api.Action
		if err := json.Unmarshal(c.body.Bytes(), &a); err != nil {
			return measurement{}, err
		}
		actions[i], conns[i] = a.ID, c
	}
	arrived, errs := make([]time.Time, waitedPerRound), make([]error, waitedPerRound)
	var wait sync.WaitGroup
	for i, c := range conns {
		wait.Go(func() {
			errs[i] = c.send(get("/v1/actions/"+actions[i]+"?wait=30", bearers[i]), "200")
			arrived[i] = time.Now()
		})
	}
	time.Sleep(200 * time.Millisecond) // until all of them wait
	begin := time.Now()
	var reply targetReply
	if err := l.target.ask(targetRequest{Deny: actions}, &reply); err != nil {
		return measurement{}, err
	}
	wait.Wait()
	took := make([]time.Duration, waitedPerRound)
	for i, at := range arrived {
		if errs[i] != nil {
			return measurement{}, errs[i]
		}
		took[i] = at.Sub(time.Unix(0, reply.At[i]))
	}
	rate := float64(waitedPerRound) / time.Since(begin).Seconds()
	return measurement{Target: sample{Rate: rate, P50: quantile(took, 0.5), P99: quantile(took, 0.99), N: waitedPerRound}}, nil
}

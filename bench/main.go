package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

// options are what the command line says.
type options struct {
	rounds  int
	seconds time.Duration
	clients int
	only    string
	out     string // JSON
	dir     string
	profile string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdin, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, in io.Reader, out, notes io.Writer) error {
	if len(args) == 2 && args[0] == roleFlag {
		return play(ctx, args[1], in, out)
	}
	var o options
	var seconds float64
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.SetOutput(notes)
	f.IntVar(&o.rounds, "rounds", 5, "rounds; the result is their median")
	f.Float64Var(&seconds, "seconds", 2, "length of one measurement")
	f.IntVar(&o.clients, "clients", 16, "connections that ask at the same time")
	f.StringVar(&o.only, "only", "", "measure the paths whose name begins so: "+strings.Join(names(), ", "))
	f.StringVar(&o.out, "json", "", "write every round to this file")
	f.StringVar(&o.dir, "dir", "", "keep the databases below this directory; it must be on a real disk")
	f.StringVar(&o.profile, "profile", "", "write CPU profiles of the target to this directory")
	if err := f.Parse(args); err != nil {
		return err
	}
	o.seconds = time.Duration(seconds * float64(time.Second))
	if f.NArg() > 0 || o.rounds < 1 || o.clients < 1 || o.seconds <= 0 {
		return errors.New("rounds, clients and seconds are positive, and there are no arguments")
	}
	if !slices.ContainsFunc(names(), func(n string) bool { return strings.HasPrefix(n, o.only) }) {
		return fmt.Errorf("no path begins with %q; there are %s", o.only, strings.Join(names(), ", "))
	}
	dir, err := os.MkdirTemp(o.dir, "valetkey-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	o.dir = dir

	report, err := measure(ctx, o, notes)
	if err != nil {
		return err
	}
	report.print(out)
	if o.out == "" {
		return nil
	}
	b, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(o.out, append(b, '\n'), 0o644)
}

// measure runs every path that was asked for, in rounds.
func measure(ctx context.Context, o options, notes io.Writer) (*report, error) {
	rep := &report{
		Date: time.Now().UTC().Format(time.DateOnly), Commit: commit(ctx), Go: runtime.Version(), System: runtime.GOOS + "/" + runtime.GOARCH, Cores: runtime.NumCPU(),
		Rounds: o.rounds, Seconds: o.seconds.Seconds(), Clients: o.clients,
	}
	if strings.HasPrefix("process", o.only) {
		facts, err := process(ctx, filepath.Join(o.dir, "process"), o.rounds)
		if err != nil {
			return nil, err
		}
		rep.Facts = facts
	}
	var chosen []path
	for _, p := range paths() {
		if strings.HasPrefix(p.name, o.only) {
			chosen = append(chosen, p)
		}
	}
	if len(chosen) == 0 {
		return rep, nil
	}
	l, err := openLab(ctx, o)
	if err != nil {
		return nil, err
	}
	defer l.close()
	for round := range o.rounds {
		for _, p := range chosen {
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			m, err := p.measure(l)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", p.name, err)
			}
			rep.add(p, m)
			fmt.Fprintf(notes, "round %d  %-20s %s\n", round+1, p.name, m)
		}
	}
	return rep, nil
}

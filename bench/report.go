package main

import (
	"fmt"
	"io"
	"text/tabwriter"
)

// report is what was measured.
type report struct {
	Date    string  `json:"date"`
	Commit  string  `json:"commit,omitempty"`
	Go      string  `json:"go"`
	System  string  `json:"system"`
	Cores   int     `json:"cores"`
	Rounds  int     `json:"rounds"`
	Seconds float64 `json:"seconds"`
	Clients int     `json:"clients"`
	Facts   []fact  `json:"process,omitempty"`
	Paths   []*row  `json:"paths,omitempty"`
}

// row is one path with all its rounds.
type row struct {
	Name    string        `json:"name"`
	Against string        `json:"against,omitempty"`
	Goal    string        `json:"goal"`
	Rounds  []measurement `json:"rounds"`
}

func (r *report) add(p path, m measurement) {
	for _, have := range r.Paths {
		if have.Name == p.name {
			have.Rounds = append(have.Rounds, m)
			return
		}
	}
	r.Paths = append(r.Paths, &row{p.name, p.against, p.goal, []measurement{m}})
}

// of is the median over the rounds of one figure.
func (w *row) of(figure func(measurement) float64) float64 {
	var all []float64
	for _, m := range w.Rounds {
		all = append(all, figure(m))
	}
	return median(all)
}

func (r *report) print(out io.Writer) {
	fmt.Fprintf(out, "%s, commit %s, %s, %s, %d cores; median of %d rounds of %g s, %d clients\n\n", r.Date, r.Commit, r.Go, r.System, r.Cores, r.Rounds, r.Seconds, r.Clients)
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	if len(r.Paths) > 0 {
		fmt.Fprintln(t, "path\t/s\tp50 µs\tp99 µs\tcpu µs\tceiling /s\tp50\tp99\tcpu\tratio\tagainst\tgoal")
	}
	for _, w := range r.Paths {
		fmt.Fprintf(t, "%s\t%.0f\t%.0f\t%.0f\t%.0f\t", w.Name,
			w.of(func(m measurement) float64 { return m.Target.Rate }),
			w.of(func(m measurement) float64 { return m.Target.P50 }),
			w.of(func(m measurement) float64 { return m.Target.P99 }),
			w.of(func(m measurement) float64 { return m.Target.CPU }))
		if w.Rounds[0].Ceiling == nil {
			fmt.Fprintf(t, "\t\t\t\t\t%s\t%s\n", w.Against, w.Goal)
			continue
		}
		fmt.Fprintf(t, "%.0f\t%.0f\t%.0f\t%.0f\t%.2f\t%s\t%s\n",
			w.of(func(m measurement) float64 { return m.Ceiling.Rate }),
			w.of(func(m measurement) float64 { return m.Ceiling.P50 }),
			w.of(func(m measurement) float64 { return m.Ceiling.P99 }),
			w.of(func(m measurement) float64 { return m.Ceiling.CPU }),
			w.of(func(m measurement) float64 { return m.Target.Rate / m.Ceiling.Rate }),
			w.Against, w.Goal)
	}
	for _, w := range r.Paths {
		if w.Rounds[0].Base != nil {
			fmt.Fprintf(t, "%s: the proxy itself\t%.0f\t\t\t\t%.0f\t\t\t\t%.2f\tthe upstream, directly\n", w.Name,
				w.of(func(m measurement) float64 { return m.Ceiling.Rate }),
				w.of(func(m measurement) float64 { return m.Base.Rate }),
				w.of(func(m measurement) float64 { return m.Ceiling.Rate / m.Base.Rate }))
		}
	}
	if len(r.Facts) > 0 {
		fmt.Fprintln(t, "\nprocess\tvalue\t\tgoal")
	}
	for _, f := range r.Facts {
		fmt.Fprintf(t, "%s\t%.1f\t%s\t%s\n", f.Name, f.Value, f.Unit, f.Goal)
	}
	t.Flush()
}

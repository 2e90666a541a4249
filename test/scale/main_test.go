// Package scale_test tries to break approvals by numbers: storms of answers on
// two servers at once, an agent that asks without end, restarts with thousands
// of people's questions open, and pages over a year of history.
//
// The invariants: an action has one final state and is executed at most once,
// whoever else is at it; nothing is permitted because there is too much of it;
// nothing that waits is lost; a page does not grow slower with what lies behind
// it. What is measured is printed; what is asserted of it leaves room for slow
// machines.
package scale_test

import (
	"cmp"
	"fmt"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/store/storetest"
)

// cluster is the PostgreSQL server of this test binary.
var cluster storetest.Cluster

func TestMain(m *testing.M) {
	code := m.Run()
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		code = max(code, 1)
	}
	if built.dir != "" {
		if err := os.RemoveAll(built.dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
		}
	}
	os.Exit(code)
}

// percentile is the p-th of 100 of sorted or unsorted times.
func percentile(all []time.Duration, p int) time.Duration {
	if len(all) == 0 {
		return 0
	}
	sorted := slices.SortedFunc(slices.Values(all), cmp.Compare)
	return sorted[min(len(sorted)-1, len(sorted)*p/100)]
}

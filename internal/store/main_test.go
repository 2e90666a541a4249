package store_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/valetkey/valetkey/internal/store/storetest"
)

// cluster is the PostgreSQL server of this test binary.
var cluster storetest.Cluster

func TestMain(m *testing.M) {
	if dsn := os.Getenv(crashChild); dsn != "" {
		os.Exit(appendUntilKilled(dsn))
	}
	code := m.Run()
	if err := cluster.Stop(); err != nil {
		fmt.Fprintln(os.Stderr, "stop PostgreSQL:", err)
		code = max(code, 1)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

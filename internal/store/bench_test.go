package store_test

import (
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/valetkey/valetkey/internal/agent"
	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/store"
	"github.com/valetkey/valetkey/secret"
)

// BenchmarkWrite measures the writer on what a token exchange records: one
// jti and one event, durable (SQLite with synchronous=FULL) before the answer.
func BenchmarkWrite(b *testing.B) {
	for _, clients := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			db, err := store.Open(b.Context(), secret.New("sqlite:"+filepath.Join(b.TempDir(), "bench.db")), slog.New(slog.DiscardHandler))
			if err != nil {
				b.Fatal(err)
			}
			defer db.Close()
			tokens := db.Agents().Tokens()
			who, now := id.NewAgent(), time.Now()
			var next atomic.Int64
			b.ReportAllocs()
			b.ResetTimer()
			var wait sync.WaitGroup
			for range clients {
				wait.Go(func() {
					for {
						n := next.Add(1)
						if n > int64(b.N) {
							return
						}
						err := tokens.Refuse(b.Context(), []agent.Proof{{Agent: who, JTI: "jti-" + strconv.FormatInt(n, 10), Until: now.Add(time.Minute)}}, []audit.Event{{
							At: now, Org: id.DefaultOrg, Verb: "token.exchanged", Actor: "agent:" + string(who), Object: "con_01", Subject: "usr_01",
							Data: map[string]string{"scopes": "repo", "generation": "3"},
						}})
						if err != nil {
							b.Error(err)
							return
						}
					}
				})
			}
			wait.Wait()
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

package storetest

import (
	"testing"

	"github.com/valetkey/valetkey/internal/audit"
	"github.com/valetkey/valetkey/internal/store"
)

// Run runs the suite; fresh makes an empty database for a test.
func Run(t *testing.T, fresh func(testing.TB) Database) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Database)
	}{
		{"atomic", testAtomic},
		{"round trips", testRoundTrips},
		{"people", testPeople},
		{"agents", testAgents},
		{"custody", testCustody},
		{"proposals", testProposals},
		{"actions", testActions},
		{"several people", testSeveral},
		{"queue", testQueue},
		{"sweep", testSweep},
		{"empty days", testEmptyDays},
		{"keys", testKeys},
		{"log", testLog},
		{"text", testText},
		{"forged rows", testForged},
		{"rows put back", testPutBack},
		{"passkeys put back", testPasskeyPutBack},
		{"races", testRaces},
		{"replays", testReplays},
		{"raced votes", testRacedVotes},
		{"epoch", testEpoch},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.test(t, fresh(t))
		})
	}
}

// verify checks the whole tree of db's log.
func verify(t testing.TB, db *store.DB) {
	t.Helper()
	snapshot, err := db.Log().Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer snapshot.Close()
	skey, _, err := audit.GenerateKey("valetkey.test")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := audit.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	verifier, err := signer.Verifier()
	if err != nil {
		t.Fatal(err)
	}
	report, err := audit.Verify(t.Context(), snapshot, verifier)
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("the log does not verify:\n%s", report)
	}
}

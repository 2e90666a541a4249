package id_test

import (
	"testing"

	"github.com/valetkey/valetkey/internal/id"
)

func TestMintedIDsAreValidAndDistinct(t *testing.T) {
	seen := map[id.Agent]bool{}
	for range 1000 {
		a := id.NewAgent()
		if !id.Valid("agt", string(a)) {
			t.Fatalf("%q is not valid", a)
		}
		if seen[a] {
			t.Fatalf("%q twice", a)
		}
		seen[a] = true
	}
}

func TestValidRefuses(t *testing.T) {
	good := string(id.NewAgent())
	for _, s := range []string{"", "agt", "agt_", "usr" + good[3:], good[:len(good)-1], good + "0", good[:10] + "U" + good[11:], good[:10] + "'" + good[11:], good[:29] + "1"} {
		if id.Valid("agt", s) {
			t.Errorf("Valid(agt, %q)", s)
		}
	}
}

package seal

import (
	"bytes"
	"encoding/hex"
	"testing"
)

// The first vector of the specification (C2SP XAES-256-GCM): a value sealed
// here opens with any other implementation.
func TestRawAEADIsXAES256GCM(t *testing.T) {
	a, err := rawAEAD(bytes.Repeat([]byte{1}, keySize))
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := hex.DecodeString("ce546ef63c9cc60765923609b33a9a1974e96e52daf2fcf7075e2271")
	if err != nil {
		t.Fatal(err)
	}
	got, err := a.Decrypt(append([]byte("ABCDEFGHIJKLMNOPQRSTUVWX"), sealed...), nil)
	if err != nil || string(got) != "XAES-256-GCM" {
		t.Errorf("Decrypt = %q, %v", got, err)
	}
}

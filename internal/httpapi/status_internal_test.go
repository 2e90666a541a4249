package httpapi

import (
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/config"
)

// A command that we tell people to run is about the file that we mean, whatever
// that is called.
func TestFixesAreQuoted(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("modes say nothing here")
	}
	dir := filepath.Join(t.TempDir(), "a; rm -rf ~")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	s := &Server{Config: config.Config{Data: dir, RootKeyFile: filepath.Join(dir, strings.Repeat("x", 300))}}
	var got []string
	for _, c := range s.checkFiles() {
		got = append(got, c.Fix)
	}
	if len(got) != 2 || got[0] != "chmod 700 '"+dir+"'" || !strings.Contains(got[1], "ls -ld '"+dir+"/xxx") {
		t.Errorf("%q", got)
	}
}

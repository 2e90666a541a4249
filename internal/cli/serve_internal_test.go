package cli

import (
	"os"
	"path/filepath"
	"testing"
)

func TestPublicURLFollowsListen(t *testing.T) {
	file := func(text string) string {
		name := filepath.Join(t.TempDir(), "c.yaml")
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	const usual = "http://localhost:8420/"
	for name, c := range map[string]struct {
		flags serverFlags
		env   map[string]string
		file  string
		want  string
	}{
		"nothing said":          {want: usual},
		"another port":          {flags: serverFlags{Listen: "127.0.0.1:18777"}, want: "http://localhost:18777/"},
		"another port, IPv6":    {flags: serverFlags{Listen: "[::1]:18777"}, want: "http://localhost:18777/"},
		"from the file":         {file: "listen: 127.0.0.1:18777\n", want: "http://localhost:18777/"},
		"any port":              {flags: serverFlags{Listen: "127.0.0.1:0"}, want: usual},
		"a named port":          {flags: serverFlags{Listen: "127.0.0.1:http"}, want: usual},
		"on the network":        {flags: serverFlags{Listen: "0.0.0.0:18777"}, want: usual},
		"every address":         {flags: serverFlags{Listen: ":18777"}, want: usual},
		"with TLS":              {flags: serverFlags{Listen: "127.0.0.1:18777", TLSCert: "c.pem", TLSKey: "k.pem"}, want: usual},
		"a URL by flag":         {flags: serverFlags{Listen: "127.0.0.1:18777", PublicURL: usual}, want: usual},
		"a URL by environment":  {flags: serverFlags{Listen: "127.0.0.1:18777"}, env: map[string]string{"VALETKEY_PUBLIC_URL": usual}, want: usual},
		"the usual URL by file": {flags: serverFlags{Listen: "127.0.0.1:18777"}, file: "public_url: " + usual + "\n", want: usual},
	} {
		t.Run(name, func(t *testing.T) {
			r := &run{getenv: environment(c.env)}
			if c.file != "" {
				r.Config = file(c.file)
			}
			cfg, sources, err := r.settings(&c.flags)
			if err != nil {
				t.Fatal(err)
			}
			if err := r.followListen(&cfg, sources); err != nil {
				t.Fatal(err)
			}
			if cfg.PublicURL != c.want {
				t.Errorf("public URL %s, want %s", cfg.PublicURL, c.want)
			}
		})
	}
}

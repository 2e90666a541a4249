package cli

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

type versionCommand struct{}

// build is what `version --json` prints.
type build struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

// thisBuild reads what the Go command stamped into the binary.
func thisBuild() build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		b.Version = v
	}
	dirty := false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			dirty = s.Value == "true"
		}
	}
	if dirty {
		b.Revision += "+changes"
	}
	return b
}

func (c *versionCommand) Run(r *run) error {
	b := thisBuild()
	if r.json {
		return r.print(b)
	}
	rev := ""
	if b.Revision != "" {
		rev = " " + b.Revision
	}
	r.say("%s", fmt.Sprintf("valetkey %s%s (%s, %s)", b.Version, rev, b.Go, b.Platform))
	return nil
}

package cli

import (
	"runtime"
	"runtime/debug"
	"time"

	"golang.org/x/mod/module"
)

type versionCommand struct{}

// build is what `version --json` prints.
type build struct {
	Version    string    `json:"version"` // a tag, or "devel"
	Revision   string    `json:"revision,omitempty"`
	RevisionAt time.Time `json:"revision_at,omitzero"`
	Modified   bool      `json:"modified,omitempty"` // something was changed after that revision
	Go         string    `json:"go"`
	Platform   string    `json:"platform"`
}

// thisBuild reads what the Go command stamped into the binary.
func thisBuild() build {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		info = &debug.BuildInfo{}
	}
	return buildOf(info)
}

func buildOf(info *debug.BuildInfo) build {
	b := build{Version: "devel", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	// Between tags the Go command makes up a version; the revision says it better.
	if v := info.Main.Version; v != "" && v != "(devel)" && !module.IsPseudoVersion(module.CanonicalVersion(v)) {
		b.Version = v
	}
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		case "vcs.time":
			if at, err := time.Parse(time.RFC3339, s.Value); err == nil {
				b.RevisionAt = at.UTC()
			}
		}
	}
	return b
}

// String is the build in a line.
func (b build) String() string {
	s := "valetkey " + b.Version
	switch {
	case b.Revision == "":
		s += ", of a revision that was not recorded"
	default:
		s += ", revision " + b.Revision[:min(len(b.Revision), 12)]
		if !b.RevisionAt.IsZero() {
			s += " of " + b.RevisionAt.Format("2006-01-02")
		}
		if b.Modified {
			s += " with changes"
		}
	}
	return s + " (" + b.Go + ", " + b.Platform + ")"
}

func (c *versionCommand) Run(r *run) error {
	b := thisBuild()
	if r.json {
		return r.print(b)
	}
	r.say("%s", b)
	return nil
}

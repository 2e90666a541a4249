// Package catalog holds the providers that ship: one YAML file each, reviewed as
// data, every fact with its source beside it. Files named "….rest.yaml" and
// "….api.yaml" hold an API that several providers share.
//
// The package knows no provider in code. It never changes a Spec: addresses of an
// operator come in through [provider.Spec.WithBase].
package catalog

import (
	"embed"
	"fmt"
	"io/fs"
	"path"
	"strings"

	"github.com/valetkey/valetkey/provider"
)

//go:embed *.yaml
var files embed.FS

// Load reads and checks every provider, by id. A template among them
// ([provider.Spec.Template]) needs the operator's addresses before it is used.
func Load() (map[string]*provider.Spec, error) {
	names, err := fs.Glob(files, "*.yaml")
	if err != nil {
		return nil, fmt.Errorf("read catalogue: %w", err)
	}
	specs := make(map[string]*provider.Spec, len(names))
	for _, name := range names {
		if strings.Contains(strings.TrimSuffix(name, ".yaml"), ".") {
			continue // a shared API
		}
		s, err := provider.Parse(files, name)
		if err != nil {
			return nil, fmt.Errorf("read catalogue: %w", err)
		}
		// The file name is the id, so that no two files can claim one.
		if want := strings.TrimSuffix(path.Base(name), ".yaml"); s.ID != want {
			return nil, fmt.Errorf("read catalogue: %s says it is %q", name, s.ID)
		}
		specs[s.ID] = s
	}
	return specs, nil
}

package dash

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"net/http"
	"path"
	"strings"
)

//go:embed static/*.css static/*.js static/*.svg static/*.LICENSE
var staticFS embed.FS

// AssetPrefix is where the files of static/ are served.
const AssetPrefix = "/assets/"

// Assets serves the embedded files under names that contain a hash of their
// content, so that a browser may keep them for ever and never sees an old one.
type Assets struct {
	urls  map[string]string // "app.css" to "/assets/app.0123456789ab.css"
	files map[string][]byte // by the hashed base name
}

func newAssets() (*Assets, error) {
	a := &Assets{urls: map[string]string{}, files: map[string][]byte{}}
	entries, err := fs.ReadDir(staticFS, "static")
	if err != nil {
		return nil, fmt.Errorf("list the static files: %w", err)
	}
	for _, e := range entries {
		data, err := staticFS.ReadFile("static/" + e.Name())
		if err != nil {
			return nil, fmt.Errorf("read static file %s: %w", e.Name(), err)
		}
		sum := sha256.Sum256(data)
		ext := path.Ext(e.Name())
		hashed := strings.TrimSuffix(e.Name(), ext) + "." + hex.EncodeToString(sum[:6]) + ext
		a.urls[e.Name()] = AssetPrefix + hashed
		a.files[hashed] = data
	}
	return a, nil
}

// URL is the address of a file of static/. An unknown name is an error, so
// that a misspelt one fails when the page is rendered.
func (a *Assets) URL(name string) (string, error) {
	u, ok := a.urls[name]
	if !ok {
		return "", fmt.Errorf("no static file %q", name)
	}
	return u, nil
}

// assetTypes are set by us: the system's own table differs between machines.
var assetTypes = map[string]string{
	".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".svg": "image/svg+xml", ".LICENSE": "text/plain; charset=utf-8",
}

// ServeHTTP serves one file; mount it at [AssetPrefix].
func (a *Assets) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(r.URL.Path, AssetPrefix)
	data, ok := a.files[name]
	if !ok {
		http.NotFound(w, r)
		return
	}
	h := w.Header()
	h.Set("Content-Type", assetTypes[path.Ext(name)])
	h.Set("Cache-Control", "public, max-age=31536000, immutable")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Content-Length", fmt.Sprint(len(data)))
	if r.Method != http.MethodHead {
		_, _ = w.Write(data) // a client that went away is nobody's error
	}
}

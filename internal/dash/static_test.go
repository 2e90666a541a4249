package dash_test

import (
	"fmt"
	"io/fs"
	"math"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

func TestAssets(t *testing.T) {
	r := renderer(t)
	err := fs.WalkDir(os.DirFS("static"), ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || path == "README.md" {
			return err
		}
		url, err := r.Assets.URL(path)
		if err != nil {
			return err
		}
		if !regexp.MustCompile(`^/assets/.+\.[0-9a-f]{12}\.[A-Za-z]+$`).MatchString(url) {
			t.Errorf("%s is at %s", path, url)
		}
		rec := httptest.NewRecorder()
		r.Assets.ServeHTTP(rec, httptest.NewRequest(http.MethodGet, url, nil))
		want, _ := os.ReadFile("static/" + path)
		if rec.Code != http.StatusOK || rec.Body.String() != string(want) || !strings.Contains(rec.Header().Get("Cache-Control"), "immutable") {
			t.Errorf("%s: %d, %d bytes, %v", url, rec.Code, rec.Body.Len(), rec.Header())
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/assets/", "/assets/app.css", "/assets/base.css", "/assets/../render.go", "/assets/base.000000000000.css", "/assets/%00"} {
		rec := httptest.NewRecorder()
		req := httptest.NewRequest(http.MethodGet, "/assets/", nil)
		req.URL.Path = path
		r.Assets.ServeHTTP(rec, req)
		if rec.Code != http.StatusNotFound {
			t.Errorf("%s: %d, want 404", path, rec.Code)
		}
	}
	if _, err := r.Assets.URL("nothing.css"); err == nil {
		t.Error("an unknown asset has an address")
	}
}

// Our scripts never build code or markup from text.
func TestScriptsUseNoSinks(t *testing.T) {
	for _, name := range []string{"forms.js", "pick.js", "live.js", "passkey.js", "trusted.js"} {
		src, err := os.ReadFile("static/" + name)
		if err != nil {
			t.Fatal(err)
		}
		for _, sink := range []string{"innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "new Function", "setAttribute(\"on", "localStorage", "sessionStorage"} {
			if strings.Contains(string(src), sink) {
				t.Errorf("%s uses %s", name, sink)
			}
		}
	}
}

// Every pair of text and ground has the contrast of WCAG 2.2 §1.4.3, in both
// themes.
func TestContrast(t *testing.T) {
	css, err := os.ReadFile("static/base.css")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile(`(?s):root \{.*?\n\s*\}`).FindAllString(string(css), 2)
	if len(blocks) != 2 {
		t.Fatalf("%d themes", len(blocks))
	}
	grounds := []string{"ground", "surface", "sunk"}
	pairs := [][2]string{{"on-accent", "accent"}, {"on-accent", "accent-hover"}, {"on-danger", "danger"}, {"on-danger", "danger-hover"}, {"token", "token-ground"}, {"cold", "cold-ground"}, {"cold", "surface"}, {"surface", "low"}, {"surface", "critical"}, {"surface", "high"}}
	for _, text := range []string{"ink", "soft", "link", "danger", "code", "number", "high"} {
		for _, g := range grounds {
			pairs = append(pairs, [2]string{text, g})
		}
	}
	for _, level := range []string{"low", "medium", "high", "critical"} {
		pairs = append(pairs, [2]string{level, level + "-ground"}, [2]string{level, "surface"})
	}
	pairs = append(pairs, [2]string{"danger", "critical-ground"})
	for i, block := range blocks {
		colour := map[string]float64{}
		for _, m := range regexp.MustCompile(`--([a-z-]+): #([0-9a-f]{6})`).FindAllStringSubmatch(block, -1) {
			colour[m[1]] = luminance(m[2])
		}
		for _, p := range pairs {
			a, okA := colour[p[0]]
			b, okB := colour[p[1]]
			if !okA || !okB {
				t.Errorf("theme %d lacks a colour of %v", i, p)
				continue
			}
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < 4.5 {
				t.Errorf("theme %d: %s on %s has contrast %.2f", i, p[0], p[1], ratio)
			}
		}
		// Borders of controls: WCAG 2.2 §1.4.11.
		for _, g := range grounds {
			a, b := colour["line-strong"], colour[g]
			if ratio := (max(a, b) + .05) / (min(a, b) + .05); ratio < 3 {
				t.Errorf("theme %d: borders on %s have contrast %.2f", i, g, ratio)
			}
		}
	}
}

// luminance is the relative luminance of WCAG 2.2.
func luminance(hex string) float64 {
	n, err := strconv.ParseUint(hex, 16, 32)
	if err != nil {
		panic(fmt.Sprintf("not a colour: %s", hex))
	}
	channel := func(shift uint) float64 {
		v := float64(n>>shift&0xFF) / 255
		if v <= .04045 {
			return v / 12.92
		}
		return math.Pow((v+.055)/1.055, 2.4)
	}
	return .2126*channel(16) + .7152*channel(8) + .0722*channel(0)
}

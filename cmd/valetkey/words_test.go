package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/cli"
)

// told finds commands in what people are told to do: in quotes, after "run:",
// and at the prompts of documents.
var told = regexp.MustCompile(`(?:'|[Rr]un: |or: |\$ (?:\./bin/)?)valetkey ([a-z][a-z -]*[a-z])`)

// Texts that tell people what to run must name commands that exist: in every
// message of the program, and in the README.
func TestToldCommandsExist(t *testing.T) {
	files := []string{"../../README.md"}
	err := filepath.WalkDir("../../internal", func(path string, d fs.DirEntry, err error) error {
		if err == nil && strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			files = append(files, path)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	known := map[string]bool{}
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range told.FindAllStringSubmatch(string(text), -1) {
			found++
			words := strings.Fields(m[1])
			if !exists(t, known, words) {
				t.Errorf("%s tells people to run 'valetkey %s', which there is not", file, m[1])
			}
		}
	}
	if found < 20 {
		t.Fatalf("only %d commands found: this test looks at the wrong place", found)
	}
}

// exists reports whether one or two of the words are a command; those after it
// are arguments.
func exists(t *testing.T, known map[string]bool, words []string) bool {
	help := func(args ...string) bool {
		key := strings.Join(args, " ")
		if _, asked := known[key]; !asked {
			var out, errs strings.Builder
			known[key] = cli.Run(t.Context(), append(args, "--help"), os.Getenv, strings.NewReader(""), &out, &errs) == 0
			known[key+" has more"] = strings.Contains(out.String(), "<command>")
		}
		return known[key]
	}
	if !help(words[0]) {
		return false
	}
	if !known[words[0]+" has more"] || len(words) == 1 {
		return true
	}
	return help(words[0], words[1])
}

package secret_test

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"encoding/xml"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/secret"
)

const canary = "cnry_at_4f9Kq2ZxW7bLm1RtYv8NcD3sHg6JpA0E"

// holder buries a secret in every shape that fmt and encoders walk.
type holder struct {
	Exported secret.Text
	inner    secret.Text
	List     []secret.Text
	ByName   map[string]secret.Text
	Pointer  *secret.Text
	any      any
}

func newHolder() holder {
	t := secret.New(canary)
	return holder{t, t, []secret.Text{t}, map[string]secret.Text{"k": t}, &t, t}
}

func mustNotLeak(t *testing.T, where, out string) {
	t.Helper()
	decimal := strings.Trim(fmt.Sprint([]byte(canary)), "[]")
	for _, enc := range []string{canary, fmt.Sprintf("%x", canary), fmt.Sprintf("%X", canary), decimal, canary[:8], canary[len(canary)-8:]} {
		if strings.Contains(out, enc) {
			t.Errorf("%s leaks the secret: %s", where, out)
		}
	}
}

func TestTextNeverPrints(t *testing.T) {
	txt, h := secret.New(canary), newHolder()
	for _, verb := range strings.Split("v +v #v s q x X d o O b c U e E f F g G t p T w 10s -20q +q #x", " ") {
		for name, v := range map[string]any{"text": txt, "pointer": &txt, "struct": h, "struct pointer": &h, "slice": h.List, "map": h.ByName} {
			mustNotLeak(t, "%"+verb+" of "+name, fmt.Sprintf("%"+verb, v))
		}
	}
	mustNotLeak(t, "Println", fmt.Sprintln(txt, h))
	mustNotLeak(t, "error", fmt.Errorf("wrap %v: %w", txt, errors.New(txt.String())).Error())
	func() {
		defer func() { mustNotLeak(t, "panic value", fmt.Sprint(recover())) }()
		panic(h)
	}()
}

func TestTextNeverLogs(t *testing.T) {
	h := newHolder()
	for _, json := range []bool{false, true} {
		var buf bytes.Buffer
		opts := &slog.HandlerOptions{Level: slog.LevelDebug}
		var handler slog.Handler = slog.NewTextHandler(&buf, opts)
		if json {
			handler = slog.NewJSONHandler(&buf, opts)
		}
		log := slog.New(handler)
		log.Debug("m", slog.Any("text", h.Exported), slog.Any("holder", h), slog.Any("pointer", &h), slog.Any("list", h.List))
		log.With("secret", h.Exported).WithGroup("g").Info("m", "map", h.ByName)
		if !strings.Contains(buf.String(), secret.Redacted) {
			t.Errorf("nothing was logged: %s", &buf)
		}
		mustNotLeak(t, "slog", buf.String())
	}
}

func TestTextNeverMarshals(t *testing.T) {
	h := newHolder()
	for name, v := range map[string]any{"text": h.Exported, "struct": h, "map": h.ByName, "list": h.List} {
		out, err := json.Marshal(v)
		if err == nil {
			t.Errorf("json.Marshal(%s) succeeded: %s", name, out)
		}
		mustNotLeak(t, "json", string(out)+fmt.Sprint(err))
	}
	var buf bytes.Buffer
	if err := xml.NewEncoder(&buf).Encode(h.Exported); err == nil {
		t.Error("xml encoding succeeded")
	}
	if err := gob.NewEncoder(&buf).Encode(h.Exported); err == nil {
		t.Error("gob encoding succeeded")
	}
	mustNotLeak(t, "xml, gob", buf.String())
}

func TestEqualAndZero(t *testing.T) {
	a, b := secret.New("a"), secret.New("b")
	if !a.Equal(secret.New("a")) || a.Equal(b) || a.Equal(secret.Text{}) {
		t.Error("Equal is wrong")
	}
	if !(secret.Text{}).IsZero() || !secret.New("").IsZero() || a.IsZero() {
		t.Error("IsZero is wrong")
	}
	if got := (secret.Text{}).Reveal(); got != "" {
		t.Errorf("zero Reveal = %q", got)
	}
	if secret.Random(32).Equal(secret.Random(32)) {
		t.Error("two random secrets are equal")
	}
}

func ExampleText() {
	token := secret.New("gho_abc")
	fmt.Println(token)
	fmt.Printf("%+v\n", struct{ Token secret.Text }{token})
	fmt.Println(len(token.Reveal()))
	// Output:
	// [secret]
	// {Token:[secret]}
	// 7
}

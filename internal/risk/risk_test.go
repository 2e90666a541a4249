package risk_test

import (
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/valetkey/valetkey/internal/risk"
	"github.com/valetkey/valetkey/provider"
)

func yes() *bool { b := true; return &b }
func no() *bool  { b := false; return &b }

func TestAssess(t *testing.T) {
	const low, medium, high, critical = risk.Low, risk.Medium, risk.High, risk.Critical
	usd := func(kind provider.Meaning, number string) *provider.Amount {
		return &provider.Amount{Meaning: kind, Value: number, Currency: "USD"}
	}
	for _, c := range []struct {
		name string
		in   risk.Input
		want risk.Level
	}{
		// What is not rated, or not understood, is critical.
		{"no base", risk.Input{}, critical},
		{"base out of range", risk.Input{Base: 5}, critical},
		{"base below range", risk.Input{Base: -1, Read: true}, critical},
		{"hint out of range", risk.Input{Base: low, Hints: []risk.Hint{{Level: 9}}}, critical},

		// Hints raise, never lower.
		{"a hint lowers", risk.Input{Base: high, Hints: []risk.Hint{{From: "The agent", Level: low}}}, high},
		{"a hint raises", risk.Input{Base: low, Hints: []risk.Hint{{From: "The agent", Level: high}}}, high},
		{"a hint raises a read", risk.Input{Base: low, Read: true, Hints: []risk.Hint{{Level: medium}}}, medium},
		{"hints one after the other", risk.Input{Base: low, Hints: []risk.Hint{{Level: high}, {Level: low}, {Level: medium}}}, high},

		// Taint.
		{"tainted, public, low", risk.Input{Base: low, Public: yes(), Tainted: true}, medium},
		{"tainted, public, medium", risk.Input{Base: medium, Public: yes(), Tainted: true}, critical},
		{"tainted, public, critical", risk.Input{Base: critical, Public: yes(), Tainted: true}, critical},
		{"tainted, perhaps public", risk.Input{Base: low, Tainted: true}, medium},
		{"tainted, private", risk.Input{Base: medium, Public: no(), Tainted: true}, medium},
		{"tainted, private, to outsiders", risk.Input{Base: medium, Public: no(), Outsiders: true, Tainted: true}, high},
		{"tainted read", risk.Input{Base: low, Read: true, Public: yes(), Tainted: true}, low},
		{"tainted vend", risk.Input{Base: medium, Vend: true, Tainted: true}, medium},

		// Money.
		{"value above", risk.Input{Base: low, Amount: usd("value", "500.000001")}, medium},
		{"value at the threshold", risk.Input{Base: low, Amount: usd("value", "500.00")}, low},
		{"value unknown", risk.Input{Base: low, Amount: &provider.Amount{Meaning: "value", Unknown: true}}, medium},
		{"value no number", risk.Input{Base: low, Amount: usd("value", "5e2")}, medium},
		{"value negative", risk.Input{Base: low, Amount: usd("value", "-1")}, medium},
		{"value above, high", risk.Input{Base: high, Amount: usd("value", "501")}, high},
		{"value on a read", risk.Input{Base: low, Read: true, Amount: usd("value", "501")}, medium},
		{"transfer above", risk.Input{Base: low, Amount: usd("transfer", "501")}, critical},
		{"transfer below", risk.Input{Base: medium, Amount: usd("transfer", "20")}, medium},
		{"transfer unknown", risk.Input{Base: low, Amount: &provider.Amount{Meaning: "transfer", Unknown: true}}, critical},
		{"no known meaning", risk.Input{Base: low, Amount: usd("", "501")}, critical},
		{"own threshold", risk.Input{Base: low, Amount: &provider.Amount{Meaning: "value", Value: "11"}, Threshold: "10"}, medium},
		{"own threshold is no number", risk.Input{Base: low, Amount: &provider.Amount{Meaning: "value", Value: "1"}, Threshold: "ten"}, medium},

		// Resource and novelty.
		{"public, low", risk.Input{Base: low, Public: yes()}, low},
		{"public, medium", risk.Input{Base: medium, Public: yes()}, high},
		{"public, high", risk.Input{Base: high, Public: yes()}, high},
		{"public read", risk.Input{Base: low, Read: true, Public: yes()}, low},
		{"private, medium", risk.Input{Base: medium, Public: no()}, medium},
		{"default branch", risk.Input{Base: low, Default: true}, high},
		{"default branch, read", risk.Input{Base: low, Read: true, Default: true}, low},
		{"nine recipients", risk.Input{Base: medium, Recipients: 9}, medium},
		{"ten recipients", risk.Input{Base: medium, Recipients: 10}, high},
		{"ten recipients, low", risk.Input{Base: low, Recipients: 10}, low},
		{"new, low", risk.Input{Base: low, First: true}, low},
		{"new, medium", risk.Input{Base: medium, First: true}, high},
		{"new, high", risk.Input{Base: high, First: true}, high},
		{"new read", risk.Input{Base: low, Read: true, First: true}, low},
		{"new and public", risk.Input{Base: medium, First: true, Public: yes()}, high},

		{"unlisted write, rated low by mistake", risk.Input{Base: low}, high},
		{"unlisted write, critical", risk.Input{Base: critical}, critical},
		{"unlisted read", risk.Input{Base: low, Read: true}, low},
		{"plain read", risk.Input{Base: low, Read: true}, low},
		{"vend", risk.Input{Base: critical, Vend: true}, critical},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.in.Listed = !strings.HasPrefix(c.name, "unlisted")
			a := risk.Assess(c.in)
			if a.Level != c.want {
				t.Errorf("%v, want %v: %q", a.Level, c.want, a.Sentences())
			}
		})
	}
}

func TestSentences(t *testing.T) {
	got := risk.Assess(risk.Input{
		Operation: "github.issues.create_comment", Base: risk.Medium, Listed: true, Why: []string{"github.issues.create_comment is medium.", "It notifies everybody who watches."},
		Public: yes(), Recipients: 3, Amount: &provider.Amount{Meaning: "value", Value: "750", Currency: "USD"}, First: true, Tainted: true,
		Hints: []risk.Hint{{From: "The agent", Level: risk.Low}},
	}).Sentences()
	want := []string{
		"github.issues.create_comment is medium.",
		"It notifies everybody who watches.",
		"Everybody can see the result, which makes it high.",
		"It reaches 3 people.",
		"It has at stake 750 USD, above 500.",
		"This agent has never done this here before.",
		"The agent has read text of outsiders within the hour and this reaches the public or outsiders, which makes it critical.",
		"The agent calls it low, and hints never lower.",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// What the catalogue says itself is not said again in our words, and what it
// does not say is.
func TestNothingIsSaidTwice(t *testing.T) {
	for _, c := range []struct {
		name string
		in   risk.Input
		want []string
	}{
		{"without its words", risk.Input{Operation: "x.y", Base: risk.Medium, Listed: true}, []string{"The catalogue rates x.y medium."}},
		{"with them", risk.Input{Operation: "x.y", Base: risk.High, Listed: true, Why: []string{"x.y is medium.", "Everybody can read it."}}, []string{"x.y is medium.", "Everybody can read it."}},
		{"not listed", risk.Input{Operation: "x.raw.write", Base: risk.High, Why: []string{"It is not in the catalogue and may change something."}}, []string{"It is not in the catalogue and may change something."}},
		{"not listed, without words", risk.Input{Operation: "x.raw.write", Base: risk.Low},
			[]string{"The catalogue rates x.raw.write low.", "It changes something and is not in the catalogue, which makes it high."}},
		{"a token", risk.Input{Operation: "x.token.vend", Base: risk.High, Listed: true, Vend: true, Why: []string{"The agent would hold it."}},
			[]string{"A token for x.token.vend is as risky as the worst it allows, which is high.", "The agent would hold it."}},
	} {
		if diff := cmp.Diff(c.want, risk.Assess(c.in).Sentences()); diff != "" {
			t.Errorf("%s (-want +got):\n%s", c.name, diff)
		}
	}
}

func drawInput(t *rapid.T) risk.Input {
	in := risk.Input{
		Operation:  "x.y",
		Listed:     rapid.Bool().Draw(t, "listed"),
		Base:       risk.Level(rapid.IntRange(0, 5).Draw(t, "base")),
		Read:       rapid.Bool().Draw(t, "read"),
		Vend:       rapid.Bool().Draw(t, "vend"),
		Public:     rapid.SampledFrom([]*bool{nil, yes(), no()}).Draw(t, "public"),
		Outsiders:  rapid.Bool().Draw(t, "outsiders"),
		Default:    rapid.Bool().Draw(t, "default"),
		Recipients: rapid.IntRange(0, 20).Draw(t, "recipients"),
		First:      rapid.Bool().Draw(t, "first"),
		Tainted:    rapid.Bool().Draw(t, "tainted"),
		Amount:     drawAmount(t),
	}
	for range rapid.IntRange(0, 3).Draw(t, "hints") {
		in.Hints = append(in.Hints, drawHint(t))
	}
	return in
}

func drawHint(t *rapid.T) risk.Hint {
	return risk.Hint{From: "The agent", Level: risk.Level(rapid.IntRange(0, 5).Draw(t, "hint"))}
}

func drawAmount(t *rapid.T) *provider.Amount {
	if rapid.Bool().Draw(t, "free") {
		return nil
	}
	return &provider.Amount{
		Meaning: rapid.SampledFrom([]provider.Meaning{provider.Value, provider.Transfer, ""}).Draw(t, "kind"),
		Value:   rapid.SampledFrom([]string{"0", "500", "501", "x"}).Draw(t, "number"),
		Unknown: rapid.Bool().Draw(t, "unknown"),
	}
}

// Whatever more is known, the level does not fall.
func TestMoreFactsNeverLower(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := drawInput(t)
		before := risk.Assess(in).Level
		more := in
		switch rapid.IntRange(0, 9).Draw(t, "what") {
		case 0:
			more.Tainted = true
		case 1:
			more.First = true
		case 2:
			more.Default = true
		case 3:
			more.Outsiders = true
		case 4:
			more.Recipients += rapid.IntRange(0, 20).Draw(t, "more")
		case 5:
			more.Public = yes()
		case 6:
			at := rapid.IntRange(0, len(in.Hints)).Draw(t, "at")
			more.Hints = slices.Insert(slices.Clone(in.Hints), at, drawHint(t))
		case 7:
			if in.Amount != nil {
				a := *in.Amount
				a.Unknown = true
				more.Amount = &a
			} else {
				more.Amount = drawAmount(t)
			}
		case 9:
			more.Listed = false
		case 8:
			if in.Base >= risk.Low && in.Base < risk.Critical {
				more.Base++
			}
		}
		if after := risk.Assess(more).Level; after < before {
			t.Fatalf("%v became %v", before, after)
		}
	})
}

// The facts tell the whole story: levels only rise, the last is the outcome,
// and exactly those that raised say so.
func TestFactsTellTheStory(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		a := risk.Assess(drawInput(t))
		if a.Level < risk.Low || a.Level > risk.Critical || len(a.Facts) == 0 || a.Facts[len(a.Facts)-1].Level != a.Level {
			t.Fatalf("%+v", a)
		}
		for i, f := range a.Facts {
			if i > 0 && (f.Level < a.Facts[i-1].Level || f.Raises != (f.Level > a.Facts[i-1].Level)) {
				t.Fatalf("fact %d of %+v", i, a.Facts)
			}
			first := []rune(f.Text)[0]
			if !unicode.IsUpper(first) || !strings.HasSuffix(f.Text, ".") || f.Raises != strings.Contains(f.Text, "which makes it") {
				t.Fatalf("%q", f.Text)
			}
		}
	})
}

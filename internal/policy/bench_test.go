package policy_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/valetkey/valetkey/internal/id"
	"github.com/valetkey/valetkey/internal/policy"
)

// many is n rules about operations, agents, connections and resources that the
// tests' inputs have nothing to do with.
func many(n int) string {
	var b strings.Builder
	for i := range n {
		switch i % 5 {
		case 0:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal, action == Action::\"write\", resource) when { context.operation == Operation::\"slack.chat.op%d\" } unless { context.assurance >= 1 };\n", i, i)
		case 1:
			fmt.Fprintf(&b, "@id(\"r%d\") permit (principal == Agent::\"agt_%d\", action, resource) when { context.operation in Operation::\"github.issues\" && context.risk_level <= 2 };\n", i, i)
		case 2:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal, action, resource in Owner::\"github/org%d\") when { context.tainted };\n", i, i)
		case 3:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal, action, resource) when { context.connection == Connection::\"con_%d\" && context.hour < 6 };\n", i, i)
		case 4:
			fmt.Fprintf(&b, "@id(\"r%d\") forbid (principal, action, resource == Repository::\"github/octo/r%d\") unless { context.assurance >= 2 };\n", i, i)
		}
	}
	return b.String()
}

func BenchmarkDecide(b *testing.B) {
	for _, n := range []int{0, 100, 1000} {
		texts := []policy.Source{policy.Default()}
		for i := 0; i < n; i += 100 {
			src := org(many(100))
			src.ID = id.Policy(fmt.Sprintf("pol_%d", i))
			texts = append(texts, src)
		}
		s := compile(b, texts...)
		for name, in := range map[string]policy.Input{"permit": read(), "ask": write("github.issues.create_comment", 2)} {
			b.Run(fmt.Sprintf("rules=%d/%s", n, name), func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					s.Decide(in)
				}
			})
		}
	}
}

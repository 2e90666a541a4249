package seal

import "testing"

func TestLRUIsBounded(t *testing.T) {
	l := newLRU(3)
	for _, n := range []Name{"a", "b", "c"} {
		l.put(n, nil)
	}
	l.get("a") // used: b is the oldest
	l.put("d", nil)
	l.put("d", nil)
	for n, want := range map[Name]bool{"a": true, "b": false, "c": true, "d": true} {
		if _, ok := l.get(n); ok != want {
			t.Errorf("%s held: %v", n, ok)
		}
	}
	l.drop("a")
	l.drop("a")
	if l.order.Len() != 2 || len(l.byName) != 2 {
		t.Errorf("%d in order, %d by name", l.order.Len(), len(l.byName))
	}
}

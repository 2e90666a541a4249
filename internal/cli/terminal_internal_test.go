package cli

import "testing"

func TestCell(t *testing.T) {
	for _, c := range []struct {
		in   string
		most int
		want string
	}{
		{"all of it", 9, "all of it"},
		{"two words here", 11, "two words… (5 more characters)"},
		{"two words here", 10, "two words… (5 more characters)"},
		{"two words here", 9, "two words… (5 more characters)"},
		{"a unbreakable", 8, "a unbrea… (5 more characters)"},
		{"äöü äöü äöü", 5, "äöü… (8 more characters)"},
	} {
		if got := cell(c.in, c.most); got != c.want {
			t.Errorf("cell(%q, %d) = %q, want %q", c.in, c.most, got, c.want)
		}
	}
}

func TestItems(t *testing.T) {
	for _, c := range []struct {
		in      []string
		between string
		most    int
		want    string
	}{
		{nil, " ", 10, ""},
		{[]string{"owner", "repo"}, " ", 20, "owner repo"},
		{[]string{"owner", "repo", "[body]", "[labels]"}, " ", 12, "owner repo… (2 more)"},
		{[]string{"octo/api", "octo/web"}, ", ", 10, "octo/api… (1 more)"},
		{[]string{"much-too-long", "b"}, " ", 4, "much… (9 more characters)… (1 more)"},
	} {
		if got := items(c.in, c.between, c.most); got != c.want {
			t.Errorf("items(%q, %q, %d) = %q, want %q", c.in, c.between, c.most, got, c.want)
		}
	}
}

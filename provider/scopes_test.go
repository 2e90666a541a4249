package provider_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/provider"
)

func TestMissing(t *testing.T) {
	spec := &provider.Spec{Auth: provider.Auth{
		Covers: map[string][]string{"user": {"read:user"}, "repo": {"public_repo", "status"}, "all": {"repo", "user"}, "loop": {"loop", "pool"}, "pool": {"loop"}},
		Public: map[string][]string{"repo": {"public_repo"}, "read:user": {}},
	}}
	type list = []string
	for _, c := range []struct {
		what    string
		need    list
		read    bool
		granted list
		missing list
		certain bool
	}{
		{"nothing is needed", nil, false, list{"user"}, nil, false},
		{"it has it", list{"delete"}, false, list{"user", "delete"}, nil, false},
		{"it lacks it", list{"delete"}, false, list{"user", "repo"}, list{"delete"}, true},
		{"a read lacks it", list{"delete"}, true, list{"user", "repo"}, list{"delete"}, true},
		{"it lacks two, one of them twice", list{"delete", "admin", "delete"}, false, list{"repo"}, list{"delete", "admin"}, true},
		{"it lacks one of two", list{"repo", "delete"}, false, list{"repo"}, list{"delete"}, true},
		{"covered", list{"status"}, false, list{"repo"}, nil, false},
		{"covered by what is covered", list{"read:user", "public_repo"}, false, list{"all"}, nil, false},
		{"the lesser covers nothing", list{"repo"}, false, list{"status"}, list{"repo"}, true},
		{"enough where it is public", list{"repo"}, false, list{"public_repo"}, list{"repo"}, false},
		{"enough for one of two", list{"repo", "delete"}, false, list{"public_repo"}, list{"repo", "delete"}, true},
		{"public things are read without", list{"repo"}, true, list{"user"}, list{"repo"}, false},
		{"names have a case", list{"repo"}, false, list{"Repo"}, list{"repo"}, true},
		{"scopes that cover each other", list{"repo"}, false, list{"loop"}, list{"repo"}, true},
		{"no scope is known", list{"repo"}, false, nil, nil, false},
	} {
		missing, certain := spec.Missing(&provider.Match{Scopes: c.need, Read: c.read}, c.granted)
		if d := cmp.Diff(c.missing, missing); d != "" || certain != c.certain {
			t.Errorf("%s: %v, certain %v (-want +got):\n%s", c.what, missing, certain, d)
		}
	}
	spec.Auth.Permissions = true
	if missing, certain := spec.Missing(&provider.Match{Scopes: []string{"issues:write"}}, []string{"repo"}); missing != nil || certain {
		t.Errorf("by permissions: %v, %v", missing, certain)
	}
}

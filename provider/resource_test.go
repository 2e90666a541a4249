package provider_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/provider"
)

func TestForms(t *testing.T) {
	repo, org := provider.Resource{Type: "repository", ID: "{owner}/{repo}"}, provider.Resource{Type: "organization", ID: "{org}"}
	file := provider.Resource{Type: "file", ID: "drive/{id}"}
	spec := &provider.Spec{API: provider.API{
		Resources:  []provider.ResourcePath{{Path: "/repos", Resource: repo}, {Path: "/repositories", Resource: repo}, {Path: "/orgs", Resource: org}},
		Operations: []provider.Operation{{Name: "a.b", Resource: org}, {Name: "a.c"}, {Name: "a.d", Resource: file}},
	}}
	if d := cmp.Diff([]provider.Resource{repo, org, file}, spec.Forms()); d != "" {
		t.Errorf("forms (-want +got):\n%s", d)
	}
	if got := spec.PlainType(); got != "repository" {
		t.Errorf("plain names are those of a %q", got)
	}
	spec.Resources = nil
	if got := spec.PlainType() + (&provider.Spec{}).PlainType(); got != "organization" {
		t.Errorf("plain names are those of a %q", got)
	}
	for _, c := range []struct {
		form provider.Resource
		name string
		fits bool
	}{
		{repo, "octo/api", true}, {repo, "octo/*", true}, {repo, "octo/api.go", true},
		{repo, "octo", false}, {repo, "octo/", false}, {repo, "/api", false}, {repo, "octo/api/issues", false}, {repo, "octo/api/*", false},
		{repo, "*/api", false}, {repo, "*/*", false}, {repo, "octo/a*", false}, {repo, "*", false}, {repo, "", false}, {repo, "/*", false}, {repo, "https://github.com/octo/api", false},
		{org, "octo", true}, {org, "octo/*", false}, {org, "octo/api", false}, {org, "*", false}, {org, "", false},
		{file, "drive/1", true}, {file, "drive/*", true}, {file, "Drive/1", true}, {file, "disk/1", false}, {file, "disk/*", false},
	} {
		if got := c.form.Fits(c.name); got != c.fits {
			t.Errorf("%s fits %s: %v", c.name, c.form.ID, got)
		}
	}
	if got := repo.Form() + " " + file.Form(); got != "OWNER/REPO drive/ID" {
		t.Errorf("written as %s", got)
	}
}

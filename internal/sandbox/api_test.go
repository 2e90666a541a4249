package sandbox_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/valetkey/valetkey/internal/sandbox"
	"github.com/valetkey/valetkey/secret"
)

func TestAPIRefuses(t *testing.T) {
	b := start(t)
	octocat, hubot := b.PersonalToken("octocat"), b.PersonalToken("hubot")
	narrow := b.PersonalToken("octocat", "public_repo")
	none := secret.Text{}
	for name, c := range map[string]struct {
		token        secret.Text
		method, path string
		body         string
		status       int
		message      string
	}{
		"bad token":             {secret.New("ghu_guess"), "GET", "/user", "", 401, "Bad credentials"},
		"anonymous self":        {none, "GET", "/user", "", 401, "Requires authentication"},
		"anonymous repos":       {none, "GET", "/user/repos", "", 401, "Requires authentication"},
		"anonymous comment":     {none, "POST", "/repos/octocat/hello-world/issues/1/comments", `{"body":"x"}`, 401, "Requires authentication"},
		"anonymous private":     {none, "GET", "/repos/octo/api", "", 404, "Not Found"},
		"private without scope": {narrow, "GET", "/repos/octo/api/issues/1", "", 404, "Not Found"},
		"delete without scope":  {narrow, "DELETE", "/repos/octocat/hello-world", "", 403, "Must have admin rights"},
		"delete by a writer":    {hubot, "DELETE", "/repos/octo/api", "", 403, "Must have admin rights"},
		"labels by a stranger":  {hubot, "POST", "/repos/octocat/hello-world/issues/1/labels", `{"labels":["x"]}`, 403, "push access"},
		"edit by a stranger":    {hubot, "PATCH", "/repos/octocat/hello-world/issues/2", `{"title":"x"}`, 403, "admin rights"},
		"merge by a stranger":   {hubot, "PUT", "/repos/octocat/hello-world/pulls/1/merge", "", 403, "push access"},
		"no such repository":    {octocat, "GET", "/repos/octo/none", "", 404, "Not Found"},
		"no such issue":         {octocat, "GET", "/repos/octo/api/issues/99", "", 404, "Not Found"},
		"issue zero":            {octocat, "GET", "/repos/octo/api/issues/0", "", 404, "Not Found"},
		"issue x":               {octocat, "GET", "/repos/octo/api/issues/x", "", 404, "Not Found"},
		"issue as pull":         {octocat, "GET", "/repos/octo/api/pulls/1", "", 404, "Not Found"},
		"no such path":          {octocat, "GET", "/user/keys", "", 404, "Not Found"},
		"no such method":        {octocat, "PUT", "/repos/octo/api/issues", "", 404, "Not Found"},
		"dot segments":          {octocat, "GET", "/repos/octo/x/../api", "", 404, "Not Found"},
		"double slash":          {octocat, "GET", "/repos//octo/api", "", 404, "Not Found"},
		"encoded slash":         {octocat, "GET", "/repos/octo%2Fapi", "", 404, "Not Found"},
		"no title":              {octocat, "POST", "/repos/octo/api/issues", `{"body":"x"}`, 422, `"field":"title"`},
		"blank title":           {octocat, "POST", "/repos/octo/api/issues", `{"title":"  "}`, 422, `"missing_field"`},
		"long title":            {octocat, "POST", "/repos/octo/api/issues", `{"title":"` + strings.Repeat("x", 257) + `"}`, 422, "too long"},
		"title in another case": {octocat, "POST", "/repos/octo/api/issues", `{"Title":"x"}`, 422, `"field":"title"`},
		"title a number":        {octocat, "POST", "/repos/octo/api/issues", `{"title":1}`, 422, "is not a string"},
		"not JSON":              {octocat, "POST", "/repos/octo/api/issues", `title=x`, 400, "Problems parsing JSON"},
		"not an object":         {octocat, "POST", "/repos/octo/api/issues", `["x"]`, 400, "Body should be a JSON object"},
		"unknown assignee":      {octocat, "POST", "/repos/octo/api/issues", `{"title":"x","assignees":["ghost"]}`, 422, `"assignees"`},
		"blank comment":         {octocat, "POST", "/repos/octo/api/issues/1/comments", `{"body":""}`, 422, `"field":"body"`},
		"no comment":            {octocat, "POST", "/repos/octo/api/issues/1/comments", ``, 422, `"field":"body"`},
		"strange state":         {octocat, "PATCH", "/repos/octo/api/issues/1", `{"state":"gone"}`, 422, `"field":"state"`},
		"no labels":             {octocat, "POST", "/repos/octo/api/issues/1/labels", `{"labels":[]}`, 422, `"Label"`},
		"pull from nowhere":     {octocat, "POST", "/repos/octo/api/pulls", `{"title":"x","head":"none","base":"main"}`, 422, `"field":"head"`},
		"pull without commits":  {octocat, "POST", "/repos/octo/api/pulls", `{"title":"x","head":"main","base":"main"}`, 422, "No commits between"},
		"pull twice":            {octocat, "POST", "/repos/octo/api/pulls", `{"title":"x","head":"raise-limit","base":"main"}`, 422, "already exists"},
		"merge of another head": {octocat, "PUT", "/repos/octo/api/pulls/3/merge", `{"sha":"0000"}`, 409, "Head branch was modified"},
		"own fork":              {octocat, "POST", "/repos/octocat/hello-world/forks", "", 403, "your own"},
		"ref not a branch":      {octocat, "POST", "/repos/octo/api/git/refs", `{"ref":"refs/tags/v1","sha":"x"}`, 422, "not valid"},
		"ref with dots":         {octocat, "POST", "/repos/octo/api/git/refs", `{"ref":"refs/heads/a..b","sha":"x"}`, 422, "not valid"},
		"ref to nothing":        {octocat, "POST", "/repos/octo/api/git/refs", `{"ref":"refs/heads/x","sha":"x"}`, 422, "Object does not exist"},
		"delete default branch": {octocat, "DELETE", "/repos/octo/api/git/refs/heads/main", "", 422, "default branch"},
		"contents without sha":  {octocat, "PUT", "/repos/octo/api/contents/README.md", `{"message":"m","content":"eA=="}`, 422, "wasn't supplied"},
		"contents wrong sha":    {octocat, "PUT", "/repos/octo/api/contents/README.md", `{"message":"m","content":"eA==","sha":"00"}`, 409, "does not match"},
		"contents not base64":   {octocat, "PUT", "/repos/octo/api/contents/x", `{"message":"m","content":"%"}`, 422, "Base64"},
		"contents under .git":   {octocat, "PUT", "/repos/octo/api/contents/.git/config", `{"message":"m","content":"eA=="}`, 422, "malformed path"},
		"contents no branch":    {octocat, "PUT", "/repos/octo/api/contents/x", `{"message":"m","content":"eA==","branch":"none"}`, 404, "not found"},
		"no such file":          {octocat, "GET", "/repos/octo/api/contents/none", "", 404, "Not Found"},
		"empty search":          {octocat, "GET", "/search/issues", "", 422, `"field":"q"`},
		"unknown qualifier":     {octocat, "GET", "/search/issues?q=milestone:x", "", 422, "milestone"},
		"unknown search state":  {octocat, "GET", "/search/issues?q=is:strange", "", 422, "is:strange"},
	} {
		t.Run(name, func(t *testing.T) {
			a := b.ask(t, c.token, c.method, c.path, c.body)
			want(t, a, c.status, c.message)
			if got := a.member(t, "status"); got != nil && got != fmt.Sprint(c.status) {
				t.Errorf("status member %v", got)
			}
			if a.member(t, "documentation_url") == nil {
				t.Errorf("not an error document: %s", a.body)
			}
		})
	}
	if a := b.ask(t, octocat, "GET", "/user", "", "User-Agent", ""); a.status != http.StatusForbidden {
		t.Errorf("without User-Agent: %d", a.status)
	}
	big, err := b.try(octocat, "POST", "/repos/octo/api/issues", strings.Repeat("x", 10<<20+1))
	if err == nil && big.status != http.StatusRequestEntityTooLarge {
		t.Errorf("large body: %d", big.status)
	}
	if a := b.ask(t, octocat, "GET", "/repos/octo/api/issues?state=all", ""); strings.Count(a.body, `"node_id":"SXNzdWU6`) != 3 {
		t.Error("a refused request changed something")
	}
}

func TestIssuesAndComments(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat", "repo")
	made := b.ask(t, octocat, "POST", "/repos/octo/api/issues", `{"title":"New <b>","body":"text","labels":["bug","fresh"],"assignees":["hubot"]}`)
	want(t, made, 201, `"number":4`, `"title":"New <b>"`, `"name":"fresh"`, `"login":"hubot"`, `"state":"open"`, `"html_url":"`+b.url+`/octo/api/issues/4"`)
	if loc := made.header.Get("Location"); loc != b.url+"/repos/octo/api/issues/4" {
		t.Errorf("Location %q", loc)
	}
	comment := b.ask(t, octocat, "POST", "/repos/octo/api/issues/4/comments", `{"body":"first & <i>only</i>"}`)
	want(t, comment, 201, `"body":"first & <i>only</i>"`, `"author_association":"MEMBER"`, `/octo/api/issues/4#issuecomment-`)
	want(t, b.ask(t, octocat, "GET", "/repos/octo/api/issues/4/comments", ""), 200, "first & ")
	want(t, b.ask(t, octocat, "GET", "/repos/octo/api/issues/4", ""), 200, `"comments":1`)
	want(t, b.ask(t, octocat, "POST", "/repos/octo/api/issues/4/labels", `["question","Bug"]`), 200, `"name":"question"`, `"name":"bug"`)
	closed := b.ask(t, octocat, "PATCH", "/repos/octo/api/issues/4", `{"state":"closed","state_reason":"not_planned","body":"edited"}`)
	want(t, closed, 200, `"state":"closed"`, `"state_reason":"not_planned"`, `"title":"New <b>"`, `"body":"edited"`, `"closed_by":{"login":"octocat"`)
	want(t, b.ask(t, octocat, "PATCH", "/repos/octo/api/issues/4", `{"state":"open"}`), 200, `"closed_at":null`)
	// Somebody without push access may report, but not sort.
	plain := b.ask(t, b.PersonalToken("hubot"), "POST", "/repos/octocat/hello-world/issues", `{"title":"t","labels":["bug"],"assignees":["octocat"]}`)
	want(t, plain, 201, `"labels":[]`, `"assignees":[]`)
}

func TestListsSearchAndPages(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat", "repo")
	want(t, b.ask(t, octocat, "GET", "/user/repos", ""), 200, `"full_name":"octo/api"`, `"full_name":"octocat/hello-world"`, `"visibility":"private"`)
	public := b.ask(t, octocat, "GET", "/user/repos?visibility=public", "")
	if strings.Contains(public.body, "octo/api") {
		t.Error("a private repository among the public ones")
	}
	want(t, b.ask(t, secret.Text{}, "GET", "/repos/OCTOCAT/Hello-World", ""), 200, `"private":false`)
	queue := b.ask(t, octocat, "GET", "/search/issues?q=is:open+is:pr+review-requested:@me", "")
	want(t, queue, 200, `"total_count":1`, `"number":3`, `"score":1`)
	for q, n := range map[string]int{"repo:octo/api+is:issue": 2, "author:hubot": 3, "label:%22good+first+issue%22": 1, "proxy+is:closed": 0, "proxy": 1, "assignee:@me": 2} {
		want(t, b.ask(t, octocat, "GET", "/search/issues?q="+q, ""), 200, fmt.Sprintf(`"total_count":%d,`, n))
	}
	// The anonymous find the public issues only.
	want(t, b.ask(t, secret.Text{}, "GET", "/search/issues?q=is:open", ""), 200, `"total_count":2,`)

	for i := range 5 {
		want(t, b.ask(t, octocat, "POST", "/repos/octo/api/issues/1/comments", fmt.Sprintf(`{"body":"c%d"}`, i)), 201)
	}
	const path = "/repos/octo/api/issues/1/comments"
	middle := b.ask(t, octocat, "GET", path+"?per_page=3&page=2", "")
	var got []struct{ Body string }
	middle.json(t, &got)
	if diff := cmp.Diff([]struct{ Body string }{{"c1"}, {"c2"}, {"c3"}}, got); diff != "" {
		t.Errorf("page 2 (-want +got):\n%s", diff)
	}
	link := func(n int, rel string) string {
		return fmt.Sprintf(`<%s%s?page=%d&per_page=3>; rel="%s"`, b.url, path, n, rel)
	}
	if want := strings.Join([]string{link(1, "prev"), link(3, "next"), link(3, "last"), link(1, "first")}, ", "); middle.header.Get("Link") != want {
		t.Errorf("Link\n%s, want\n%s", middle.header.Get("Link"), want)
	}
	if beyond := b.ask(t, octocat, "GET", path+"?page=99", ""); strings.TrimSpace(beyond.body) != "[]" {
		t.Errorf("beyond the end: %s", beyond.body)
	}
}

func TestConditionalRequests(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat", "repo")
	const path = "/repos/octo/api/issues/1"
	first := b.ask(t, octocat, "GET", path, "")
	tag := first.header.Get("ETag")
	for _, name := range []string{"ETag", "X-OAuth-Scopes", "X-GitHub-Request-Id", "X-GitHub-Media-Type"} {
		if first.header.Get(name) == "" {
			t.Errorf("no %s", name)
		}
	}
	if same := b.ask(t, octocat, "GET", path, "", "If-None-Match", `"x", `+tag); same.status != 304 || same.body != "" {
		t.Errorf("unchanged: %d %q", same.status, same.body)
	}
	b.ask(t, octocat, "POST", path+"/comments", `{"body":"x"}`)
	if other := b.ask(t, octocat, "GET", path, "", "If-None-Match", tag); other.status != 200 {
		t.Errorf("changed: %d", other.status)
	}
}

func TestBranchContentsPullMerge(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat", "repo")
	const repo = "/repos/octo/api"
	var ref struct{ Object struct{ SHA string } }
	b.ask(t, octocat, "GET", repo+"/git/ref/heads/main", "").json(t, &ref)
	want(t, b.ask(t, octocat, "POST", repo+"/git/refs", `{"ref":"refs/heads/docs/limits","sha":"`+ref.Object.SHA+`"}`), 201, `"ref":"refs/heads/docs/limits"`)
	want(t, b.ask(t, octocat, "POST", repo+"/git/refs", `{"ref":"refs/heads/docs/limits","sha":"`+ref.Object.SHA+`"}`), 422, "already exists")

	text := base64.StdEncoding.EncodeToString([]byte("# Limits\n"))
	put := b.ask(t, octocat, "PUT", repo+"/contents/docs/limits.md", `{"message":"Document limits","branch":"docs/limits","content":"`+text+`"}`)
	// The id is the one that git gives: git hash-object of "# Limits\n".
	want(t, put, 201, `"path":"docs/limits.md"`, `"sha":"7947c801a14b156fe021193b354097a5d1f648d4"`)
	want(t, b.ask(t, octocat, "GET", repo+"/contents/docs/limits.md", ""), 404)
	want(t, b.ask(t, octocat, "GET", repo+"/contents/docs/limits.md?ref=docs/limits", ""), 200, `"encoding":"base64"`, text)
	want(t, b.ask(t, octocat, "GET", repo+"/contents/", "", "Accept", "application/json"), 404) // a trailing slash is another path
	var tree []struct{ Name, Type string }
	b.ask(t, octocat, "GET", repo+"/contents/server", "").json(t, &tree)
	if diff := cmp.Diff([]struct{ Name, Type string }{{"limits.go", "file"}}, tree); diff != "" {
		t.Errorf("directory (-want +got):\n%s", diff)
	}

	pull := b.ask(t, octocat, "POST", repo+"/pulls", `{"title":"Document limits","head":"docs/limits","base":"main"}`)
	want(t, pull, 201, `"number":4`, `"mergeable":true`, `"changed_files":1`, `"additions":1`, `"commits":1`, `"url":"`+b.url+repo+`/pulls/4"`, `"issue_url":"`+b.url+repo+`/issues/4"`)
	want(t, b.ask(t, octocat, "GET", repo+"/issues/4", ""), 200, `"pull_request":{"url":"`+b.url+repo+`/pulls/4"`)
	var shown struct{ Head struct{ SHA string } }
	pull.json(t, &shown)
	want(t, b.ask(t, octocat, "PUT", repo+"/pulls/4/merge", `{"sha":"`+shown.Head.SHA+`"}`), 200, `"merged":true`)
	want(t, b.ask(t, octocat, "PUT", repo+"/pulls/4/merge", ``), 405, "not mergeable")
	want(t, b.ask(t, octocat, "GET", repo+"/pulls/4", ""), 200, `"merged":true`, `"state":"closed"`, `"merged_by":{"login":"octocat"`)
	want(t, b.ask(t, octocat, "PATCH", repo+"/issues/4", `{"state":"open"}`), 422, "cannot be reopened")
	want(t, b.ask(t, octocat, "GET", repo+"/contents/docs/limits.md", ""), 200, text)
	want(t, b.ask(t, octocat, "DELETE", repo+"/git/refs/heads/docs/limits", ""), 204)
	want(t, b.ask(t, octocat, "GET", repo+"/git/ref/heads/docs/limits", ""), 404)
	open := b.ask(t, octocat, "GET", repo+"/pulls", "")
	want(t, open, 200, `"number":3`)
	if strings.Contains(open.body, `"number":4`) {
		t.Error("a merged pull request is listed as open")
	}
}

// Two branches that change one file do not merge; the world stays as it was.
func TestMergeConflict(t *testing.T) {
	b := start(t)
	octocat := b.PersonalToken("octocat", "repo")
	const repo = "/repos/octo/api"
	var file struct{ SHA string }
	b.ask(t, octocat, "GET", repo+"/contents/server/limits.go", "").json(t, &file)
	want(t, b.ask(t, octocat, "PUT", repo+"/contents/server/limits.go", `{"message":"m","content":"eA==","sha":"`+file.SHA+`"}`), 200)
	want(t, b.ask(t, octocat, "GET", repo+"/pulls/3", ""), 200, `"mergeable":false`, `"mergeable_state":"dirty"`)
	want(t, b.ask(t, octocat, "PUT", repo+"/pulls/3/merge", ""), 405)
	want(t, b.ask(t, octocat, "GET", repo+"/contents/server/limits.go", ""), 200, `"eA==\n"`)
}

func TestForkPullAndDelete(t *testing.T) {
	b := start(t)
	octocat, hubot := b.PersonalToken("octocat"), b.PersonalToken("hubot")
	want(t, b.ask(t, hubot, "POST", "/repos/octocat/hello-world/forks", ""), 202, `"full_name":"hubot/hello-world"`, `"fork":true`, `"parent":{`)
	want(t, b.ask(t, hubot, "POST", "/repos/octocat/hello-world/forks", `{}`), 202, `"full_name":"hubot/hello-world"`)
	want(t, b.ask(t, hubot, "PUT", "/repos/hubot/hello-world/contents/LICENSE", `{"message":"Add a licence","content":"TUlU"}`), 201)
	want(t, b.ask(t, hubot, "POST", "/repos/octocat/hello-world/pulls", `{"title":"Licence","head":"hubot:main","base":"main"}`), 201, `"label":"hubot:main"`, `"changed_files":1`)
	want(t, b.ask(t, octocat, "PUT", "/repos/octocat/hello-world/pulls/3/merge", `{"merge_method":"squash"}`), 200)
	want(t, b.ask(t, octocat, "GET", "/repos/octocat/hello-world/contents/LICENSE", ""), 200, "TUlU")
	want(t, b.ask(t, octocat, "DELETE", "/repos/octocat/hello-world", ""), 204)
	want(t, b.ask(t, octocat, "GET", "/repos/octocat/hello-world", ""), 404)
	want(t, b.ask(t, hubot, "GET", "/repos/hubot/hello-world", ""), 200)
}

func TestSeedMustBeSound(t *testing.T) {
	defer func() {
		if recover() == nil {
			t.Error("a seed with an unknown author was taken")
		}
	}()
	sandbox.New(sandbox.Options{Seed: sandbox.Seed{
		Users:        []sandbox.User{{Login: "a"}},
		Repositories: []sandbox.Repository{{Owner: "a", Name: "r", Issues: []sandbox.Issue{{Title: "t", Author: "ghost"}}}},
	}})
}

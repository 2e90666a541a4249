package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"golang.org/x/oauth2"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

// exampleServer stands in for a server where reads are permitted and comments
// ask a person, who answers while the agent waits.
func exampleServer() *httptest.Server {
	mux := http.NewServeMux()
	answer := func(w http.ResponseWriter, status int, v any) {
		w.Header().Set("Content-Type", api.MediaJSON)
		w.WriteHeader(status)
		json.NewEncoder(w).Encode(v)
	}
	mux.HandleFunc("POST /oauth/token", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, api.TokenResponse{AccessToken: "example", TokenType: "Bearer", ExpiresIn: 600, Scope: "repo"})
	})
	mux.HandleFunc("POST /v1/actions", func(w http.ResponseWriter, r *http.Request) {
		var asked api.ActionRequest
		json.NewDecoder(r.Body).Decode(&asked)
		switch {
		case asked.Operation == "github.issues.create_comment":
			answer(w, 202, api.Action{
				ID: "act_1", State: api.StatePending, Summary: "comment on octo/api#7",
				Approval: &api.Ticket{ID: "apr_1", Status: api.ApprovalOpen, Level: api.LevelApprove, URL: "http://localhost:8420/actions/act_1"},
			})
		case asked.Operation == "github.repos.delete":
			w.Header().Set("Content-Type", api.MediaProblem)
			w.WriteHeader(403)
			json.NewEncoder(w).Encode(api.Problem{Status: 403, Reason: "operation_not_granted", Detail: "The grant does not cover this operation."})
		case r.URL.Query().Has("stream"):
			w.Header().Set(api.HeaderAction, "act_2")
			w.Header().Set(api.HeaderUpstreamStatus, "200")
			io.WriteString(w, `[{"number":7,"title":"It is broken"}]`)
		default:
			answer(w, 200, api.ActionResult{Action: "act_2", State: api.StateSucceeded, Status: 200, Body: []byte(`[]`)})
		}
	})
	mux.HandleFunc("GET /v1/actions/act_1", func(w http.ResponseWriter, r *http.Request) {
		answer(w, 200, api.Action{ID: "act_1", State: api.StateSucceeded, Final: true, Outcome: &api.Outcome{Status: 201, Response: true}})
	})
	mux.HandleFunc("GET /v1/actions/act_1/response", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set(api.HeaderAction, "act_1")
		w.Header().Set(api.HeaderUpstreamStatus, "201")
		io.WriteString(w, `{"id":1}`)
	})
	return httptest.NewServer(mux)
}

func exampleClient(issuer string) *client.Client {
	key, err := client.GenerateKey(client.ES256)
	if err != nil {
		panic(err)
	}
	c, err := client.New(issuer, client.Options{ClientID: "triage", Key: key})
	if err != nil {
		panic(err)
	}
	return c
}

// A key is made where the agent runs; only the public half leaves.
func ExampleGenerateKey() {
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "triage.pem")

	key, err := client.GenerateKey(client.ES256)
	if err != nil {
		panic(err)
	}
	if err := key.Save(path); err != nil {
		panic(err)
	}
	fmt.Print(key.PublicPEM()[:27]) // give this to: valetkey agent add triage

	same, err := client.LoadKey(path)
	if err != nil {
		panic(err)
	}
	fmt.Println(same.Alg(), same.ID() == key.ID())
	// Output:
	// -----BEGIN PUBLIC KEY-----
	// ES256 true
}

// Do is all that most agents need: it returns when the provider has answered,
// at once or after a person agreed.
func ExampleClient_Do() {
	srv := exampleServer()
	defer srv.Close()
	c := exampleClient(srv.URL)

	res, err := c.Do(context.Background(), api.ActionRequest{
		Connection: "github",
		Operation:  "github.issues.list",
		Params:     map[string]any{"owner": "octo", "repo": "api"},
	})
	if err != nil {
		panic(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		panic(err)
	}
	fmt.Println(res.Status, string(body))
	// Output:
	// 200 [{"number":7,"title":"It is broken"}]
}

// An agent with other things to do submits, keeps the id, and comes back.
func ExampleClient_Submit() {
	srv := exampleServer()
	defer srv.Close()
	c := exampleClient(srv.URL)
	ctx := context.Background()

	out, err := c.Submit(ctx, api.ActionRequest{
		Connection:     "github",
		Operation:      "github.issues.create_comment",
		Params:         map[string]any{"owner": "octo", "repo": "api", "number": 7, "body": "I can reproduce this."},
		Note:           "Somebody asked for a confirmation.",
		IdempotencyKey: "octo/api#7/confirm", // the same after a restart
	})
	if err != nil {
		panic(err)
	}
	if out.Held == nil {
		fmt.Println("it ran at once:", out.Result.Status)
		return
	}
	fmt.Println("waiting for a person:", out.Held.Summary)

	action, err := c.Await(ctx, out.Held.ID)
	if err != nil {
		panic(err)
	}
	fmt.Println(action.State, action.Outcome.Status)
	// Output:
	// waiting for a person: comment on octo/api#7
	// succeeded 201
}

// Programs decide by the reason of an error; its text is for people.
func ExampleError() {
	srv := exampleServer()
	defer srv.Close()
	c := exampleClient(srv.URL)

	_, err := c.Do(context.Background(), api.ActionRequest{Connection: "github", Operation: "github.repos.delete"})
	if e, ok := errors.AsType[*client.Error](err); ok {
		fmt.Println(e.Reason)
	}
	fmt.Println(err)
	// Output:
	// operation_not_granted
	// operation_not_granted: The grant does not cover this operation. (HTTP 403)
}

// Where a grant allows it, an agent can hold the provider's own token, and use
// it with any package that takes an oauth2.TokenSource.
func ExampleTokenSource() {
	srv := exampleServer()
	defer srv.Close()
	c := exampleClient(srv.URL)
	ctx := context.Background()

	source := c.TokenSource(client.ExchangeRequest{
		User: "usr_01", Connection: "github", Scopes: []string{"repo"}, AuditContext: "nightly triage",
	})
	token, err := source.Token(ctx)
	if err != nil {
		panic(err)
	}
	fmt.Println(token.Type, token.Access, token.Scopes)

	github := oauth2.NewClient(ctx, source.OAuth2(ctx))
	_ = github // attaches the token to every request, and renews it
	// Output:
	// Bearer [secret] [repo]
}

package api_test

import (
	"encoding/json"
	"fmt"

	"github.com/valetkey/valetkey/api"
)

// A named operation with its parameters; the server renders the request.
func ExampleActionRequest() {
	b, err := json.MarshalIndent(api.ActionRequest{
		Connection: "github",
		Operation:  "github.issues.create_comment",
		Params:     map[string]any{"owner": "octo", "repo": "api", "number": 7, "body": "Thanks!"},
	}, "", "  ")
	if err != nil {
		panic(err)
	}
	fmt.Println(string(b))
	// Output:
	// {
	//   "connection": "github",
	//   "operation": "github.issues.create_comment",
	//   "params": {
	//     "body": "Thanks!",
	//     "number": 7,
	//     "owner": "octo",
	//     "repo": "api"
	//   }
	// }
}

// Or a request of one's own, below the provider's API base.
func ExampleActionRequest_raw() {
	b, err := json.Marshal(api.ActionRequest{
		Connection: "github",
		Method:     "PATCH",
		Path:       "/repos/octo/api/issues/7",
		BodyJSON:   json.RawMessage(`{"state":"closed"}`),
	})
	if err != nil {
		panic(err)
	}
	fmt.Println(string(b))
	// Output:
	// {"connection":"github","method":"PATCH","path":"/repos/octo/api/issues/7","body_json":{"state":"closed"}}
}

func ExampleProblem() {
	var p api.Problem
	err := json.Unmarshal([]byte(`{"type":"about:blank","title":"Forbidden","status":403,"reason":"grant_expired",`+
		`"detail":"The grant for this connection has expired; ask its owner to renew it."}`), &p)
	if err != nil {
		panic(err)
	}
	if p.Reason == "grant_expired" {
		fmt.Println(p.Detail)
	}
	// Output:
	// The grant for this connection has expired; ask its owner to renew it.
}

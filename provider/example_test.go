package provider_test

import (
	"errors"
	"fmt"
	"log"
	"net/http"
	"testing/fstest"

	"github.com/valetkey/valetkey/provider"
)

const tickets = `
id: tickets
name: Tickets
style: rest
auth: {url: "https://tickets.test/oauth/authorize", pkce: required}
token: {url: "https://tickets.test/oauth/token", auth: body, body: form}
refresh: {rotation: always, trigger: expiry}
revoke: {kind: rfc7009, url: "https://tickets.test/oauth/revoke", target: refresh, scope_of_effect: grant}
identity: {url: "https://api.tickets.test/me", id: id, label: name}
endpoints: {api_bases: ["https://api.tickets.test"], host_from: static}
credential: {attach: bearer}
operations:
  - name: tickets.comments.create
    title: Comment on a ticket
    summary: comment on ticket {ticket}
    methods: [POST]
    paths: ["/tickets/{ticket}/comments"]
    risk: medium
    body: json
    params:
      - {name: ticket, in: path, type: integer}
      - {name: text, in: body, required: true}
      - {name: public, in: body, type: boolean}
    raise:
      - {risk: high, why: the customer reads it, if: [{in: body, at: public, is: ["true"]}]}
    example: {ticket: 7, text: Looking into it.}
`

// A Spec is data: a YAML file, checked when it is read.
func ExampleSpec() {
	s, err := provider.Parse(fstest.MapFS{"tickets.yaml": {Data: []byte(tickets)}}, "tickets.yaml")
	if err != nil {
		log.Fatal(err)
	}
	o, _ := s.Operation("tickets.comments.create")
	r, err := o.Render(s, map[string]any{"ticket": 7, "text": "Looking into it."})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Printf("%s %s\n%s\n", r.Method, r.Path, r.Body)

	_, err = o.Render(s, map[string]any{"ticket": "7/../8", "text": "Hello"})
	fmt.Println(err)
	// Output:
	// POST /tickets/7/comments
	// {"text":"Looking into it."}
	// bad_parameter: tickets.comments.create: ticket must be a whole number
}

// Match reads what an agent wants to send, and says how risky it is and why.
func ExampleSpec_Match() {
	s, err := provider.Parse(fstest.MapFS{"tickets.yaml": {Data: []byte(tickets)}}, "tickets.yaml")
	if err != nil {
		log.Fatal(err)
	}
	m, err := s.Match(provider.Request{
		Method: "POST", Path: "/tickets/7/comments", Body: []byte(`{"text":"Fixed!","public":true}`),
		Header: http.Header{"Content-Type": {"application/json"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Operation, m.Risk, m.Why)

	m, err = s.Match(provider.Request{Method: "DELETE", Path: "/tickets/7"})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(m.Operation, m.Risk, m.Why)

	_, err = s.Match(provider.Request{Method: "POST", Path: "/tickets/%37/comments"})
	if refusal, ok := errors.AsType[*provider.Refusal](err); ok {
		fmt.Println(refusal.Reason)
	}
	// Output:
	// tickets.comments.create high [tickets.comments.create is medium the customer reads it]
	// tickets.raw.write high [it is not in the catalogue and may change something]
	// bad_path
}

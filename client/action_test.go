package client_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

const submitRoute = "POST /v1/actions"

var comment = api.ActionRequest{
	Connection: "github", Operation: "github.issues.create_comment",
	Params: map[string]any{"owner": "octo", "repo": "api", "number": 7, "body": "a < b & c"},
}

// Refusals are the server's word: one submission, no second one.
func TestSubmitRefused(t *testing.T) {
	for status, reason := range map[int]string{400: "bad_parameter", 403: "operation_not_granted", 404: "connection_not_found", 409: "idempotency_conflict", 413: "too_large", 502: "upstream_unreachable"} {
		run(t, func(t *testing.T, s *server, c *client.Client) {
			s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) { problem(w, status, reason) })
			_, err := c.Submit(t.Context(), comment)
			e := wantError(t, err, reason, status)
			if e.IdempotencyKey == "" || !strings.Contains(e.Detail, reason) {
				t.Errorf("%+v lacks the key or the detail", e)
			}
			if got := s.count(submitRoute); got != 1 {
				t.Errorf("%s: %d submissions, want 1", reason, got)
			}
		})
	}
}

// A page of a proxy that stands in for the server is not the server.
func TestSubmitToSomethingElse(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://elsewhere.test/", http.StatusPermanentRedirect)
		})
		_, err := c.Submit(t.Context(), comment)
		wantError(t, err, client.ReasonBadAnswer, 308)
	})
}

func TestUnencodableRequest(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		_, err := c.Submit(t.Context(), api.ActionRequest{Params: map[string]any{"f": func() {}}})
		wantError(t, err, client.ReasonBadRequest, 0)
		if got := s.count(submitRoute); got != 0 {
			t.Errorf("%d submissions", got)
		}
	})
}

func TestSubmitInline(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		want := &api.ActionResult{Action: "act_1", State: api.StateSucceeded, Status: 201, Headers: map[string][]string{"Etag": {"x"}}, Body: []byte(`{"id":1}`)}
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) {
			raw, _ := io.ReadAll(r.Body)
			if !strings.Contains(string(raw), "a < b & c") {
				t.Errorf("the text was escaped on the way: %s", raw)
			}
			reply(w, 200, want)
		})
		out, err := c.Submit(t.Context(), comment)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(out.Result, want); diff != "" || out.Held != nil {
			t.Errorf("result (-got +want):\n%s", diff)
		}
	})
}

func TestSubmitKeys(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		var keys []string
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) {
			var got api.ActionRequest
			json.NewDecoder(r.Body).Decode(&got)
			keys = append(keys, got.IdempotencyKey)
			a := held("act_1", api.StatePending, false)
			reply(w, 202, a)
		})
		mine := comment
		mine.IdempotencyKey = "issue-7-greeting"
		for _, r := range []api.ActionRequest{comment, comment, mine} {
			out, err := c.Submit(t.Context(), r)
			if err != nil || out.Held == nil || out.Held.ID != "act_1" || out.Result != nil {
				t.Fatalf("Submit: %+v, %v", out, err)
			}
			if out.IdempotencyKey != keys[len(keys)-1] {
				t.Errorf("Outcome says key %q, sent %q", out.IdempotencyKey, keys[len(keys)-1])
			}
		}
		if keys[0] == "" || keys[0] == keys[1] || keys[2] != "issue-7-greeting" {
			t.Errorf("keys %q: each intent needs its own, and mine is to be kept", keys)
		}
		if comment.IdempotencyKey != "" {
			t.Error("the caller's request was changed")
		}
	})
}

// A token that the server no longer takes is replaced once, not for ever.
func TestNewTokenOnce(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) { reply(w, 202, held("act_1", api.StatePending, false)) })
		if _, err := c.Token(t.Context()); err != nil {
			t.Fatal(err)
		}
		s.revoke()
		if _, err := c.Submit(t.Context(), comment); err != nil {
			t.Fatalf("after the token was revoked: %v", err)
		}
		if tokens, posts := s.count("POST /oauth/token"), s.count(submitRoute); tokens != 2 || posts != 2 {
			t.Errorf("%d tokens, %d submissions, want 2 and 2", tokens, posts)
		}
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) { problem(w, 401, "invalid_token") })
		_, err := c.Submit(t.Context(), comment)
		wantError(t, err, "invalid_token", 401)
		if tokens, posts := s.count("POST /oauth/token"), s.count(submitRoute); tokens != 3 || posts != 4 {
			t.Errorf("%d tokens, %d submissions, want 3 and 4", tokens, posts)
		}
	})
}

// When the server says that it did nothing, the same submission goes out again.
func TestSubmitWhenBusy(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		began, keys := time.Now(), map[string]bool{}
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) {
			var got api.ActionRequest
			json.NewDecoder(r.Body).Decode(&got)
			keys[got.IdempotencyKey] = true
			switch s.count(submitRoute) {
			case 1:
				w.Header().Set("Retry-After", "7")
				problem(w, 503, "audit_unavailable")
			case 2:
				problem(w, 429, "too_many_requests")
			default:
				reply(w, 202, held("act_1", api.StatePending, false))
			}
		})
		if _, err := c.Submit(t.Context(), comment); err != nil {
			t.Fatal(err)
		}
		if len(keys) != 1 || time.Since(began) < 7*time.Second {
			t.Errorf("keys %v after %v, want one key, and 7 s waited", keys, time.Since(began))
		}
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) { problem(w, 503, "audit_unavailable") })
		before := s.count(submitRoute)
		_, err := c.Submit(t.Context(), comment)
		wantError(t, err, "audit_unavailable", 503)
		if got := s.count(submitRoute) - before; got != 5 {
			t.Errorf("%d submissions, want 5 and then the error", got)
		}
	})
}

// losses are the ways in which an answer does not arrive.
var losses = map[string]http.HandlerFunc{
	"dropped": drop,
	"cut off": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", api.MediaJSON)
		w.Header().Set("Content-Length", "500")
		w.WriteHeader(200)
		w.Write([]byte(`{"action":`))
	},
	"cut off when held": func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", api.MediaJSON)
		w.Header().Set("Content-Length", "500")
		w.WriteHeader(202)
		w.Write([]byte(`{"id":`))
	},
	"gateway":  func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(504) },
	"proxy":    func(w http.ResponseWriter, r *http.Request) { w.WriteHeader(503) },
	"internal": func(w http.ResponseWriter, r *http.Request) { problem(w, 500, "internal") },
}

// A submission whose answer is lost is never sent twice, and says so.
func TestAnswerLost(t *testing.T) {
	for name, lose := range losses {
		run(t, func(t *testing.T, s *server, c *client.Client) {
			s.on(submitRoute, lose)
			s.on("GET /v1/actions", func(w http.ResponseWriter, r *http.Request) {
				// A server that does not know the filter lists others, too.
				reply(w, 200, api.Page[api.Action]{Items: []api.Action{held("act_9", api.StatePending, false)}})
			})
			mine := comment
			mine.IdempotencyKey = "mine"
			_, err := c.Submit(t.Context(), mine)
			e := wantError(t, err, client.ReasonAnswerLost, 0)
			if e.IdempotencyKey != "mine" || errors.Unwrap(e) == nil {
				t.Errorf("%s: %+v lacks key or cause", name, e)
			}
			if got := s.count(submitRoute); got != 1 {
				t.Errorf("%s: %d submissions, want 1", name, got)
			}
		})
	}
}

// If it is held, the client finds it and goes on as if nothing had been lost.
func TestAnswerLostAttaches(t *testing.T) {
	for name, lose := range losses {
		run(t, func(t *testing.T, s *server, c *client.Client) {
			s.on(submitRoute, lose)
			s.on("GET /v1/actions", func(w http.ResponseWriter, r *http.Request) {
				switch s.count("GET /v1/actions") {
				case 1: // still starting
					problem(w, 503, "starting")
				case 2: // still at work on the submission
					reply(w, 200, api.Page[api.Action]{Items: []api.Action{}})
				default:
					a := held("act_1", api.StatePending, false)
					a.IdempotencyKey = r.URL.Query().Get("idempotency_key")
					reply(w, 200, api.Page[api.Action]{Items: []api.Action{a}})
				}
			})
			out, err := c.Submit(t.Context(), comment)
			if err != nil || out.Held == nil || out.Held.ID != "act_1" {
				t.Fatalf("%s: %+v, %v, want act_1", name, out, err)
			}
			if got := s.count(submitRoute); got != 1 {
				t.Errorf("%s: %d submissions, want 1", name, got)
			}
		})
	}
}

// A server that cannot be reached has got nothing, so trying again is safe.
func TestSubmitUnreachable(t *testing.T) {
	c := newClient(t, "http://127.0.0.1:1", newKey(t, ""), &http.Transport{})
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	_, err := c.Submit(ctx, comment)
	wantError(t, err, client.ReasonUnreachable, 0)
}

func TestAwaitGoesOn(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		poll := "GET /v1/actions/act_1"
		s.on(poll, func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("wait"); got != "60" {
				t.Errorf("wait=%q, want 60", got)
			}
			switch s.count(poll) {
			case 1:
				time.Sleep(60 * time.Second)
				reply(w, 200, held("act_1", api.StatePending, false))
			case 2:
				time.Sleep(20 * time.Second)
				drop(w, r)
			case 3:
				w.WriteHeader(502)
			case 4:
				problem(w, 503, "stopping")
			case 5: // the server stops and sends its waiters away
				s.revoke()
				reply(w, 200, held("act_1", api.StateApproved, false))
			// The sixth is refused, for its token, before it gets here.
			case 7:
				w.Header().Set("Retry-After", "30")
				problem(w, 429, "too_many_requests")
			case 8: // an answer that never comes
				<-r.Context().Done()
			default:
				reply(w, 200, held("act_1", api.StateSucceeded, true))
			}
		})
		began := time.Now()
		a, err := c.Await(t.Context(), "act_1")
		if err != nil || a.State != api.StateSucceeded {
			t.Fatalf("Await: %+v, %v", a, err)
		}
		if d := time.Since(began); d < 200*time.Second || d > 220*time.Second {
			t.Errorf("took %v, want 60+20+30+90 s and some pauses", d)
		}
		if got := s.count(poll); got != 9 {
			t.Errorf("%d polls, want 9", got)
		}
	})
}

// A server that does not wait is not asked more than once a second.
func TestAwaitDoesNotSpin(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		poll := "GET /v1/actions/act_1"
		s.on(poll, func(w http.ResponseWriter, r *http.Request) { reply(w, 200, held("act_1", api.StatePending, false)) })
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		_, err := c.Await(ctx, "act_1")
		e := wantError(t, err, client.ReasonWaiting, 0)
		if e.Action != "act_1" || !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%+v lacks the action or the cause", e)
		}
		if got := s.count(poll); got > 61 {
			t.Errorf("%d polls in a minute", got)
		}
	})
}

func TestAwaitEnds(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		_, err := c.Await(t.Context(), "act_2")
		wantError(t, err, "not_found", 404)
		s.on("GET /v1/actions/act_3", func(w http.ResponseWriter, r *http.Request) { problem(w, 403, "agent_suspended") })
		_, err = c.Await(t.Context(), "act_3")
		wantError(t, err, "agent_suspended", 403)
	})
}

// An id becomes part of a path, so it must look like one.
func TestBadIDs(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		for _, id := range []string{"", "../admin/freezes", "act_1/response", "act_1?wait=0", "act 1", "act_é", "act_1%2f", "ACT_1"} {
			_, err := c.Await(t.Context(), id)
			wantError(t, err, client.ReasonBadRequest, 0)
			_, err = c.Cancel(t.Context(), id)
			wantError(t, err, client.ReasonBadRequest, 0)
			_, err = c.Response(t.Context(), id)
			wantError(t, err, client.ReasonBadRequest, 0)
		}
		if got := s.count("POST /oauth/token"); got != 0 {
			t.Errorf("%d requests were sent", got)
		}
	})
}

func TestCancel(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on("POST /v1/actions/act_1/cancel", func(w http.ResponseWriter, r *http.Request) {
			reply(w, 200, held("act_1", api.StateCancelled, true))
		})
		a, err := c.Cancel(t.Context(), "act_1")
		if err != nil || a.State != api.StateCancelled {
			t.Errorf("Cancel: %+v, %v", a, err)
		}
		s.on("POST /v1/actions/act_1/cancel", func(w http.ResponseWriter, r *http.Request) { problem(w, 409, "wrong_state") })
		_, err = c.Cancel(t.Context(), "act_1")
		wantError(t, err, "wrong_state", 409)
	})
}

// raw answers as the server does with ?stream=1 and for kept responses.
func raw(w http.ResponseWriter, status int, body string) {
	w.Header().Set(api.HeaderAction, "act_1")
	w.Header().Set(api.HeaderUpstreamStatus, fmt.Sprint(status))
	w.Header().Set("Content-Type", "text/plain")
	io.WriteString(w, body)
}

func TestDoInline(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "stream=1" {
				t.Errorf("query %q", r.URL.RawQuery)
			}
			raw(w, 404, "no such issue")
		})
		res, err := c.Do(t.Context(), comment)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, err := io.ReadAll(res.Body)
		if err != nil || string(body) != "no such issue" || res.Status != 404 || res.Action != "act_1" || res.Header.Get("Content-Type") != "text/plain" {
			t.Errorf("Do: %+v, %q, %v", res, body, err)
		}
		if got := res.Header.Get(api.HeaderAction); got != "" {
			t.Errorf("our own header is among the upstream's: %q", got)
		}
	})
}

func TestDoHeld(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) { reply(w, 202, held("act_1", api.StatePending, false)) })
		s.on("GET /v1/actions/act_1", func(w http.ResponseWriter, r *http.Request) {
			time.Sleep(30 * time.Second)
			a := held("act_1", api.StateSucceeded, true)
			a.Outcome = &api.Outcome{Status: 201, Response: true}
			reply(w, 200, a)
		})
		s.on("GET /v1/actions/act_1/response", func(w http.ResponseWriter, r *http.Request) { raw(w, 201, `{"id":1}`) })
		res, err := c.Do(t.Context(), comment)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if body, _ := io.ReadAll(res.Body); string(body) != `{"id":1}` || res.Status != 201 {
			t.Errorf("Do: status %d, %q", res.Status, body)
		}
	})
}

func TestDoEndsWithoutAnswer(t *testing.T) {
	for state, why := range map[api.ActionState]string{
		api.StateDenied: "not\x1b[2J this repository", api.StateExpired: "expired", api.StateRevoked: "grant_revoked",
		api.StateUnknown: "connection_lost", api.StateFailed: "connect_refused", api.StateCancelled: "",
	} {
		run(t, func(t *testing.T, s *server, c *client.Client) {
			s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) {
				a := held("act_1", state, true)
				a.Replayed, a.Outcome = true, &api.Outcome{Why: why}
				reply(w, 202, a)
			})
			_, err := c.Do(t.Context(), comment)
			e := wantError(t, err, string(state), 0)
			if e.Action != "act_1" || strings.Contains(e.Error(), "\x1b") || !strings.Contains(e.Error(), strings.TrimPrefix(why, "not\x1b[2J")) {
				t.Errorf("%s: %q", state, e)
			}
		})
	}
}

func TestDoIsInterrupted(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on(submitRoute, func(w http.ResponseWriter, r *http.Request) { reply(w, 202, held("act_1", api.StatePending, false)) })
		s.on("GET /v1/actions/act_1", func(w http.ResponseWriter, r *http.Request) {
			select {
			case <-time.After(time.Minute):
			case <-r.Context().Done():
			}
		})
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		_, err := c.Do(ctx, comment)
		if e := wantError(t, err, client.ReasonWaiting, 0); e.Action != "act_1" {
			t.Errorf("%+v does not say what to wait for", e)
		}
	})
}

// An answer that ends early must not look complete.
func TestResponseCutOff(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on("GET /v1/actions/act_1/response", func(w http.ResponseWriter, r *http.Request) {
			raw(w, 200, "half of it")
			http.NewResponseController(w).Flush()
			drop(w, r)
		})
		res, err := c.Response(t.Context(), "act_1")
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		if _, err := io.ReadAll(res.Body); err == nil {
			t.Error("half an answer was read without an error")
		}
	})
}

func TestResponseRefused(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on("GET /v1/actions/act_1/response", func(w http.ResponseWriter, r *http.Request) { problem(w, 404, "response_gone") })
		_, err := c.Response(t.Context(), "act_1")
		wantError(t, err, "response_gone", 404)
		s.on("GET /v1/actions/act_1/response", func(w http.ResponseWriter, r *http.Request) { w.Write([]byte("hello")) })
		_, err = c.Response(t.Context(), "act_1")
		wantError(t, err, client.ReasonBadAnswer, 200)
	})
}

func TestListsArePaged(t *testing.T) {
	run(t, func(t *testing.T, s *server, c *client.Client) {
		s.on("GET /v1/connections", func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("cursor") == "" {
				reply(w, 200, api.Page[api.Connection]{Items: []api.Connection{{ID: "con_1"}}, Next: "p2"})
				return
			}
			reply(w, 200, api.Page[api.Connection]{Items: []api.Connection{{ID: "con_2"}}})
		})
		got, err := c.Connections(t.Context())
		if err != nil || len(got) != 2 || got[1].ID != "con_2" {
			t.Errorf("Connections: %+v, %v", got, err)
		}
		s.on("GET /v1/operations", func(w http.ResponseWriter, r *http.Request) {
			if got := r.URL.Query().Get("connection"); got != "con_1" {
				t.Errorf("connection=%q", got)
			}
			reply(w, 200, api.Page[api.Operation]{Items: []api.Operation{{Name: "github.issues.list"}}, Next: "round"})
		})
		_, err = c.Operations(t.Context(), "con_1")
		wantError(t, err, client.ReasonBadAnswer, 0)
	})
}

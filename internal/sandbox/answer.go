package sandbox

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// answer is a response in the making. Handlers write into it while the mutex
// is held; it goes to the wire after.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
	login  string
	lost   bool // performed, but never to be sent
}

func newAnswer() *answer { return &answer{header: http.Header{}, status: http.StatusOK} }

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }

// echo replaces the answer with what a careless or hostile upstream might
// say: the credential that the request carried, in a header and in the body.
func (a *answer) echo(credential string) {
	a.header.Del("ETag")
	a.header.Set("Content-Type", "application/json; charset=utf-8")
	a.header.Set("X-Echo-Authorization", credential)
	a.status = http.StatusOK
	a.body.Reset()
	b, _ := json.Marshal(map[string]string{"authorization": credential}) // strings always marshal
	a.body.Write(b)
}

func (a *answer) send(w http.ResponseWriter) {
	for name, values := range a.header {
		w.Header()[name] = values
	}
	if a.status != http.StatusNoContent && a.status != http.StatusNotModified {
		w.Header().Set("Content-Length", strconv.Itoa(a.body.Len()))
	}
	w.WriteHeader(a.status)
	w.Write(a.body.Bytes()) // the client may be gone; the ledger knows what happened
}

// reply is what an API handler returns: a status, a value to be written as
// JSON (nil for an empty body), and headers.
type reply struct {
	status int
	value  any
	header http.Header
}

func ok(value any) reply      { return reply{status: http.StatusOK, value: value} }
func created(value any) reply { return reply{status: http.StatusCreated, value: value} }

var noContent = reply{status: http.StatusNoContent}

// problem is GitHub's error document.
type problem struct {
	Message string       `json:"message"`
	Errors  []fieldError `json:"errors,omitempty"`
	Doc     string       `json:"documentation_url"`
	Status  string       `json:"status"`
}

type fieldError struct {
	Resource string `json:"resource"`
	Code     string `json:"code"`
	Field    string `json:"field,omitempty"`
	Message  string `json:"message,omitempty"`
}

func failure(status int, message string) reply {
	return reply{status: status, value: problem{Message: message, Doc: docURL, Status: strconv.Itoa(status)}}
}

func notFound() reply { return failure(http.StatusNotFound, "Not Found") }

// invalid is GitHub's 422: the request was understood and cannot be done.
func invalid(errs ...fieldError) reply {
	return reply{status: http.StatusUnprocessableEntity, value: problem{"Validation Failed", errs, docURL, "422"}}
}

const docURL = "https://docs.github.com/rest"

// write renders the reply. With a request, a successful read carries an ETag
// and is cut to 304 when the client has it already (RFC 9110 §13.1.2).
func (p reply) write(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	for name, values := range p.header {
		h[name] = values
	}
	h.Set("X-Content-Type-Options", "nosniff")
	if p.value == nil {
		w.WriteHeader(p.status)
		return
	}
	var buf bytes.Buffer
	enc := json.NewEncoder(&buf)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(p.value); err != nil {
		panic(err) // our own shapes always marshal
	}
	h.Set("Content-Type", "application/json; charset=utf-8")
	if r != nil && p.status == http.StatusOK && (r.Method == http.MethodGet || r.Method == http.MethodHead) {
		sum := sha256.Sum256(buf.Bytes())
		tag := `"` + hex.EncodeToString(sum[:]) + `"`
		h.Set("ETag", "W/"+tag)
		h.Set("Cache-Control", "private, max-age=60, s-maxage=60")
		h.Set("Vary", "Accept, Authorization, Cookie")
		if hasTag(r.Header.Get("If-None-Match"), tag) {
			h.Del("Content-Type")
			w.WriteHeader(http.StatusNotModified)
			return
		}
	}
	w.WriteHeader(p.status)
	w.Write(buf.Bytes())
}

// hasTag compares weakly, as If-None-Match does: RFC 9110 §13.1.2.
func hasTag(list, tag string) bool {
	for one := range strings.SplitSeq(list, ",") {
		one = strings.TrimSpace(one)
		if one == "*" || strings.TrimPrefix(one, "W/") == tag {
			return true
		}
	}
	return false
}

// page cuts items to the page that the query asks for and says in a Link
// header (RFC 8288) where the others are.
func page[T any](v *visit, items []T) ([]T, http.Header) {
	q := v.r.URL.Query()
	size := clamp(q.Get("per_page"), 30, 100)
	number := clamp(q.Get("page"), 1, 1<<20)
	last := max(1, (len(items)+size-1)/size)
	link := func(n int, rel string) string {
		q.Set("page", strconv.Itoa(n))
		u := url.URL{Path: v.r.URL.Path, RawPath: v.r.URL.RawPath, RawQuery: q.Encode()}
		return "<" + v.base + u.String() + `>; rel="` + rel + `"`
	}
	var links []string
	if number > 1 {
		links = append(links, link(min(number-1, last), "prev"))
	}
	if number < last {
		links = append(links, link(number+1, "next"), link(last, "last"))
	}
	if number > 1 {
		links = append(links, link(1, "first"))
	}
	header := http.Header{}
	if len(links) > 0 {
		header.Set("Link", strings.Join(links, ", "))
	}
	from := min((number-1)*size, len(items))
	return items[from:min(from+size, len(items))], header
}

// clamp reads a positive number: the default if it is none, the limit if it
// is more.
func clamp(s string, def, limit int) int {
	n, err := strconv.Atoi(s)
	if err != nil || n < 1 {
		return def
	}
	return min(n, limit)
}

package provider

import (
	"bytes"
	"mime"
	"net/http"
	"slices"
	"strings"
)

// Request is a request as an agent gave it, or as Render made it. Nothing of
// it is trusted but Facts.
type Request struct {
	Method   string
	Base     string // one of the API bases; the first if empty
	Path     string // escaped, below the base
	RawQuery string // without "?"
	Header   http.Header
	Body     []byte

	// Facts are what the broker itself learned about the resource, never what an
	// agent says: "default_branch". A missing one counts as the worst.
	Facts map[string]string
}

// Place is an absolute URL, split at an API base.
type Place struct {
	Base     string
	Path     string
	RawQuery string
}

// Locate splits an absolute URL that an agent gave into API base, path and
// query. The URL must begin with a base byte for byte (":443" is allowed for
// https), followed by a slash, a question mark or nothing: user info, other hosts,
// other spellings of the host, fragments and everything else are refused. Nothing
// is parsed before the host is known to be ours, so no parser can be led astray.
func (s *Spec) Locate(rawURL string) (Place, error) {
	for _, base := range s.Endpoints.APIBases {
		for _, begin := range spellings(base) {
			rest, ok := strings.CutPrefix(rawURL, begin)
			if !ok || rest != "" && rest[0] != '/' && rest[0] != '?' {
				continue
			}
			path, query, _ := strings.Cut(rest, "?")
			if path == "" {
				path = "/"
			}
			if strings.Contains(rest, "#") {
				return Place{}, refuse(BadPath, "the URL holds a fragment")
			}
			return Place{Base: base, Path: path, RawQuery: query}, nil
		}
	}
	return Place{}, refuse(BadHost, "the URL is not below %s", strings.Join(s.Endpoints.APIBases, " or "))
}

// spellings are base itself and base with its default port written out.
func spellings(base string) []string {
	rest, ok := strings.CutPrefix(base, "https://")
	if !ok {
		return []string{base}
	}
	host, path, slash := strings.Cut(rest, "/")
	if strings.Contains(strings.TrimLeft(host, "["), ":") && !strings.HasSuffix(host, "]") {
		return []string{base}
	}
	with := "https://" + host + ":443"
	if slash {
		with += "/" + path
	}
	return []string{base, with}
}

// Headers that an agent may not send, by what is wrong with them. Which of the
// others are let out is for egress to say.
var (
	credentialHeaders = []string{
		"authorization", "proxy-authorization", "cookie", "cookie2", "x-api-key", "x-auth-token", "x-access-token",
		"private-token", "x-github-token", "dpop",
	}
	hopHeaders = []string{
		"connection", "keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade", "host", "content-length",
		"expect", "http2-settings",
	}
	routingHeaders = []string{"forwarded", "x-original-url", "x-rewrite-url", "x-real-ip", "content-encoding", "content-range"}
)

func checkHeaderName(name, credential string) error {
	n := strings.ToLower(name)
	switch {
	case !headerName.MatchString(name):
		return refuse(BadHeader, "a header has a name that is no token")
	case isOverride(n):
		return refuse(Override, "the header %s asks for another method", name)
	case slices.Contains(credentialHeaders, n) || credential != "" && strings.EqualFold(name, credential):
		return refuse(Smuggled, "the header %s carries a credential; the broker attaches the only one", name)
	case slices.Contains(hopHeaders, n):
		return refuse(BadHeader, "the header %s belongs to the connection, not to the request", name)
	case slices.Contains(routingHeaders, n) || strings.HasPrefix(n, "x-forwarded-") || strings.HasPrefix(n, "proxy-"):
		return refuse(BadHeader, "the header %s changes how the request is read or routed", name)
	}
	return nil
}

func checkHeaders(h http.Header, credential string) error {
	seen := map[string]bool{}
	for name, list := range h {
		if err := checkHeaderName(name, credential); err != nil {
			return err
		}
		n := strings.ToLower(name)
		if seen[n] || len(list) > 1 && n == "content-type" {
			return refuse(BadHeader, "the header %s is there twice", name)
		}
		seen[n] = true
		for _, v := range list {
			if strings.ContainsFunc(v, func(r rune) bool { return r < ' ' && r != '\t' || r == 0x7f }) {
				return refuse(BadHeader, "the header %s holds a control character", name)
			}
		}
	}
	return nil
}

// contentType is the media type of the request in lower case, or "".
func (r *Request) contentType() (string, map[string]string, error) {
	raw := ""
	for name, list := range r.Header {
		if strings.EqualFold(name, "Content-Type") && len(list) > 0 {
			raw = list[0]
		}
	}
	if raw == "" {
		return "", nil, nil
	}
	t, params, err := mime.ParseMediaType(raw)
	if err != nil {
		return "", nil, refuse(BadHeader, "the Content-Type cannot be read")
	}
	return t, params, nil
}

func isJSON(mediaType string) bool {
	return mediaType == "application/json" ||
		strings.HasPrefix(mediaType, "application/") && strings.HasSuffix(mediaType, "+json")
}

// jsonBody is the body where it must be a JSON object. Saying another type, or
// none, is refused: the provider may sniff and read it all the same.
func (r *Request) jsonBody() (map[string]any, error) {
	if len(r.Body) == 0 {
		return map[string]any{}, nil
	}
	t, params, err := r.contentType()
	if err != nil {
		return nil, err
	}
	if cs := params["charset"]; !isJSON(t) || cs != "" && !strings.EqualFold(cs, "utf-8") {
		return nil, refuse(BadBody, "the body must be sent as Content-Type: application/json")
	}
	v, err := parseJSON(r.Body, Limits{})
	if err != nil {
		return nil, err
	}
	m, ok := v.(map[string]any)
	if !ok {
		return nil, refuse(BadBody, "the body must be one JSON object")
	}
	for name := range m {
		if isOverride(name) {
			return nil, refuse(Override, "the member %q asks for another method", name)
		}
	}
	return m, nil
}

// checkRawBody looks at the body of a request that is not listed: it must not
// be a batch or ask for another method, and what says JSON must be JSON.
func (r *Request) checkRawBody() error {
	t, _, err := r.contentType()
	if err != nil {
		return err
	}
	switch {
	case t == "multipart/mixed" || t == "application/http":
		return refuse(Batch, "the body holds several requests")
	case len(r.Body) == 0:
		return nil
	case isJSON(t):
		v, err := parseJSON(r.Body, Limits{})
		if err != nil {
			return err
		}
		m, _ := v.(map[string]any)
		for name := range m {
			if isOverride(name) {
				return refuse(Override, "the member %q asks for another method", name)
			}
		}
	case t == "application/x-www-form-urlencoded":
		q, _, err := ParseQuery(string(r.Body))
		if err != nil {
			return err
		}
		for name := range q {
			if isOverride(name) {
				return refuse(Override, "the form field %q asks for another method", name)
			}
		}
	case bytes.Contains(bytes.ToLower(r.Body), []byte("_method")):
		return refuse(Override, "the body may ask for another method")
	}
	return nil
}

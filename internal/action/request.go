package action

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"net/url"
	"sort"
	"strings"

	"github.com/valetkey/valetkey/internal/id"
)

// Request is the HTTP request that will be sent, frozen. Path is in canonical
// escaped form and begins with a slash; Query is the raw query without its
// question mark. The credential is no part of it: egress attaches that.
type Request struct {
	Method string   `json:"method"`
	Scheme string   `json:"scheme"` // "https"; "http" only for a host the operator allowed; "valetkey" for vending
	Host   string   `json:"host"`   // lower case, without port
	Port   string   `json:"port"`   // never empty
	Path   string   `json:"path"`
	Query  string   `json:"query,omitempty"`
	Header []Header `json:"header,omitempty"` // sorted by name, then in the order given
	Body   []byte   `json:"body,omitempty"`
}

// Header is one header field that the agent gave. Name is in lower case.
type Header struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// SortHeaders puts fields into the one order in which they are hashed and
// sent.
func SortHeaders(h []Header) {
	for i := range h {
		h[i].Name = strings.ToLower(h[i].Name)
	}
	sort.SliceStable(h, func(i, j int) bool { return h[i].Name < h[j].Name })
}

// URL is the one builder of upstream URLs. It refuses a request whose parts
// could be read in two ways.
func (r *Request) URL() (*url.URL, error) {
	if r.Scheme == "" || r.Host == "" || r.Port == "" || !strings.HasPrefix(r.Path, "/") {
		return nil, errors.New("action: request lacks scheme, host, port or path")
	}
	path, err := url.PathUnescape(r.Path)
	if err != nil {
		return nil, fmt.Errorf("action: path %q: %w", r.Path, err)
	}
	host := r.Host
	if strings.Contains(host, ":") {
		host = "[" + host + "]"
	}
	if !(r.Scheme == "https" && r.Port == "443") && !(r.Scheme == "http" && r.Port == "80") {
		host += ":" + r.Port
	}
	u := &url.URL{Scheme: r.Scheme, Host: host, Path: path, RawPath: r.Path, RawQuery: r.Query}
	// url.URL falls back to its own encoding when RawPath does not fit Path,
	// and then other bytes than the approved ones would leave.
	if u.EscapedPath() != r.Path {
		return nil, fmt.Errorf("action: path %q has no stable escaped form", r.Path)
	}
	return u, nil
}

// Encode gives the stored form of a request: what is sealed at rest. Decode
// reverses it exactly.
func (r *Request) Encode() []byte {
	b, err := json.Marshal(r)
	if err != nil {
		panic("action: a request is plain data: " + err.Error())
	}
	return b
}

// ErrStored means that what is stored is not what [Request.Encode] writes.
var ErrStored = errors.New("action: the stored request is not in the form that was stored")

// DecodeRequest reads what [Request.Encode] wrote, and nothing else that JSON
// would take for the same: a stored request has one form.
func DecodeRequest(b []byte) (*Request, error) {
	r := new(Request)
	if err := json.Unmarshal(b, r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrStored, err)
	}
	if !bytes.Equal(r.Encode(), b) {
		return nil, ErrStored
	}
	return r, nil
}

// Digest is SHA-256 over the effect envelope.
type Digest [sha256.Size]byte

// String is the digest in lower-case hex.
func (d Digest) String() string { return hex.EncodeToString(d[:]) }

// ParseDigest reads the hex form.
func ParseDigest(s string) (Digest, error) {
	var d Digest
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) {
		return d, fmt.Errorf("action: %q is not a digest", s)
	}
	copy(d[:], b)
	return d, nil
}

// Party is who acts for whom, through which account. It is part of the effect:
// the same bytes sent as somebody else are another action.
type Party struct {
	Org        id.Org
	User       id.User // whose connection it is
	Agent      id.Agent
	Connection id.Connection
	Account    string // the provider's own id of the account, pinned at connect
}

const effectFormat = "valetkey/effect/v1"

// Effect is the digest of what r does when p sends it. amount is the canonical
// text of the amount that was extracted, or "".
func (r *Request) Effect(p Party, amount string) Digest {
	h := sha256.New()
	for _, s := range []string{
		effectFormat, string(p.Org), string(p.User), string(p.Agent), string(p.Connection), p.Account,
		r.Method, r.Scheme, r.Host, r.Port, r.Path, r.Query,
	} {
		writeField(h, s)
	}
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(r.Header)))
	h.Write(n[:])
	for _, f := range r.Header {
		writeField(h, f.Name)
		writeField(h, f.Value)
	}
	writeField(h, amount)
	body := sha256.Sum256(r.Body)
	h.Write(body[:])
	return Digest(h.Sum(nil))
}

// writeField prefixes each field with its length, so that no two lists of
// fields have the same encoding.
func writeField(h hash.Hash, s string) {
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(s)))
	h.Write(n[:])
	h.Write([]byte(s))
}

package main

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// ceilingSpec lists public keys by the encoded header of the tokens that they
// verify, so that the ceiling has nothing to decode to find one.
type ceilingSpec struct {
	Keys map[string]string // PEM
}

// playCeiling serves the least that a token endpoint must do: read a form,
// verify the signatures of the tokens in it with keys parsed beforehand, and
// answer JSON. It checks no claims, remembers nothing and writes nothing.
func playCeiling(requests *json.Decoder, replies *json.Encoder) error {
	var spec ceilingSpec
	if err := requests.Decode(&spec); err != nil {
		return err
	}
	keys := map[string]crypto.PublicKey{}
	for header, text := range spec.Keys {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return fmt.Errorf("the key of %s is not PEM", header)
		}
		key, err := x509.ParsePKIXPublicKey(block.Bytes)
		if err != nil {
			return err
		}
		keys[header] = key
	}
	answer := []byte(`{"access_token":"gho_0123456789012345678901234567890123456789","token_type":"Bearer","expires_in":300,"scope":"repo read:user"}`)
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := r.ParseForm(); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		for _, name := range []string{"client_assertion", "subject_token"} {
			if token := r.PostForm.Get(name); token != "" && !verified(token, keys) {
				http.Error(w, "bad signature", http.StatusUnauthorized)
				return
			}
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer)
	}), requests, replies)
}

func verified(token string, keys map[string]crypto.PublicKey) bool {
	dot := strings.LastIndexByte(token, '.')
	header, _, _ := strings.Cut(token, ".")
	if dot < 0 {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(token[dot+1:])
	if err != nil {
		return false
	}
	sum := sha256.Sum256([]byte(token[:dot]))
	switch key := keys[header].(type) {
	case *ecdsa.PublicKey:
		return len(sig) == 64 && ecdsa.Verify(key, sum[:], new(big.Int).SetBytes(sig[:32]), new(big.Int).SetBytes(sig[32:]))
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, crypto.SHA256, sum[:], sig) == nil
	}
	return false
}

// playUpstream serves a provider as small as it can be: whose token this is,
// and one KiB of JSON for everything else.
func playUpstream(requests *json.Decoder, replies *json.Encoder) error {
	var nothing struct{}
	if err := requests.Decode(&nothing); err != nil {
		return err
	}
	page := []byte(`[{"title":"` + strings.Repeat("x", 1<<10-len(`[{"title":""}]`)) + `"}]`)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /user", func(w http.ResponseWriter, r *http.Request) {
		_, n, _ := strings.Cut(r.Header.Get("Authorization"), upstreamToken)
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("X-OAuth-Scopes", "repo, read:user")
		fmt.Fprintf(w, `{"id":1%s,"login":"tenant-%s"}`, n, n)
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(page)))
		w.Write(page)
	})
	return serve(mux, requests, replies)
}

// upstreamToken begins the token of a tenant; its number follows.
const upstreamToken = "ghp_bench_account_"

type proxySpec struct {
	To string // base URL
}

// playProxy serves what a broker must do at the least: pass a request on and
// its answer back.
func playProxy(requests *json.Decoder, replies *json.Encoder) error {
	var spec proxySpec
	if err := requests.Decode(&spec); err != nil {
		return err
	}
	to, err := url.Parse(spec.To)
	if err != nil {
		return err
	}
	proxy := &httputil.ReverseProxy{
		Rewrite:    func(r *httputil.ProxyRequest) { r.SetURL(to) },
		Transport:  &http.Transport{MaxIdleConns: 512, MaxIdleConnsPerHost: 256, DisableCompression: true},
		BufferPool: &buffers{sync.Pool{New: func() any { return make([]byte, 32<<10) }}},
	}
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Without it the server drops the connection of a request whose body was
		// not read before the answer began.
		if err := http.NewResponseController(w).EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		proxy.ServeHTTP(w, r)
	}), requests, replies)
}

type buffers struct{ pool sync.Pool }

func (b *buffers) Get() []byte  { return b.pool.Get().([]byte) }
func (b *buffers) Put(p []byte) { b.pool.Put(p) } //nolint:staticcheck // SA6002: the header that this allocates is what a ReverseProxy's users pay, too

// serve answers on a port of its own until nobody asks for more.
func serve(h http.Handler, requests *json.Decoder, replies *json.Encoder) error {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	srv := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	if err := replies.Encode(place{l.Addr().String()}); err != nil {
		return err
	}
	var more any
	for requests.Decode(&more) == nil {
	}
	err = srv.Close()
	<-done
	return err
}

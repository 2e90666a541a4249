package oauth

import (
	"encoding/json"
	"log/slog"
	"net/http"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/jwt"
)

// metadata is the discovery document of RFC 8414 §2. It lists what exists and
// nothing else: a client that needs more fails here, where the cause shows.
func (s *Server) metadata() []byte {
	doc := struct {
		Issuer                     string    `json:"issuer"`
		TokenEndpoint              string    `json:"token_endpoint"`
		JWKSURI                    string    `json:"jwks_uri"`
		RevocationEndpoint         string    `json:"revocation_endpoint"`
		DeviceEndpoint             string    `json:"device_authorization_endpoint"`
		GrantTypes                 []string  `json:"grant_types_supported"`
		ResponseTypes              []string  `json:"response_types_supported"` // required, and empty: nothing is authorized by redirect
		TokenAuthMethods           []string  `json:"token_endpoint_auth_methods_supported"`
		TokenAuthAlgorithms        []jwt.Alg `json:"token_endpoint_auth_signing_alg_values_supported"`
		RevocationAuthMethods      []string  `json:"revocation_endpoint_auth_methods_supported"`
		RevocationAuthAlgorithms   []jwt.Alg `json:"revocation_endpoint_auth_signing_alg_values_supported"`
		SubjectTokenTypesSupported []string  `json:"subject_token_types_supported"`
	}{
		Issuer:                s.Issuer,
		TokenEndpoint:         s.Issuer + "oauth/token",
		JWKSURI:               s.Issuer + ".well-known/jwks.json",
		RevocationEndpoint:    s.Issuer + "oauth/revoke",
		DeviceEndpoint:        s.Issuer + "oauth/device/code",
		GrantTypes:            []string{api.GrantClientCredentials, api.GrantVaultExchange, grantTokenExchange, api.GrantDevice},
		ResponseTypes:         []string{},
		TokenAuthMethods:      []string{"private_key_jwt", "none"},
		TokenAuthAlgorithms:   algorithms(),
		RevocationAuthMethods: []string{"private_key_jwt", "none"},

		RevocationAuthAlgorithms:   algorithms(),
		SubjectTokenTypesSupported: []string{api.SubjectJWT},
	}
	body, err := json.Marshal(doc)
	if err != nil {
		panic("oauth: discovery document: " + err.Error()) // strings and lists of strings always marshal
	}
	return body
}

func algorithms() []jwt.Alg {
	return []jwt.Alg{jwt.RS256, jwt.RS384, jwt.PS256, jwt.ES256, jwt.EdDSA}
}

// document serves a public document that changes only with the program or its
// key; an hour is what clients may be behind a rotation.
func (s *Server) document(body []byte) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", api.MediaJSON)
		w.Header().Set("Cache-Control", "public, max-age=3600")
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if _, err := w.Write(body); err != nil {
			s.Log.DebugContext(r.Context(), "answer not delivered", slog.Any("error", err))
		}
	})
}

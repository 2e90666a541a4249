package httpapi

import (
	"context"
	_ "embed"
	"net/http"
	"strconv"

	"github.com/valetkey/valetkey/api"
)

// openAPI is the description of this API in OpenAPI 3.1. Tests hold it against
// the routes, against the types of package api and against real traffic.
//
//go:embed openapi.json
var openAPI []byte

// described is the document itself.
type described struct{}

func (described) answer(_ context.Context, c *call) error {
	h := c.w.Header()
	h.Set("Content-Type", api.MediaJSON)
	h.Set("Content-Length", strconv.Itoa(len(openAPI)))
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(openAPI) // whoever asked may have gone
	return nil
}

func (s *Server) document(context.Context, *call) (described, error) { return described{}, nil }

package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/valetkey/valetkey/internal/user"
)

// receipt is GET /v1/receipts/{id}, of an action or its approval.
func (s *Server) receipt(ctx context.Context, p user.Principal, c *call, _ none) (answerer, error) {
	r, err := s.Receipts.Issue(ctx, p, c.ref("id"), c.now)
	if err != nil {
		return nil, err
	}
	doc, err := r.Encode()
	if err != nil {
		return nil, err
	}
	return attachment{name: "receipt-" + string(r.Action.ID) + ".json", bytes: doc}, nil
}

// attachment is a result whose bytes matter: it is kept as it comes.
type attachment struct {
	name  string
	bytes []byte
}

func (a attachment) answer(_ context.Context, c *call) error {
	h := c.w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Disposition", fmt.Sprintf("attachment; filename=%q", a.name))
	c.w.WriteHeader(http.StatusOK)
	_, _ = c.w.Write(a.bytes) // whoever asked may have gone
	return nil
}

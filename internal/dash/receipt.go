package dash

import "context"

// receipt hands out the proof of a decided action, to be kept.
func (s *Server) receipt(ctx context.Context, c *call) (reply, error) {
	r, err := s.Receipts.Issue(ctx, c.who, c.http.PathValue("id"), c.now)
	if err != nil {
		return reply{}, err
	}
	doc, err := r.Encode()
	return reply{data: doc, file: "receipt-" + string(r.Action.ID) + ".json"}, err
}

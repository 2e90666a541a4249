package policy

import (
	"time"

	"github.com/valetkey/valetkey/internal/id"
)

// Document is a stored policy text: of the org when Owner is empty, else of
// one user, for that user's connections only.
type Document struct {
	Org       id.Org
	ID        id.Policy
	Name      string
	Owner     id.User
	Text      string
	UpdatedBy string // actor
	UpdatedAt time.Time
	Version   int64
}

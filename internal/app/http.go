package app

import (
	"net/http"
)

// Handler is everything that is served to the network.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	return mux
}

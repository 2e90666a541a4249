package app

import (
	"net/http"
	"net/netip"

	"github.com/valetkey/valetkey/internal/oauth"
)

// Handler is everything that is served to the network.
func (a *App) Handler() http.Handler {
	mux := http.NewServeMux()
	a.oauth().Routes(mux)
	return mux
}

func (a *App) oauth() *oauth.Server {
	return &oauth.Server{
		Issuer: a.Config.PublicURL, Agents: a.Agents, Broker: a.Broker, Refusals: a.Refusals, Users: a.Users, Signer: a.Signer,
		ClientIP: a.clientIP, Log: a.Log,
	}
}

func (a *App) clientIP(r *http.Request) netip.Addr {
	return a.ClientAddr(r.RemoteAddr, r.Header.Values("X-Forwarded-For"))
}

package oauth

import (
	"context"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/internal/fault"
	"github.com/valetkey/valetkey/internal/user"
	"github.com/valetkey/valetkey/secret"
)

// ClientCLI is the one public client: our own command line.
const ClientCLI = "valetkey-cli"

var errDeviceClient = fault.New(fault.Unauthenticated, "unknown_client", "The device flow is for the client "+ClientCLI+"; agents authenticate with their key.")

// beginDevice starts a login at a terminal (RFC 8628 §3.1). device_name is what
// the terminal calls itself; the person sees it beside the address.
func (s *Server) beginDevice(ctx context.Context, c *call) (reply, error) {
	if c.get("client_id") != ClientCLI {
		return nil, errDeviceClient
	}
	code, d, err := s.Users.BeginDevice(ctx, user.Peer{From: c.from, Label: c.get("device_name")}, c.now)
	if err != nil {
		return nil, err
	}
	return device{code: code, userCode: d.UserCode, page: s.Issuer + "device", expires: d.ExpiresAt.Sub(c.now)}, nil
}

// pollDevice asks whether the person has answered (RFC 8628 §3.4).
func (s *Server) pollDevice(ctx context.Context, c *call) (reply, error) {
	c.surface = surfaceDevice
	if c.get("client_id") != ClientCLI {
		return nil, errDeviceClient
	}
	code := secret.New(c.get("device_code"))
	if code.IsZero() {
		return nil, missing("device_code")
	}
	login, err := s.Users.PollDevice(ctx, code, c.now)
	if err != nil {
		return nil, err
	}
	return issued{token: login.Bearer, expires: login.Session.ExpiresAt.Sub(c.now)}, nil
}

// device is a login that has begun.
type device struct {
	code     secret.Text
	userCode string
	page     string
	expires  time.Duration
}

func (d device) wire() any {
	return api.DeviceResponse{
		DeviceCode: d.code.Reveal(), UserCode: d.userCode,
		VerificationURI: d.page, VerificationURIComplete: d.page + "?code=" + d.userCode,
		ExpiresIn: int64(d.expires / time.Second), Interval: int64(user.DeviceInterval / time.Second),
	}
}

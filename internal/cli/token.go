package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/valetkey/valetkey/api"
	"github.com/valetkey/valetkey/client"
)

type tokenCommand struct {
	asAgent
	Connection string   `short:"c" required:"" placeholder:"NAME" help:"Name or id of the connection."`
	User       string   `placeholder:"USER" help:"Id of the user whose account it is; found by the connection if left out."`
	Scope      []string `sep:"," placeholder:"SCOPE" help:"Narrower than what the connection has. May be repeated."`
	LoginHint  string   `placeholder:"ID" help:"The provider's id of the account, where the user has several."`
	Why        string   `default:"valetkey token" placeholder:"TEXT" help:"What it is for; goes into the audit log."`
	Reveal     bool     `help:"Print the token even though a terminal would show it."`
}

func (c *tokenCommand) Run(r *run) error {
	if r.tty && !c.Reveal {
		return usage("Pipe it to where it is needed, or say --reveal.", "A token does not belong on a screen, whose scrollback keeps it.")
	}
	return c.explain(r, c.exchange(r))
}

func (c *tokenCommand) exchange(r *run) error {
	cl, err := c.client(r)
	if err != nil {
		return err
	}
	who := c.User
	if who == "" {
		if who, err = ownerOf(r.ctx, cl, c.Connection); err != nil {
			return err
		}
	}
	tok, err := cl.Exchange(r.ctx, client.ExchangeRequest{User: who, Connection: c.Connection, Scopes: c.Scope, LoginHint: c.LoginHint, AuditContext: c.Why})
	if err != nil {
		return err
	}
	r.note("%s", r.dim(fmt.Sprintf("Good until %s. Revoking the grant stops the next one, not this one.", when(tok.ExpiresAt))))
	return r.printToken(tok)
}

// printToken writes a token to standard output, which was asked for.
func (r *run) printToken(tok client.Token) error {
	if r.json {
		return r.print(api.TokenResponse{
			AccessToken: tok.Access.Reveal(), TokenType: tok.Type, ExpiresIn: int64(time.Until(tok.ExpiresAt) / time.Second),
			Scope: strings.Join(tok.Scopes, " "), IssuedTokenType: tok.IssuedType,
		})
	}
	_, err := fmt.Fprintln(r.out, tok.Access.Reveal())
	return err
}

// ownerOf finds whose account a connection is, among those the agent may use.
func ownerOf(ctx context.Context, cl *client.Client, connection string) (string, error) {
	all, err := cl.Connections(ctx)
	if err != nil {
		return "", err
	}
	found := ""
	for _, k := range all {
		if k.ID != connection && k.Name != connection && k.Provider != connection {
			continue
		}
		if found != "" && found != k.User {
			return "", usage("Pass --user.", "Several people have such a connection.")
		}
		found = k.User
	}
	if found == "" {
		return "", &failure{Code: exitNotFound, Reason: "connection_not_found", Text: fmt.Sprintf("This agent has no grant for a connection %s.", cell(connection, 60)), Next: "'valetkey call --list' shows what it has."}
	}
	return found, nil
}

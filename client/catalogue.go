package client

import (
	"context"
	"net/url"

	"github.com/valetkey/valetkey/api"
)

// Connections lists the accounts that this agent has a grant for.
func (c *Client) Connections(ctx context.Context) ([]api.Connection, error) {
	return list[api.Connection](ctx, c, "v1/connections", nil)
}

// Operations lists what can be done through a connection, given by id or name;
// "" lists the operations of all connections that this agent has a grant for.
func (c *Client) Operations(ctx context.Context, connection string) ([]api.Operation, error) {
	var query url.Values
	if connection != "" {
		query = url.Values{"connection": {connection}}
	}
	return list[api.Operation](ctx, c, "v1/operations", query)
}

package broker

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/nats-io/nats.go"
)

// ConnectOptions say which broker and as whom.
type ConnectOptions struct {
	URLs      []string  // external broker
	InProcess *Embedded // or the one in this process
	Creds     string    // file
	TLSCert   string    // file
	TLSKey    string    // file
	TLSCA     string    // file
	Name      string    // of the connections, for the broker's monitoring
	Logger    *slog.Logger
}

// Client holds the connections of a gateway.
type Client struct{}

// Connect opens the connections and waits for them until ctx ends.
func Connect(ctx context.Context, o ConnectOptions) (*Client, error) {
	return nil, errors.ErrUnsupported
}

// Control is the connection for presence, settings and requests.
func (c *Client) Control() *nats.Conn { return nil }

// Reads are the connections for reading history.
func (c *Client) Reads() []*nats.Conn { return nil }

// Connected tells whether all connections are up, and since when that is so or not so.
func (c *Client) Connected() (bool, time.Time) { return false, time.Time{} }

// OnReconnect calls f, on a goroutine of the client, after a connection was lost and all are back.
func (c *Client) OnReconnect(f func()) {}

// Close drains the connections and waits for them.
func (c *Client) Close() {}

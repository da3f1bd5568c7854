package client

import (
	"context"
	"log/slog"
	"net/http"
	"time"
)

// Options of a Client. The zero value is an anonymous client with the documented defaults.
type Options struct {
	// Token gives the authentication token; it is asked before each connection, so that a reconnection uses a
	// fresh one. nil or "" = anonymous. When the server says that the token of the live connection ran out,
	// the client reconnects with a new one.
	Token func(ctx context.Context) (string, error)
	// HTTPClient dials; nil = one of the client's own. It must not have a Timeout.
	HTTPClient *http.Client
	// Header is sent with each upgrade.
	Header http.Header
	// Logger is told about connections; nil = nobody.
	Logger *slog.Logger

	// QueueEvents and QueueBytes bound what waits for the application on each channel. Default 1024, 16 MiB.
	QueueEvents int
	QueueBytes  int
	// Pending bounds the messages of all channels that wait for their acknowledgement; more wait in Send.
	// Default 256.
	Pending int
	// AckTimeout ends a Send whose context has no deadline. Default 15 s: longer than the server's own.
	AckTimeout time.Duration
	// MaxFrame is the largest frame accepted from the server. Default 64 MiB: a full history.
	MaxFrame int64

	// HandshakeTimeout bounds one attempt to connect. Default 10 s.
	HandshakeTimeout time.Duration
	// PingInterval and PingTimeout find dead connections. Default 25 s and 20 s.
	PingInterval time.Duration
	PingTimeout  time.Duration
	// BackoffMin and BackoffMax bound the pause before a reconnection. Default 500 ms and 30 s. It doubles
	// with each failed attempt, and a random part of up to one half is taken off.
	BackoffMin time.Duration
	BackoffMax time.Duration
	// JoinTimeout is how long an answer to a join is waited for before the join is sent again. Default 15 s.
	JoinTimeout time.Duration
}

func (o Options) withDefaults() Options {
	def(&o.QueueEvents, 1024)
	def(&o.QueueBytes, 16<<20)
	def(&o.Pending, 256)
	def(&o.AckTimeout, 15*time.Second)
	def(&o.MaxFrame, 64<<20)
	def(&o.HandshakeTimeout, 10*time.Second)
	def(&o.PingInterval, 25*time.Second)
	def(&o.PingTimeout, 20*time.Second)
	def(&o.BackoffMin, 500*time.Millisecond)
	def(&o.BackoffMax, 30*time.Second)
	def(&o.JoinTimeout, 15*time.Second)
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	return o
}

func def[T int | int64 | time.Duration](field *T, value T) {
	if *field <= 0 {
		*field = value
	}
}

// ChannelOptions say what a channel is joined with.
type ChannelOptions struct {
	// History asks for the latest history at each join; it comes as a *History event.
	History bool
	// Presence asks for the members and their changes.
	Presence bool
	// From resumes behind a position that the application kept from an earlier Channel.Position.
	From *Position
}

// SendOptions say who may receive a message. The zero value is everybody on the channel.
type SendOptions struct {
	// Authenticated members only.
	Authenticated bool
	// To is the one socket that gets the message.
	To string
}

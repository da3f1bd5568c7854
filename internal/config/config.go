package config

import (
	"encoding/base64"
	"strings"
	"time"
)

// Config is what an operator can set. The zero value is not usable; Default and Load give whole ones.
type Config struct {
	Listen         string
	OpsListen      string // empty = no operations listener
	OpsPprof       bool
	DataDir        string
	NATS           NATS
	AdminToken     Secret   // unset = settings API and console sign-in off
	APIKeys        []APIKey // empty = server API off
	Auth           Auth
	TLS            TLS
	AllowedOrigins []string // "*" or origins such as https://app.example
	TrustedProxies []string // addresses and networks
	Drain          time.Duration
	IOURing        string // "auto" or "off"
	Limits         Limits
	Triggers       Triggers
	Lifecycle      Lifecycle
	Tracing        Tracing
	URL            string // used by the tools
	Broker         Broker
	SettingsFile   string // empty = settings live in the broker
	Demo           bool
	Log            Log

	// Warnings are what Load noticed and let pass, one line each.
	Warnings []string
}

// NATS says which broker a gateway uses.
type NATS struct {
	URLs     []Address // empty = embedded
	User     string
	Password Secret // unset = none, or those in URLs
	Creds    string
	TLS      NATSTLS
	Replicas int // Load replaces 0 by 1 (embedded) or 3 (external)
}

// Embedded tells whether the gateway brings its own broker.
func (n NATS) Embedded() bool { return len(n.URLs) == 0 }

// NATSTLS is the TLS of the connection to an external broker.
type NATSTLS struct {
	CA   string
	Cert string
	Key  string
}

// Scope is what a bearer key of the server API may do.
type Scope string

// The scopes of the server API.
const (
	ScopeAll     Scope = ""
	ScopePublish Scope = "publish"
	ScopeRead    Scope = "read"
	ScopeAdmin   Scope = "admin" // the settings API too
)

// Covers tells whether a key of this scope may do what another one is for.
func (s Scope) Covers(want Scope) bool {
	return s == want || s == ScopeAdmin || s == ScopeAll && want != ScopeAdmin
}

// APIKey is one bearer key of the server API.
type APIKey struct {
	Key    Secret
	Scope  Scope
	Server int64 // the only realtime server it is for; 0 = all
}

// Auth says how tokens of clients are checked and read.
type Auth struct {
	JWTSecret Secret
	JWKSURL   string
	JWEKey    Secret
	Issuer    string // empty = any
	Audience  string // empty = any
	Claims    Claims
}

// JWEKeyBytes is the decoded auth.jwe_key, 32 bytes, or nil when it is not set.
func (a Auth) JWEKeyBytes() []byte {
	if !a.JWEKey.IsSet() {
		return nil
	}
	key, err := decodeKey(a.JWEKey.Reveal())
	if err != nil {
		return nil // Load refuses such a key, so only a Config made by hand gets here
	}
	return key
}

// decodeKey reads base64url or base64, with padding or without.
func decodeKey(text string) ([]byte, error) {
	text = strings.TrimRight(strings.TrimSpace(text), "=")
	text = strings.NewReplacer("+", "-", "/", "_").Replace(text)
	return base64.RawURLEncoding.DecodeString(text) //nolint:wrapcheck // the caller words the problem and must not quote the text
}

// Claims names the claims of a token that carry the identity.
type Claims struct {
	DboID  string
	RowID  string
	Extras string
}

// TLS is the certificate of the public listener.
type TLS struct {
	Cert string
	Key  string
}

// Enabled tells whether the public listener speaks TLS.
func (t TLS) Enabled() bool { return t.Cert != "" }

// Limits bounds what clients can make a gateway do.
type Limits struct {
	MessageBytes      int
	ChannelBytes      int
	ChannelSegments   int
	ChannelsPerSocket int
	JSONDepth         int
	FramesPerSecond   int // 0 = off
	FramesBurst       int
	BacklogBytes      int
	WriteTimeout      time.Duration
	FlushInterval     time.Duration
	HandshakeTimeout  time.Duration
	PingInterval      time.Duration
	PongTimeout       time.Duration
	HistoryFrames     int
	Sockets           int // 0 = off
	SocketsPerAddress int // 0 = off
	UpgradesPerSecond int // 0 = off
}

// Triggers says where webhooks may go.
type Triggers struct {
	AllowPrivate bool
}

// Tracing says where spans of sampled publications go.
type Tracing struct {
	Endpoint string  // empty = off
	Ratio    float64 // from 0 to 1
}

// Lifecycle is about the events that back ends read.
type Lifecycle struct {
	Retention time.Duration // 0 = off
}

// Broker is the embedded broker's or `fanfare broker`'s NATS server.
type Broker struct {
	Sync          Sync
	Name          string
	Listen        string
	ClusterListen string
	Routes        []Address
	ClusterName   string
	// Passwords of gateways and peers, several at once for rotation; none = anybody.
	Passwords        []Secret
	ClusterPasswords []Secret
	TLS              BrokerTLS
	StoreLimit       int // bytes
}

// BrokerTLS is the TLS of `fanfare broker`, towards gateways and peers.
type BrokerTLS struct {
	Cert   string
	Key    string
	CA     string
	Verify bool // gateways must show a certificate too
}

// Sync is the interval at which stored messages are synced to disk; 0 is before each acknowledgement.
type Sync time.Duration

// Always tells whether a message is on disk before it is acknowledged.
func (s Sync) Always() bool { return s == 0 }

// Interval is the time between two syncs, 0 when Always.
func (s Sync) Interval() time.Duration { return time.Duration(s) }

// String is the value as the file has it.
func (s Sync) String() string {
	if s.Always() {
		return syncAlways
	}
	return formatDuration(time.Duration(s))
}

const syncAlways = "always"

// Log says what is logged and how.
type Log struct {
	Level  string // debug, info, warn or error
	Format string // text or json
}

// Default is the configuration when nothing is set.
func Default() Config {
	return Config{
		Listen:         ":8000",
		OpsListen:      "127.0.0.1:8001",
		DataDir:        "./fanfare-data",
		Auth:           Auth{Claims: Claims{DboID: "dbo_id", RowID: "row_id", Extras: "extras"}},
		AllowedOrigins: []string{"*"},
		Drain:          30 * time.Second,
		IOURing:        "auto",
		Limits: Limits{
			MessageBytes:      64 << 10,
			ChannelBytes:      200,
			ChannelSegments:   16,
			ChannelsPerSocket: 128,
			JSONDepth:         128,
			FramesPerSecond:   100,
			FramesBurst:       200,
			BacklogBytes:      512 << 10,
			WriteTimeout:      5 * time.Second,
			FlushInterval:     5 * time.Millisecond,
			HandshakeTimeout:  5 * time.Second,
			PingInterval:      25 * time.Second,
			PongTimeout:       60 * time.Second,
			HistoryFrames:     1000,
			UpgradesPerSecond: 2000,
		},
		URL:    "http://127.0.0.1:8000",
		NATS:   NATS{User: "fanfare"},
		Broker: Broker{Listen: ":4222", ClusterName: "fanfare", StoreLimit: 64 << 30},
		Log:    Log{Level: "info", Format: "text"},

		Tracing: Tracing{Ratio: 0.01},
	}
}

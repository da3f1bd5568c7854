package config

import (
	"strings"
	"time"

	"fanfare/internal/forwarded"
)

// key is one thing an operator can set.
type key struct {
	path  string
	value value
	doc   string
	// flag tells that `serve` and `dev` have it as a command-line flag too.
	flag bool
	// unset is how the reference words an empty default.
	unset string
}

// env is the environment variable of a key.
func (k key) env() string { return envPrefix + strings.ToUpper(strings.ReplaceAll(k.path, ".", "_")) }

// flagName is the command-line flag of a key.
func flagName(path string) string { return strings.NewReplacer(".", "-", "_", "-").Replace(path) }

const envPrefix = "FANFARE_"

// These bounds keep a slip of the pen from becoming a node that cannot work; they are no recommendations.
const (
	kib, mib  = 1 << 10, 1 << 20
	maxNumber = 1_000_000_000
	maxWait   = 24 * time.Hour
	off       = "off"
)

// keys lists every key in the order of the reference, bound to the fields of c.
func keys(c *Config) []key {
	l := &c.Limits
	return []key{
		{path: "listen", value: textValue{&c.Listen, "address", checkListen}, flag: true, doc: "sockets, HTTP API, console"},
		{path: "ops_listen", value: textValue{&c.OpsListen, "address", checkListen}, flag: true, doc: "`/metrics`, `/healthz`, `/readyz` and, when switched on, `/debug/pprof`; empty = no such listener"},
		{path: "ops_pprof", value: boolValue{&c.OpsPprof}, doc: "serve `/debug/pprof` and `/debug/freeosmemory` on `ops_listen`"},
		{path: "data_dir", value: textValue{&c.DataDir, "directory", nil}, flag: true, doc: "store of the embedded broker"},
		{path: "settings_file", value: textValue{&c.SettingsFile, "file", checkFile}, flag: true, unset: "settings live in the broker", doc: "realtime servers and channel rules as a file, re-read when it changes; makes the settings API read-only"},
		{path: "admin_token", value: secretValue{&c.AdminToken, checkBearer}, unset: "settings API and console sign-in off", doc: "bearer token for settings and console"},
		{path: "api_keys", value: keysValue{&c.APIKeys}, unset: "server API off", doc: "bearer keys for back ends, several at once for rotation; `key:publish` and `key:read` are limited to that, `key:admin` may change settings too, `key:all` is as without; `@N` behind the scope (`key:read@2`) limits a key to realtime server N"},
		{path: "trusted_proxies", value: listValue{&c.TrustedProxies, "addresses or networks", forwarded.Check}, unset: "nobody", doc: "load balancers whose `X-Forwarded-For` names the client, for limits per address; for example `10.0.0.0/8`"},
		{path: "allowed_origins", value: listValue{&c.AllowedOrigins, "origins", checkOrigin}, flag: true, doc: "web origins that may open sockets; `*` = any (sockets carry no cookies)"},
		{path: "drain", value: durationValue{p: &c.Drain, min: 0, max: time.Hour}, flag: true, doc: "window over which a stopping gateway sends its clients away"},
		{path: "demo", value: boolValue{&c.Demo}, doc: "serve the support-chat demo at `/demo/`, for the realtime server with the connection hash `demo`; another one goes behind `?hash=` (`dev` has it)"},
		{path: "url", value: textValue{&c.URL, "URL", checkURL("http", "https")}, doc: "where the server is; used by the tools only"},

		{path: "tls.cert", value: textValue{&c.TLS.Cert, "file", checkFile}, flag: true, unset: "plain HTTP", doc: "certificate chain of `listen` (PEM); reloaded when the file changes"},
		{path: "tls.key", value: textValue{&c.TLS.Key, "file", checkFile}, flag: true, doc: "its private key (PEM)"},

		{path: "auth.jwt_secret", value: secretValue{&c.Auth.JWTSecret, nil}, unset: "such tokens are refused", doc: "verifies tokens signed with HS256, HS384 or HS512"},
		{path: "auth.jwks_url", value: textValue{&c.Auth.JWKSURL, "URL", checkURL("https", "http")}, unset: "such tokens are refused", doc: "key set that verifies RS, PS, ES and EdDSA tokens"},
		{path: "auth.jwe_key", value: secretValue{&c.Auth.JWEKey, checkJWEKey}, unset: "such tokens are refused", doc: "decrypts tokens (`dir` and `A256KW`): 32 bytes in base64url or base64"},
		{path: "auth.issuer", value: textValue{&c.Auth.Issuer, "text", nil}, unset: "any", doc: "what the claim `iss` of a token must be"},
		{path: "auth.audience", value: textValue{&c.Auth.Audience, "text", nil}, unset: "any", doc: "what must be among the claim `aud` of a token; needed when a key set serves other applications too"},
		{path: "auth.claims.dbo_id", value: textValue{&c.Auth.Claims.DboID, "claim", checkClaim}, doc: "claim that carries the table of users"},
		{path: "auth.claims.row_id", value: textValue{&c.Auth.Claims.RowID, "claim", checkClaim}, doc: "claim that carries the user, for example `sub`"},
		{path: "auth.claims.extras", value: textValue{&c.Auth.Claims.Extras, "claim", checkClaim}, doc: "claim that carries what others may see of the user"},

		{path: "nats.urls", value: addressesValue{&c.NATS.URLs, checkURL("nats", "tls", "ws", "wss")}, flag: true, unset: "embedded broker", doc: "external NATS cluster"},
		{path: "nats.user", value: textValue{&c.NATS.User, "name", nil}, doc: "name to sign in with, where `nats.password` is set"},
		{path: "nats.password", value: secretValue{&c.NATS.Password, checkNotEmpty}, unset: "none, or that in `nats.urls`", doc: "password for it: one of the brokers' `broker.passwords`"},
		{path: "nats.creds", value: textValue{&c.NATS.Creds, "file", checkFile}, doc: "credentials file for it"},
		{path: "nats.tls.ca", value: textValue{&c.NATS.TLS.CA, "file", checkFile}, unset: "the system's", doc: "certificates that sign its certificate (PEM)"},
		{path: "nats.tls.cert", value: textValue{&c.NATS.TLS.Cert, "file", checkFile}, doc: "client certificate (PEM)"},
		{path: "nats.tls.key", value: textValue{&c.NATS.TLS.Key, "file", checkFile}, doc: "its private key (PEM)"},
		{path: "nats.replicas", value: intValue{&c.NATS.Replicas, 1, 5, "1 embedded, 3 external"}, doc: "JetStream replicas"},

		{path: "broker.sync", value: syncValue{&c.Broker.Sync}, doc: "when the embedded broker and `fanfare broker` sync stored messages to disk: before each acknowledgement, or at an interval that a power failure may cost"},
		{path: "broker.name", value: textValue{&c.Broker.Name, "name", checkBrokerName}, unset: "the host's name", doc: "`fanfare broker`: name of the NATS server"},
		{path: "broker.listen", value: textValue{&c.Broker.Listen, "address", checkListen}, doc: "`fanfare broker`: address for gateways"},
		{path: "broker.cluster_listen", value: textValue{&c.Broker.ClusterListen, "address", checkListen}, unset: "no cluster", doc: "`fanfare broker`: address for its peers"},
		{path: "broker.routes", value: addressesValue{&c.Broker.Routes, checkURL("nats", "nats-route", "tls")}, doc: "`fanfare broker`: its peers"},
		{path: "broker.cluster_name", value: textValue{&c.Broker.ClusterName, "name", checkBrokerName}, doc: "`fanfare broker`: name of the cluster"},
		{path: "broker.passwords", value: secretsValue{&c.Broker.Passwords}, unset: "anybody may connect", doc: "`fanfare broker`: what gateways sign in with (`nats.password`), several at once for rotation"},
		{path: "broker.cluster_passwords", value: secretsValue{&c.Broker.ClusterPasswords}, unset: "any peer may connect", doc: "`fanfare broker`: what its peers sign in with, several at once for rotation; the first is what it shows itself"},
		{path: "broker.tls.cert", value: textValue{&c.Broker.TLS.Cert, "file", checkFile}, unset: "plain text", doc: "`fanfare broker`: certificate for gateways and peers (PEM); read again at each handshake"},
		{path: "broker.tls.key", value: textValue{&c.Broker.TLS.Key, "file", checkFile}, doc: "its private key (PEM)"},
		{path: "broker.tls.ca", value: textValue{&c.Broker.TLS.CA, "file", checkFile}, doc: "certificates that sign those of the peers, which show theirs to each other (PEM)"},
		{path: "broker.tls.verify", value: boolValue{&c.Broker.TLS.Verify}, doc: "gateways must show a certificate as well (`nats.tls.cert`)"},
		{path: "broker.store_limit", value: sizeValue{&c.Broker.StoreLimit, mib, 1 << 50}, doc: "`fanfare broker`: the most it stores; leave a tenth of the disk free"},

		{path: "io_uring", value: textValue{&c.IOURing, "auto or off", oneOf("auto", "off")}, doc: "`auto`: channels are written to with io_uring where the kernel allows it, one system call for many sockets; `off`: one for each"},

		{path: "limits.message_bytes", value: sizeValue{&l.MessageBytes, 64, 8 * mib}, doc: "one frame of a client; at the limit an error frame, beyond 16 times that the socket is closed"},
		{path: "limits.channel_bytes", value: intValue{&l.ChannelBytes, 1, 1024, ""}, doc: "length of a channel's name; at the limit an error frame"},
		{path: "limits.channel_segments", value: intValue{&l.ChannelSegments, 1, 128, ""}, doc: "parts of a channel's name between `/`; at the limit an error frame"},
		{path: "limits.channels_per_socket", value: intValue{&l.ChannelsPerSocket, 1, 100_000, ""}, doc: "channels one socket may have joined; at the limit an error frame"},
		{path: "limits.json_depth", value: intValue{&l.JSONDepth, 4, 10_000, ""}, doc: "nesting of a whole frame; at the limit an error frame"},
		{path: "limits.frames_per_second", value: intValue{&l.FramesPerSecond, 1, maxNumber, off}, doc: "frames of one socket; at the limit an error frame with `retry_after`, closed with 1013 when it goes on for 10 s"},
		{path: "limits.frames_burst", value: intValue{&l.FramesBurst, 1, maxNumber, ""}, doc: "frames of one socket that may come at once"},
		{path: "limits.backlog_bytes", value: sizeValue{&l.BacklogBytes, 1 * kib, 1024 * mib}, doc: "bytes kept for one socket that reads slowly; at the limit closed with 1013"},
		{path: "limits.write_timeout", value: durationValue{p: &l.WriteTimeout, min: 10 * time.Millisecond, max: maxWait}, doc: "how long a socket may take none of its backlog; then closed with 1013"},
		{path: "limits.flush_interval", value: durationValue{p: &l.FlushInterval, min: 0, max: time.Second}, doc: "least time between two flushes of a hot channel"},
		{path: "limits.handshake_timeout", value: durationValue{p: &l.HandshakeTimeout, min: 10 * time.Millisecond, max: maxWait}, doc: "time for the request that opens a socket; then the connection is dropped"},
		{path: "limits.ping_interval", value: durationValue{p: &l.PingInterval, min: 10 * time.Millisecond, max: maxWait}, doc: "how often a quiet socket is pinged"},
		{path: "limits.pong_timeout", value: durationValue{p: &l.PongTimeout, min: 10 * time.Millisecond, max: maxWait}, doc: "how long a socket may say nothing; then the connection is dropped"},
		{path: "limits.history_frames", value: intValue{&l.HistoryFrames, 1, 1000, ""}, doc: "frames in one answer of history; beyond it the answer says `more`"},
		{path: "limits.sockets", value: intValue{&l.Sockets, 1, maxNumber, off}, doc: "sockets of this gateway; at the limit 503 with `Retry-After`"},
		{path: "limits.sockets_per_address", value: intValue{&l.SocketsPerAddress, 1, maxNumber, off}, doc: "sockets from one address; at the limit 429 with `Retry-After`"},
		{path: "limits.upgrades_per_second", value: intValue{&l.UpgradesPerSecond, 1, maxNumber, off}, doc: "new sockets of this gateway; at the limit 503 with `Retry-After`"},

		{path: "triggers.allow_private", value: boolValue{&c.Triggers.AllowPrivate}, doc: "webhooks may go to loopback, link-local and private addresses (`dev` sets it)"},
		{path: "lifecycle.retention", value: durationValue{p: &c.Lifecycle.Retention, min: time.Minute, max: 365 * 24 * time.Hour, zero: off}, doc: "how long lifecycle events for back ends are kept"},

		{path: "tracing.endpoint", value: textValue{&c.Tracing.Endpoint, "URL", checkURL("http", "https")}, unset: "no traces", doc: "OpenTelemetry collector that takes OTLP over HTTP, such as `http://collector:4318`; spans of sampled publications go there, from publish to socket"},
		{path: "tracing.sample_ratio", value: ratioValue{&c.Tracing.Ratio}, doc: "part of the publications that is sampled; the same on all gateways"},

		{path: "log.level", value: textValue{&c.Log.Level, "debug, info, warn or error", oneOf("debug", "info", "warn", "error")}, flag: true, doc: "least level that is logged"},
		{path: "log.format", value: textValue{&c.Log.Format, "text or json", oneOf("text", "json")}, flag: true, doc: "form of log lines"},
	}
}

// Flag is a key that is a command-line flag too.
type Flag struct {
	Path string // of the key, the name in Source.Flags
	Name string // of the flag, without dashes
	Doc  string
}

// Flags lists the keys that are command-line flags too. Secrets are not among them: other users of a machine
// see command lines.
func Flags() []Flag {
	c := Default()
	var out []Flag
	for _, k := range keys(&c) {
		if k.flag {
			out = append(out, Flag{Path: k.path, Name: flagName(k.path), Doc: strings.ReplaceAll(k.doc, "`", "")})
		}
	}
	return out
}

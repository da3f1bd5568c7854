package config

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"
)

// write puts content into fanfare.yaml of a new working directory, so that problems name it as users would.
func write(t *testing.T, content string) string {
	t.Helper()
	t.Chdir(t.TempDir())
	if err := os.WriteFile("fanfare.yaml", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return "fanfare.yaml"
}

func certificate(t *testing.T, cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: der}, key: {Type: "PRIVATE KEY", Bytes: keyDER}} {
		if err := os.WriteFile(name, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestDefaults(t *testing.T) {
	c, err := Load(Source{})
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.NATS.Replicas = 1
	if !reflect.DeepEqual(c, want) {
		t.Errorf("got %+v\nwant %+v", c, want)
	}
	// The contract's own table, so that a default does not change by accident.
	table := map[string]string{
		"listen": ":8000", "ops_listen": "127.0.0.1:8001", "data_dir": "./fanfare-data", "drain": "30s", "io_uring": "auto",
		"allowed_origins": "*", "trusted_proxies": "", "triggers.allow_private": "false", "lifecycle.retention": "0", "tracing.endpoint": "", "tracing.sample_ratio": "0.01",
		"url": "http://127.0.0.1:8000", "broker.sync": "always", "ops_pprof": "false", "demo": "false",
		"auth.claims.dbo_id": "dbo_id", "auth.claims.row_id": "row_id", "auth.claims.extras": "extras",
		"limits.message_bytes": "64KiB", "limits.channel_bytes": "200", "limits.channel_segments": "16",
		"limits.channels_per_socket": "128", "limits.json_depth": "128", "limits.frames_per_second": "100",
		"limits.frames_burst": "200", "limits.backlog_bytes": "512KiB", "limits.write_timeout": "5s",
		"limits.flush_interval": "5ms", "limits.handshake_timeout": "5s", "limits.ping_interval": "25s",
		"limits.pong_timeout": "1m", "limits.history_frames": "1000", "limits.sockets": "0",
		"limits.sockets_per_address": "0", "limits.upgrades_per_second": "2000",
		"nats.urls": "", "nats.creds": "", "nats.tls.ca": "", "nats.tls.cert": "", "nats.tls.key": "", "nats.replicas": "1",
		"admin_token": "", "api_keys": "", "auth.jwt_secret": "", "auth.jwks_url": "", "auth.jwe_key": "", "auth.issuer": "", "auth.audience": "",
		"tls.cert": "", "tls.key": "", "settings_file": "", "broker.name": "", "broker.listen": ":4222",
		"broker.cluster_listen": "", "broker.routes": "", "broker.cluster_name": "fanfare",
		"broker.passwords": "", "broker.cluster_passwords": "", "broker.tls.cert": "", "broker.tls.key": "", "broker.tls.ca": "",
		"broker.tls.verify": "false", "broker.store_limit": "64GiB", "nats.user": "fanfare", "nats.password": "", "log.level": "info", "log.format": "text",
	}
	for _, k := range keys(&c) {
		text, listed := table[k.path]
		if !listed || k.value.text() != text {
			t.Errorf("%s: default %q, want %q", k.path, k.value.text(), text)
		}
		delete(table, k.path)
	}
	if len(table) > 0 {
		t.Errorf("missing keys: %v", table)
	}
}

func TestPrecedence(t *testing.T) {
	file := write(t, "listen: ':1'\ndrain: 1s\nlimits:\n  message_bytes: 2KiB\n  sockets: 7\n")
	src := Source{File: file, Env: []string{"FANFARE_LISTEN=:2", "FANFARE_DRAIN=2s", "PATH=/bin"}, Flags: map[string]string{"listen": ":3"}}
	c, err := Load(src)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen != ":3" || c.Drain != 2*time.Second || c.Limits.MessageBytes != 2048 || c.Limits.Sockets != 7 || c.Limits.JSONDepth != 128 {
		t.Errorf("%+v", c)
	}
	src.Env = append(src.Env, "FANFARE_DRAIN=", "FANFARE_LIMITS_SOCKETS=")
	src.Flags = nil
	if c, err = Load(src); err != nil || c.Listen != ":2" || c.Limits.Sockets != 7 {
		t.Errorf("an empty variable must not count: %+v %v", c, err)
	}
	if c, err = Load(Source{Env: []string{EnvFile + "=" + file}}); err != nil || c.Listen != ":1" {
		t.Errorf("%s is not read: %v", EnvFile, err)
	}
	base := Default()
	base.Listen = "127.0.0.1:8000"
	if c, err = Load(Source{Base: &base}); err != nil || c.Listen != base.Listen {
		t.Errorf("base is not used: %v", err)
	}
}

func TestEveryKeyFromFileAndEnvironment(t *testing.T) {
	t.Chdir(t.TempDir())
	certificate(t, "c.pem", "k.pem")
	texts := map[string]string{
		"listen": "127.0.0.1:9000", "ops_listen": ":9001", "ops_pprof": "true", "demo": "true", "data_dir": "data", "drain": "1m30s", "io_uring": "off",
		"settings_file": "c.pem", "admin_token": "s3cret-admin", "api_keys": "s3cret-a, s3cret-b:read,s3cret-c:publish@2,s3cret-d:admin,s3cret:e:all",
		"trusted_proxies": "10.0.0.0/8,192.0.2.7", "allowed_origins": "https://a.example,https://b.example:8443", "url": "https://rt.example",
		"tls.cert": "c.pem", "tls.key": "k.pem", "auth.jwt_secret": "s3cret-jwt", "auth.jwks_url": "https://keys.example/jwks",
		"auth.jwe_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "auth.issuer": "https://id.example", "auth.audience": "chat",
		"auth.claims.dbo_id": "table", "auth.claims.row_id": "sub",
		"auth.claims.extras": "more", "nats.urls": "nats://u:s3cret-n@a:4222,tls://b:4222", "nats.creds": "c.pem",
		"nats.tls.ca": "c.pem", "nats.tls.cert": "c.pem", "nats.tls.key": "k.pem", "nats.replicas": "5",
		"broker.sync": "2s", "broker.name": "b-0", "broker.listen": ":4223", "broker.cluster_listen": ":6222",
		"broker.routes": "nats://u:s3cret-r@b-1:6222", "broker.cluster_name": "east",
		"broker.passwords": "s3cret-p,s3cret-q", "broker.cluster_passwords": "s3cret-o", "broker.tls.cert": "c.pem", "broker.tls.key": "k.pem",
		"broker.tls.ca": "c.pem", "broker.tls.verify": "true", "broker.store_limit": "9GiB", "nats.user": "gateway", "nats.password": "s3cret-w",
		"limits.message_bytes": "131072", "limits.channel_bytes": "100", "limits.channel_segments": "8",
		"limits.channels_per_socket": "64", "limits.json_depth": "64", "limits.frames_per_second": "0", "limits.frames_burst": "7",
		"limits.backlog_bytes": "1MiB", "limits.write_timeout": "4s", "limits.flush_interval": "0", "limits.handshake_timeout": "3s",
		"limits.ping_interval": "10s", "limits.pong_timeout": "30s", "limits.history_frames": "500", "limits.sockets": "10",
		"limits.sockets_per_address": "5", "limits.upgrades_per_second": "0", "triggers.allow_private": "yes",
		"lifecycle.retention": "24h", "tracing.endpoint": "http://collector:4318", "tracing.sample_ratio": "0.5", "log.level": "debug", "log.format": "json",
	}
	fromEnv := Default()
	var env []string
	yaml := ""
	for _, k := range keys(&fromEnv) {
		text, ok := texts[k.path]
		if !ok {
			t.Fatalf("%s is not tried", k.path)
		}
		env = append(env, k.env()+"="+text)
	}
	tree := map[string]any{}
	for path, text := range texts {
		at := tree
		parts := strings.Split(path, ".")
		for _, p := range parts[:len(parts)-1] {
			if at[p] == nil {
				at[p] = map[string]any{}
			}
			at = at[p].(map[string]any) //nolint:forcetypeassert // built above
		}
		at[parts[len(parts)-1]] = text
	}
	b, err := json.Marshal(tree) // JSON is YAML
	if err != nil {
		t.Fatal(err)
	}
	yaml = string(b)
	if err := os.WriteFile("all.yaml", []byte(yaml), 0o600); err != nil {
		t.Fatal(err)
	}
	fromEnv, err = Load(Source{Env: env})
	if err != nil {
		t.Fatal(err)
	}
	fromFile, err := Load(Source{File: "all.yaml"})
	if err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(fromEnv, fromFile) {
		t.Errorf("environment %+v\nfile %+v", fromEnv, fromFile)
	}
	plain := Default()
	defaults := keys(&plain)
	for i, k := range keys(&fromFile) {
		if k.value.text() == defaults[i].value.text() {
			t.Errorf("%s was not set", k.path)
		}
	}
	if key := fromFile.Auth.JWEKeyBytes(); len(key) != 32 || key[31] != 31 {
		t.Errorf("jwe key %v", key)
	}
	if got := Reveal(fromFile.NATS.URLs); got[0] != "nats://u:s3cret-n@a:4222" || len(got) != 2 {
		t.Errorf("urls %v", got)
	}
	if k := fromFile.APIKeys; len(k) != 5 || k[1].Key.Reveal() != "s3cret-b" || k[1].Scope != ScopeRead ||
		k[2].Scope != ScopePublish || k[2].Server != 2 || k[3].Scope != ScopeAdmin || k[4].Scope != ScopeAll || k[4].Key.Reveal() != "s3cret:e" {
		t.Errorf("keys %d", len(k))
	}
	if got := RevealAll(fromFile.Broker.Passwords); len(got) != 2 || got[1] != "s3cret-q" {
		t.Errorf("passwords %d", len(got))
	}
	if fromFile.Broker.Sync.Always() || fromFile.Broker.Sync.Interval() != 2*time.Second {
		t.Errorf("sync %v", fromFile.Broker.Sync)
	}
	noSecrets(t, fromFile)
}

// noSecrets prints c in every way somebody might.
func noSecrets(t *testing.T, c Config) {
	t.Helper()
	var log bytes.Buffer
	slog.New(slog.NewJSONHandler(&log, nil)).Info("x", "config", c, "token", c.AdminToken, "url", c.NATS.URLs[0])
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "config", c, "token", c.AdminToken, "url", c.NATS.URLs[0])
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	prints := []string{log.String(), string(b), c.LogString()}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
		prints = append(prints, fmt.Sprintf(verb, c), fmt.Sprintf(verb, c.AdminToken), fmt.Sprintf(verb, &c.AdminToken), fmt.Sprintf(verb, c.NATS.URLs))
	}
	for _, s := range prints {
		if strings.Contains(s, "s3cret") || strings.Contains(s, "733363726574") || strings.Contains(s, "AAECAw") {
			t.Errorf("a secret is printed: %s", s)
		}
	}
	if !strings.Contains(c.LogString(), "admin_token=[set]") || !strings.Contains(c.LogString(), "limits.sockets=10") {
		t.Errorf("LogString: %s", c.LogString())
	}
}

func TestProblems(t *testing.T) {
	tests := map[string]struct {
		file  string
		env   []string
		flags map[string]string
		want  string
	}{
		"unknown key":       {file: "listen: ':1'\nlimits:\n  message_byts: 3\n", want: "fanfare.yaml:3: limits.message_byts: unknown key (did you mean limits.message_bytes?)"},
		"unknown section":   {file: "limit:\n  sockets: 3\n", want: "fanfare.yaml:1: limit: unknown key (did you mean limits?)"},
		"far off":           {file: "frobnicate: 1\n", want: "fanfare.yaml:1: frobnicate: unknown key"},
		"wrong section":     {file: "jwt_secret: abc\n", want: "fanfare.yaml:1: jwt_secret: unknown key (did you mean auth.jwt_secret?)"},
		"dotted":            {file: "limits.sockets: 3\n", want: `fanfare.yaml:1: limits.sockets: must be nested: "limits:" and below it "sockets:"`},
		"twice":             {file: "drain: 1s\nlisten: ':1'\ndrain: 2s\n", want: "fanfare.yaml:3: drain: set twice, first in line 1"},
		"scalar as section": {file: "limits: 5\n", want: "fanfare.yaml:1: limits: a single value where keys and values are expected"},
		"list as scalar":    {file: "drain: [1s]\n", want: "fanfare.yaml:1: drain: a list where duration, 0s to 1h is expected"},
		"map as scalar":     {file: "drain:\n  window: 1s\n", want: "fanfare.yaml:2: drain: keys and values where duration, 0s to 1h is expected"},
		"map in list":       {file: "api_keys:\n- a\n- b: c\n", want: "fanfare.yaml:3: api_keys: keys and values in a list of single values"},
		"list at the top":   {file: "- a\n", want: "fanfare.yaml:1: a list where keys and values are expected"},
		"syntax":            {file: "listen: ':1'\n  drain: 3s\n", want: "fanfare.yaml:1: did not find expected key"},
		"tab":               {file: "limits:\n\tsockets: 3\n", want: "fanfare.yaml:2: found character that cannot start any token"},
		"two documents":     {file: "drain: 1s\n---\ndrain: 2s\n", want: "fanfare.yaml:2: a second document; one file holds one configuration"},
		"odd key":           {file: "? [a]\n: 1\n", want: "fanfare.yaml:1: a list where a key is expected"},
		"no colon":          {file: "drain\n", want: "fanfare.yaml:1: a single value where keys and values are expected"},

		"duration":     {file: "drain: soon\n", want: `fanfare.yaml:1: drain: "soon" is not a duration such as 30s or 5ms`},
		"bare number":  {file: "drain: 30\n", want: `fanfare.yaml:1: drain: "30" is not a duration such as 30s or 5ms`},
		"too long":     {file: "drain: 2h\n", want: "fanfare.yaml:1: drain: 2h is outside 0s to 1h"},
		"negative":     {file: "drain: -1s\n", want: "fanfare.yaml:1: drain: -1s is outside 0s to 1h"},
		"size":         {file: "limits: {message_bytes: 3 apples}\n", want: `fanfare.yaml:1: limits.message_bytes: "3 apples" is not a size such as 65536 or 512KiB`},
		"size overrun": {file: "limits: {message_bytes: 99999999999999GiB}\n", want: `fanfare.yaml:1: limits.message_bytes: "99999999999999GiB" is not a size such as 65536 or 512KiB`},
		"size range":   {file: "limits: {message_bytes: 9MiB}\n", want: "fanfare.yaml:1: limits.message_bytes: 9MiB is outside 64 to 8MiB"},
		"number":       {file: "limits: {sockets: many}\n", want: `fanfare.yaml:1: limits.sockets: "many" is not a whole number`},
		"below":        {file: "limits: {sockets: -1}\n", want: "fanfare.yaml:1: limits.sockets: -1 is outside 1 to 1000000000"},
		"zero":         {file: "limits: {channel_bytes: 0}\n", want: "fanfare.yaml:1: limits.channel_bytes: 0 is outside 1 to 1024"},
		"ratio":        {file: "tracing: {sample_ratio: 2}\n", want: `fanfare.yaml:1: tracing.sample_ratio: "2" is not a number from 0 to 1`},
		"no ratio":     {file: "tracing: {sample_ratio: NaN}\n", want: `fanfare.yaml:1: tracing.sample_ratio: "NaN" is not a number from 0 to 1`},
		"bool":         {file: "ops_pprof: maybe\n", want: `fanfare.yaml:1: ops_pprof: "maybe" is neither true nor false`},
		"level":        {file: "log: {level: loud}\n", want: `fanfare.yaml:1: log.level: "loud" is none of debug, info, warn, error`},
		"address":      {file: "listen: 8000\n", want: `fanfare.yaml:1: listen: "8000" is not an address such as :8000 or 127.0.0.1:8000`},
		"port":         {file: "listen: ':http'\n", want: `fanfare.yaml:1: listen: ":http" has no port from 0 to 65535`},
		"no listen":    {file: "listen: ''\n", want: "fanfare.yaml:1: listen: must not be empty"},
		"no data_dir":  {file: "data_dir: ''\n", want: "fanfare.yaml:1: data_dir: must not be empty: the embedded broker keeps its store there"},
		"proxy":        {file: "trusted_proxies: [lb.example]\n", want: `fanfare.yaml:1: trusted_proxies: "lb.example" is neither an address nor a network such as 10.0.0.0/8`},
		"origin":       {file: "allowed_origins: [app.example]\n", want: `fanfare.yaml:1: allowed_origins: "app.example" is neither * nor an origin such as https://app.example`},
		"url":          {file: "auth: {jwks_url: keys.example}\n", want: "fanfare.yaml:1: auth.jwks_url: not a URL that begins with https:// or http://"},
		"nats url":     {file: "nats: {urls: ['u:s3cret@a']}\n", want: "fanfare.yaml:1: nats.urls: not a URL that begins with nats:// or tls:// or ws:// or wss://"},
		"sync":         {file: "broker: {sync: sometimes}\n", want: `fanfare.yaml:1: broker.sync: "sometimes" is neither "always" nor a duration such as 1s`},
		"sync range":   {file: "broker: {sync: 2m}\n", want: "fanfare.yaml:1: broker.sync: 2m is outside 10ms to 1m"},
		"name":         {file: "broker: {name: 'a b'}\n", want: `fanfare.yaml:1: broker.name: "a b" is not a name of letters, digits, dots, dashes and underscores`},
		"claim":        {file: "auth: {claims: {row_id: 'a b'}}\n", want: `fanfare.yaml:1: auth.claims.row_id: "a b" is not the name of a claim`},
		"broker tls":   {file: "broker: {tls: {verify: true}}\n", want: "fanfare.yaml:1: broker.tls.verify: needs broker.tls.cert and broker.tls.key as well"},
		"password":     {file: "nats: {password: x}\n", want: "fanfare.yaml:1: nats.password: is for an external broker: set nats.urls as well"},
		"store limit":  {file: "broker: {store_limit: 1KiB}\n", want: "fanfare.yaml:1: broker.store_limit: 1KiB is outside 1MiB to 1048576GiB"},
		"routes":       {file: "broker: {routes: ['nats://a:6222']}\n", want: "fanfare.yaml:1: broker.routes: needs broker.cluster_listen as well"},
		"replicas":     {file: "nats: {replicas: 3}\n", want: "fanfare.yaml:1: nats.replicas: 3, but the embedded broker is one node: set nats.urls or leave it out"},

		"secret stays out":    {file: "auth: {jwe_key: s3cret}\n", want: "fanfare.yaml:1: auth.jwe_key: 4 bytes after decoding, 32 are needed"},
		"not base64":          {file: "auth: {jwe_key: 's3cret!'}\n", want: "fanfare.yaml:1: auth.jwe_key: neither base64url nor base64"},
		"token not printable": {file: "admin_token: 's3cret token'\n", want: "fanfare.yaml:1: admin_token: has a character that cannot stand in an HTTP header"},
		"scope":               {file: "api_keys: [a, 's3cret:root']\n", want: "fanfare.yaml:1: api_keys: key 2 has an unknown scope (all, publish, read or admin may follow the colon)"},
		"no scope":            {file: "api_keys: ['s3cret:']\n", want: "fanfare.yaml:1: api_keys: key 1 has nothing behind its colon (all, publish, read or admin may follow)"},
		"key's server":        {file: "api_keys: ['s3cret:read@0']\n", want: "fanfare.yaml:1: api_keys: key 1 has no number from 1 behind its @ (the realtime server it is for)"},
		"empty key":           {file: "api_keys: [':read']\n", want: "fanfare.yaml:1: api_keys: key 1 is empty"},

		"missing file": {file: "settings_file: nowhere.yaml\n", want: "fanfare.yaml:1: settings_file: nowhere.yaml: no such file or directory"},
		"directory":    {file: "settings_file: .\n", want: "fanfare.yaml:1: settings_file: .: is a directory"},
		"cert alone":   {file: "tls:\n  cert: fanfare.yaml\n", want: "fanfare.yaml:2: tls.cert: needs tls.key as well"},
		"key alone":    {env: []string{"FANFARE_TLS_KEY=fanfare.yaml"}, want: "FANFARE_TLS_KEY: tls.key: needs tls.cert as well"},
		"no pair":      {file: "tls: {cert: fanfare.yaml, key: fanfare.yaml}\n", want: "fanfare.yaml:1: tls.cert: failed to find any PEM data in certificate input"},

		"pong before ping":   {file: "limits:\n  ping_interval: 70s\n", want: "fanfare.yaml:2: limits.ping_interval: limits.pong_timeout (1m) must be longer than limits.ping_interval (1m10s)"},
		"pong below default": {file: "limits:\n  pong_timeout: 20s\n", want: "fanfare.yaml:2: limits.pong_timeout: limits.pong_timeout (20s) must be longer than limits.ping_interval (25s)"},

		"environment":         {env: []string{"FANFARE_DRAIN=soon"}, want: `FANFARE_DRAIN: drain: "soon" is not a duration such as 30s or 5ms`},
		"environment typo":    {env: []string{"FANFARE_LISTN=:1"}, want: "FANFARE_LISTN: unknown variable (did you mean FANFARE_LISTEN?)"},
		"environment section": {env: []string{"FANFARE_LIMITS_FROBNICATION=1"}, want: "FANFARE_LIMITS_FROBNICATION: unknown variable"},
		"flag":                {flags: map[string]string{"ops_listen": "x"}, want: `--ops-listen: ops_listen: "x" is not an address such as :8000 or 127.0.0.1:8000`},
		"unknown flag":        {flags: map[string]string{"nope": "x"}, want: "--nope: nope: unknown key"},

		"several": {
			file: "drain: x\nfoo_bar_baz: 1\n", env: []string{"FANFARE_LOG_LEVEL=x"},
			want: "fanfare.yaml:2: foo_bar_baz: unknown key\nfanfare.yaml:1: drain: \"x\" is not a duration such as 30s or 5ms\nFANFARE_LOG_LEVEL: log.level: \"x\" is none of debug, info, warn, error",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := Load(Source{File: write(t, test.file), Env: test.env, Flags: test.flags})
			if err == nil || err.Error() != test.want {
				t.Fatalf("got  %v\nwant %s", err, test.want)
			}
			if _, ok := errors.AsType[Problems](err); !ok {
				t.Errorf("%T", err)
			}
			if strings.Contains(err.Error(), "s3cret") {
				t.Error("a secret is printed")
			}
		})
	}
}

func TestFileProblems(t *testing.T) {
	t.Chdir(t.TempDir())
	if err := os.WriteFile("big.yaml", bytes.Repeat([]byte("# filler\n"), maxFile/8), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]string{
		"nowhere.yaml": "nowhere.yaml: no such file or directory",
		".":            ".: is a directory",
		"big.yaml":     "big.yaml: larger than 1MiB",
	} {
		if _, err := Load(Source{File: file}); err == nil || err.Error() != want {
			t.Errorf("got %v, want %s", err, want)
		}
	}
	if _, err := Load(Source{Env: []string{EnvFile + "=" + filepath.Join("a", "b.yaml")}}); err == nil || err.Error() != "a/b.yaml: no such file or directory" {
		t.Error(err)
	}
}

func TestAccepted(t *testing.T) {
	for name, file := range map[string]string{
		"empty":       "",
		"comment":     "# nothing\n",
		"null values": "listen:\nlimits:\nauth:\n  claims: ~\n",
		"anchors":     "drain: &d 7s\nlimits:\n  write_timeout: *d\n",
		"text lists":  "api_keys: a,b\nallowed_origins: 'https://a.example'\n",
		"unit case":   "limits: {message_bytes: 64 kib, backlog_bytes: 1MB}\n",
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := Load(Source{File: write(t, file)}); err != nil {
				t.Error(err)
			}
		})
	}
	c, err := Load(Source{File: write(t, "admin_token: 0123\nauth: {jwt_secret: 1e3}\n")})
	if err != nil || c.AdminToken.Reveal() != "0123" || c.Auth.JWTSecret.Reveal() != "1e3" {
		t.Errorf("a secret must arrive as written: %q %v", c.AdminToken.Reveal(), err)
	}
	if c, err = Load(Source{Env: []string{"FANFARE_NATS_URLS=nats://a:4222"}}); err != nil || c.NATS.Replicas != 3 || c.NATS.Embedded() {
		t.Errorf("replicas %d %v", c.NATS.Replicas, err)
	}
}

func TestForeignVariables(t *testing.T) {
	c, err := Load(Source{Env: []string{
		"FANFARE_BIN=/x", "FANFARE_SERVICE_HOST=10.0.0.1", "FANFARE_SERVICE_PORT=8000", "FANFARE_SERVICE_PORT_HTTP=8000",
		"FANFARE_PORT=tcp://10.0.0.1:8000", "FANFARE_PORT_8000_TCP=x", "FANFARE_PORT_8000_TCP_ADDR=x",
		"FANFARE_BROKER_SERVICE_HOST=10.0.0.2", "FANFARE_BROKER_PORT_4222_TCP_PROTO=tcp", "FANFARE_BROKER_SERVICE_PORT_NATS=4222",
	}})
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Warnings) != 1 || c.Warnings[0] != "FANFARE_BIN: not a variable of fanfare, ignored" {
		t.Errorf("warnings %q", c.Warnings)
	}
}

func TestSecretOfAddress(t *testing.T) {
	for text, want := range map[string]string{
		"nats://a:4222":         "nats://a:4222",
		"nats://u:p@a:4222":     "nats://u:xxxxx@a:4222",
		"nats://token@a:4222":   "nats://xxxxx@a:4222",
		"nats://bad url%zz\x7f": redacted,
	} {
		if got := NewAddress(text).String(); got != want {
			t.Errorf("%q prints as %q", text, got)
		}
	}
}

func FuzzFile(f *testing.F) {
	for _, s := range []string{"", "listen: ':1'\n", "limits: {sockets: 3}\n", "api_keys: [a, b]\n", "a: &a [*a]\n", "? {a: b}\n: c\n", "limits.sockets: 1\n", "---\n---\n"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, content string) {
		c := Default()
		known := keys(&c)
		r := newFileReader("fuzz.yaml", known)
		r.read([]byte(content))
		_, problems := apply(known, []layer{r.out})
		for _, p := range append(r.problems, problems...) {
			if p.Text == "" || !strings.HasPrefix(p.Place, "fuzz.yaml") {
				t.Errorf("a problem without text or place: %+v", p)
			}
		}
		for path := range r.out.texts {
			if r.out.places[path] == "" {
				t.Errorf("%s has no place", path)
			}
		}
		for _, k := range known {
			_ = k.value.text()
		}
	})
}

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
)

func (p *program) devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run everything on this machine, with a demo server, nothing to configure",
		Long: `Runs a gateway and its broker on loopback, with files under ./fanfare-data and a realtime server to try things
on: connection hash demo, channels room1 and chat/*. Makes up an admin token and an API key unless they are set.`,
		Args: cobra.NoArgs,
		RunE: p.action(func(cmd *cobra.Command, _ []string) error {
			base := devDefaults()
			cfg, err := p.load(cmd, &base)
			if err != nil {
				return err
			}
			makeUpSecrets(&cfg)
			log := p.logger(cfg.Log)
			n, err := p.build(cfg, log, true)
			if err != nil {
				return err
			}
			return p.serve(cmd.Context(), n, log, func(addr string) {
				_, _ = fmt.Fprint(p.stdout, banner(cfg, addr))
			})
		}),
	}
	configFlags(cmd)
	return cmd
}

// devDefaults is what dev has where nothing is set: reachable from this machine only, quick to stop, and quiet,
// so that what it prints at the start can be read.
func devDefaults() config.Config {
	c := config.Default()
	c.Listen = "127.0.0.1:8000"
	c.Drain = time.Second
	c.Triggers.AllowPrivate = true
	c.Log.Level = "warn"
	return c
}

// makeUpSecrets fills in what would leave a part of the server switched off.
func makeUpSecrets(c *config.Config) {
	if !c.AdminToken.IsSet() {
		c.AdminToken = config.NewSecret("dev-admin-" + strings.ToLower(rand.Text()))
	}
	if len(c.APIKeys) == 0 {
		c.APIKeys = []config.APIKey{{Key: config.NewSecret("dev-key-" + strings.ToLower(rand.Text()))}}
	}
}

// waitReady tells the address of r once clients can use it. It asks again and again: a node has no event for that,
// and nothing but a person at a terminal waits for it.
func waitReady(ctx context.Context, r runner, ready chan<- string) {
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for !r.Ready() {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
	ready <- r.Addr()
}

// banner says where to go.
func banner(c config.Config, addr string) string {
	http, ws := "http://", "ws://"
	if c.TLS.Enabled() {
		http, ws = "https://", "wss://"
	}
	host := dialable(addr)
	var b strings.Builder
	line := func(name, text string) { _, _ = fmt.Fprintf(&b, "  %-13s %s\n", name, text) }
	b.WriteString("Fanfare is running, set up for trying things out.\n\n")
	line("console", http+host+"/console/   sign in with the token below")
	if c.SettingsFile == "" {
		line("demo page", http+host+"/")
		line("socket", ws+host+"/rt/demo   channels room1 and chat/*")
		line("server API", http+host+"/api/v1/demo/")
	} else {
		line("socket", ws+host+"/rt/{hash}   servers of "+c.SettingsFile)
		line("server API", http+host+"/api/v1/{hash}/")
	}
	line("settings API", http+host+"/api:meta/workspace")
	if _, port, err := net.SplitHostPort(c.OpsListen); err == nil && port != "0" {
		line("operations", "http://"+dialable(c.OpsListen)+"/metrics  /readyz")
	}
	b.WriteString("\n")
	line("admin token", c.AdminToken.Reveal())
	line("API key", c.APIKeys[0].Key.Reveal())
	if c.NATS.Embedded() {
		line("data", c.DataDir)
	}
	if c.SettingsFile == "" {
		_, _ = fmt.Fprintf(&b, "\nTo say something in room1 from a shell:\n  curl -H 'Authorization: Bearer %s' -d '{\"channel\":\"room1\",\"data\":\"hello\"}' %s/api/v1/demo/events\n",
			c.APIKeys[0].Key.Reveal(), http+host)
	}
	b.WriteString("\nCtrl-C stops it.\n")
	return b.String()
}

// dialable turns an address that means every interface into one that can be opened.
func dialable(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		return addr
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port)
}

package main

import (
	"strings"
	"testing"
	"time"
)

// TestBroker: a gateway works over `fanfare broker`; both say that they are ready, and end in order at a signal.
func TestBroker(t *testing.T) {
	b := start(t, []string{"broker"}, loopback(t, "FANFARE_BROKER_LISTEN=127.0.0.1:0", "FANFARE_BROKER_NAME=a", "FANFARE_BROKER_SYNC=1s"))
	addr := b.find(t, &b.err, `"msg":"broker is up".*?"addr":"([^"]+)"`)
	ops := b.find(t, &b.err, `"msg":"operations listener is up","addr":"([^"]+)"`)
	if code, text := get(t, "http://"+ops+"/readyz", ""); code != 200 || !strings.Contains(text, "note broker.sync") {
		t.Errorf("%d %s", code, text)
	}
	if code, text := get(t, "http://"+ops+"/healthz", ""); code != 200 {
		t.Errorf("%d %s", code, text)
	}
	g := start(t, []string{"serve"}, loopback(t, "FANFARE_NATS_URLS=nats://"+addr, "FANFARE_NATS_REPLICAS=1"))
	g.find(t, &g.err, `"msg":"ready".*?"addr":"([^"]+)"`)
	_, text := get(t, "http://"+ops+"/metrics", "")
	for _, line := range []string{"fanfare_broker_server_up 1", "fanfare_broker_server_healthy 1", "fanfare_broker_server_sync_interval_seconds 1", "fanfare_broker_server_streams ", "fanfare_build_info{"} {
		if !strings.Contains(text, line) {
			t.Errorf("no %q", line)
		}
	}
	if code := g.stop(t); code != exitOK {
		t.Errorf("gateway: exit code %d\n%s", code, &g.err)
	}
	if code := b.stop(t); code != exitOK {
		t.Errorf("broker: exit code %d\n%s", code, &b.err)
	}
}

// TestBrokerTakenPort: what is wrong is said in one line, and the exit code tells it.
func TestBrokerTakenPort(t *testing.T) {
	b := start(t, []string{"broker"}, loopback(t, "FANFARE_BROKER_LISTEN=127.0.0.1:0", "FANFARE_DRAIN=0s"))
	addr := b.find(t, &b.err, `"msg":"broker is up".*?"addr":"([^"]+)"`)
	begun := time.Now()
	second := start(t, []string{"broker"}, loopback(t, "FANFARE_BROKER_LISTEN="+addr))
	if code := second.ended(t); code != exitRuntime || !strings.Contains(second.err.String(), "address already in use") {
		t.Errorf("%d after %s\n%s", code, time.Since(begun), &second.err)
	}
}

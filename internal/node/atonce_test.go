package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/internal/config"
	"fanfare/internal/natstest"
)

// TestSetupAtOnce: several processes that find an empty cluster make its streams at the same time; all get on, and what
// is there was made once.
func TestSetupAtOnce(t *testing.T) {
	cluster := natstest.NewCluster(t, 3)
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	nc, err := nats.Connect(strings.Join(cluster.URLs(), ","))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	created := func() map[string]string {
		t.Helper()
		answer, err := nc.Request("$JS.API.STREAM.LIST", nil, 10*time.Second)
		if err != nil {
			t.Fatal(err)
		}
		var list struct {
			Streams []struct {
				Config struct {
					Name     string `json:"name"`
					Replicas int    `json:"num_replicas"`
				} `json:"config"`
				Created string `json:"created"`
			} `json:"streams"`
		}
		if err := json.Unmarshal(answer.Data, &list); err != nil {
			t.Fatal(err)
		}
		out := map[string]string{}
		for _, s := range list.Streams {
			out[s.Config.Name] = s.Created
			if s.Config.Replicas != 3 {
				t.Errorf("%s has %d replicas", s.Config.Name, s.Config.Replicas)
			}
		}
		return out
	}
	all := func() {
		t.Helper()
		var group sync.WaitGroup
		for i := range 6 {
			cfg := config.Default()
			cfg.NATS.URLs, cfg.NATS.Replicas, cfg.Lifecycle.Retention = []config.Address{config.NewAddress(cluster.Nodes[i%3].URL())}, 3, time.Hour
			group.Go(func() {
				if err := Setup(ctx, cfg, slog.New(slog.DiscardHandler)); err != nil {
					t.Errorf("process %d: %v", i, err)
				}
			})
		}
		group.Wait()
	}
	all()
	first := created()
	if len(first) < 16 {
		t.Errorf("streams: %v", first)
	}
	all()
	if second := created(); fmt.Sprint(first) != fmt.Sprint(second) {
		t.Errorf("made again:\n%v\n%v", first, second)
	}
}

// TestOneBrokerOnly: a gateway that knows one broker of several says so; one name that stands for all of them is fine.
func TestOneBrokerOnly(t *testing.T) {
	for _, test := range []struct {
		urls     []string
		replicas int
		warns    bool
	}{
		{[]string{"nats://127.0.0.1:4222"}, 3, true},
		{[]string{"nats://127.0.0.1:4222"}, 1, false},
		{[]string{"nats://127.0.0.1:4222", "nats://127.0.0.2:4222"}, 3, false},
		{[]string{"nats://brokers:4222"}, 3, false},
	} {
		var log bytes.Buffer
		cfg := config.Default()
		cfg.NATS.Replicas = test.replicas
		for _, u := range test.urls {
			cfg.NATS.URLs = append(cfg.NATS.URLs, config.NewAddress(u))
		}
		warnOfOne(cfg, slog.New(slog.NewTextHandler(&log, nil)))
		if got := strings.Contains(log.String(), "one broker"); got != test.warns {
			t.Errorf("%v: warned %v", test, got)
		}
	}
}

package main

import (
	"encoding/json"
	"strings"
	"testing"
)

func TestBench(t *testing.T) {
	d := newDesk(t)
	short := []string{"--members", "5", "--rate", "20", "--duration", "300ms", "--warmup", "0s"}
	d.want(t, `fan-out +5 connections, .*lost, twice, disordered  0, 0, 0\n.*`, append([]string{"bench", "fan-out"}, short...)...)
	out, _ := d.run(t, exitOK, "", append([]string{"bench", "fan-out", "--publish", "api", "--json"}, short...)...)
	var x struct {
		Deliveries struct{ Expected, Received, Lost int }
	}
	if err := json.Unmarshal([]byte(out), &x); err != nil || x.Deliveries.Received != 30 || x.Deliveries.Expected != 30 {
		t.Errorf("%s %v", out, err)
	}
	for args, want := range map[string]struct {
		code int
		text string
	}{
		"bench":                                      {exitUsage, "accepts 1 arg"},
		"bench everything":                           {exitUsage, "invalid argument"},
		"bench idle --members 1000000":               {exitUsage, "open files"},
		"bench idle --publish pigeon":                {exitUsage, "socket or api"},
		"bench idle --channel nowhere":               {exitRefused, "no enabled rule"},
		"bench idle --hash wrong":                    {exitRefused, "--hash"},
		"bench idle --url http://127.0.0.1:1":        {exitRuntime, "no server at http://127.0.0.1:1 (--url or FANFARE_URL says where it is)"},
		"bench idle --ops 127.0.0.1:1 --members 1":   {exitUsage, "operations address"},
		"bench idle --row-id 3 --user-token-file no": {exitUsage, "none of the others can be"},
	} {
		if _, text := d.run(t, want.code, "", strings.Fields(args)...); !strings.Contains(text, want.text) {
			t.Errorf("%s: %s", args, text)
		}
	}
}

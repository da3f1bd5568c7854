package e2e

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"testing"
	"time"
)

func change(kind, channel, socket string) (e Change) {
	e.Type, e.Channel, e.Client.SocketID = kind, channel, socket
	return e
}

// TestPictureCatches plants one fault each in a record that is right.
func TestPictureCatches(t *testing.T) {
	right := []Change{
		change("connect", "", "g1-anna"), change("join", "room", "g1-anna"), change("occupied", "room", ""),
		change("connect", "", "g2-bert"), change("join", "room", "g2-bert"), change("join", "hall", "g2-bert"), change("occupied", "hall", ""),
		change("leave", "hall", "g2-bert"), change("vacated", "hall", ""),
		change("connect", "", "g2-carl"), change("join", "room", "g2-carl"),
		change("leave", "room", "g2-carl"), change("disconnect", "", "g2-carl"),
	}
	really := map[string][]string{"room": {"g1-anna", "g2-bert"}}
	lost := change("lost", "", "")
	lost.Gateway = "g2"
	again := change("join", "room", "g1-anna")
	again.Repeated = true
	for _, test := range []struct {
		name, words string
		record      []Change
	}{
		{"right", "", right},
		{"told again", "", append(slices.Clone(right), again)},
		{"lost and told again", "", append(slices.Clone(right), lost, change("connect", "", "g2-bert"), change("join", "room", "g2-bert"))},
		{"nothing", "g1-anna is there and not in the record", nil},
		{"join missing", "leave of hall g2-bert, who was not there", slices.Delete(slices.Clone(right), 5, 6)},
		{"leave missing", "room: g2-carl is in the record and not there", slices.Delete(slices.Clone(right), 11, 12)},
		{"disconnect missing", "socket g2-carl is in the record", right[:12]},
		{"vacated missing", "hall is occupied in the record", slices.Delete(slices.Clone(right), 8, 9)},
		{"occupied missing", "room is occupied and not so", slices.Delete(slices.Clone(right), 2, 3)},
		{"join twice", "second join of room g1-anna", append(slices.Clone(right), right[1])},
		{"leave twice", "who was not there", append(slices.Clone(right), right[11])},
		{"lost", "room: g2-bert is there and not in the record", append(slices.Clone(right), lost)},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := NewPicture()
			for _, e := range test.record {
				p.Take(e)
			}
			expect(t, p.Differs(really), test.words)
		})
	}
}

// replay goes on in the record of lifecycle events to its end.
func (c *cluster) replay(ctx context.Context, at int, p *Picture) error {
	for {
		var page struct {
			Items []Change `json:"items"`
		}
		if err := c.call(ctx, at, http.MethodGet, "/lifecycle?limit=1000&after="+url.QueryEscape(p.Cursor), nil, &page); err != nil {
			return err
		}
		if len(page.Items) == 0 {
			return nil
		}
		for _, e := range page.Items {
			p.Take(e)
		}
	}
}

// listed is presence as a gateway's HTTP API has it: channel → sockets.
func (c *cluster) listed(ctx context.Context, at int) (map[string][]string, error) {
	out := map[string][]string{}
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				Channel string `json:"channel"`
			} `json:"items"`
			Next *string `json:"next"`
		}
		if err := c.call(ctx, at, http.MethodGet, "/channels?limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			sockets, err := c.members(ctx, at, item.Channel)
			if err != nil {
				return nil, err
			}
			out[item.Channel] = sockets
		}
		if page.Next == nil {
			return out, nil
		}
		cursor = *page.Next
	}
}

func (c *cluster) members(ctx context.Context, at int, channel string) (sockets []string, err error) {
	for cursor := ""; ; {
		var page struct {
			Items []struct {
				SocketID string `json:"socketId"`
			} `json:"items"`
			Next *string `json:"next"`
		}
		if err := c.call(ctx, at, http.MethodGet, "/channels/"+url.PathEscape(channel)+"/presence?limit=1000&cursor="+url.QueryEscape(cursor), nil, &page); err != nil {
			return nil, err
		}
		for _, item := range page.Items {
			sockets = append(sockets, item.SocketID)
		}
		if page.Next == nil {
			return sockets, nil
		}
		cursor = *page.Next
	}
}

// recorded proves that the record of lifecycle events, replayed from its start, is presence exactly: as the gateways
// list it, and as those know it who are there. The ends of a gateway that died stand in it when its lease is long over.
func (l *load) recorded() {
	t, c := l.t, l.cluster
	t.Helper()
	begun := time.Now()
	var p *Picture
	err := await(t.Context(), 90*time.Second, func() error {
		at := int(time.Since(begun)/time.Second) % nodes
		p = NewPicture()
		if err := c.replay(t.Context(), at, p); err != nil {
			return err
		}
		listed, err := c.listed(t.Context(), (at+1)%nodes)
		if err != nil {
			return err
		}
		if err := first(p.Differs(listed)); err != nil {
			return fmt.Errorf("replayed at gateway %d, beside what gateway %d lists: %w", at, (at+1)%nodes, err)
		}
		if err := first(p.Differs(l.everybody())); err != nil {
			return fmt.Errorf("replayed at gateway %d, beside who is there: %w", at, err)
		}
		return nil
	})
	if err != nil {
		t.Errorf("lifecycle events: %v", err)
		return
	}
	t.Logf("the record of lifecycle events was presence %s after the last message; leaves %v", time.Since(begun).Round(time.Millisecond), p.Reasons)
}

// everybody is who is there, by channel.
func (l *load) everybody() map[string][]string {
	out := map[string][]string{}
	for _, p := range l.peers {
		for _, channel := range p.channels {
			if s := p.self(channel); s != "" {
				out[channel] = append(out[channel], s)
			}
		}
	}
	return out
}

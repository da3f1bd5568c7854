package node

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"fanfare/protocol"
)

// TestMergeSockets: pages of several gateways, each cut somewhere, give every socket once and in order.
func TestMergeSockets(t *testing.T) {
	gateways := [][]protocol.SessionID{{"a1", "a2", "a3", "c1"}, {"b1", "b2"}, {}, {"a0", "d1", "d2", "d3", "d4"}}
	var want []string
	for _, g := range gateways {
		for _, id := range g {
			want = append(want, string(id))
		}
	}
	slices.Sort(want)
	// each gateway gives at most so many behind a name, which may be fewer than were asked for
	answer := func(g []protocol.SessionID, after protocol.SessionID, most int) (a socketsAnswer) {
		for _, id := range g {
			switch {
			case id <= after:
			case len(a.IDs) == most:
				a.More = true
				return a
			default:
				a.IDs, a.Items = append(a.IDs, id), append(a.Items, json.RawMessage(fmt.Sprintf("%q", id)))
			}
		}
		return a
	}
	for limit := 1; limit <= 12; limit++ {
		for cut := 1; cut <= limit; cut++ {
			var got []string
			after := protocol.SessionID("")
			for pages := 0; ; pages++ {
				var all []socketsAnswer
				for i, g := range gateways {
					most := limit
					if i%2 == 1 {
						most = cut
					}
					all = append(all, answer(g, after, most))
				}
				items, next := mergeSockets(all, limit)
				if len(items) > limit || pages > len(want) {
					t.Fatalf("limit %d, cut %d: %d items on page %d", limit, cut, len(items), pages)
				}
				for _, item := range items {
					got = append(got, strings.Trim(string(item), `"`))
				}
				if next == "" {
					break
				}
				after = next
			}
			if !slices.Equal(got, want) {
				t.Errorf("limit %d, cut %d: %v", limit, cut, got)
			}
		}
	}
}

package gateway

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"fanfare/protocol"
)

// TestDrainShowsUsers: while a gateway drains, those who are still there see nobody leave who comes straight back
// elsewhere; who does not come back leaves after the grace, and who has no user at once.
func TestDrainShowsUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := bubble(t, testOptions(), nested("chat", 0))
		const users = 10
		var clients []*client
		for i := range users {
			c := s.pipe(t, fmt.Sprintf("user-%d", i+1))
			c.join("chat/a", `{"presence":true}`)
			clients = append(clients, c)
		}
		stranger := s.pipe(t, "")
		stranger.join("chat/a", "null")
		pattern := s.pipe(t, "")
		pattern.join("chat/*", `{"presence":true}`)
		synctest.Wait()
		top := s.hub.find(protocol.Topic{Server: 1, Channel: "chat/a"})
		below := s.hub.find(protocol.Topic{Server: 1, Channel: "chat/*"})
		go s.Drain(t.Context(), 24*time.Second)

		back := map[*client]bool{}
		leaves := func(c *client) (n int) {
			for _, text := range c.texts() {
				if strings.Contains(text, `"action":"leave"`) && strings.Contains(text, `"dbo_id":7`) && !strings.Contains(text, `"row_id":1}`) {
					n++
				}
			}
			return n
		}
		last := func() *client {
			for _, c := range clients {
				select {
				case <-c.closed:
				default:
					return c
				}
			}
			return nil
		}
		returned := 0
		for range 20 {
			time.Sleep(time.Second)
			synctest.Wait()
			if c := last(); c != nil && leaves(c) != returned {
				t.Fatalf("%d are back and %d leaves were seen", returned, leaves(c))
			}
			for i, c := range clients {
				select {
				case <-c.closed:
				default:
					continue
				}
				if back[c] || i == 0 { // user 1 does not come back
					continue
				}
				back[c] = true
				returned++
				id := protocol.SessionID(fmt.Sprintf("othernod%02d", i))
				entry := protocol.AppendMember(nil, protocol.Member{Session: id, Identity: &protocol.Identity{Authenticated: true, DboID: 7, RowID: protocol.RowIDFromInt(int64(i + 1))}}, "")
				for _, sink := range []*topic{top, below} {
					sink.Changed([]PresenceChange{{Action: protocol.PresenceJoin, Channel: "chat/a", Session: id, Entry: entry}})
				}
				synctest.Wait()
			}
			top.mu.Lock()
			if top.roster != nil {
				for _, kept := range top.roster.stays {
					if age := time.Since(kept.at); age > stayGrace+10*time.Second {
						t.Errorf("an entry is kept for %s", age)
					}
				}
			}
			top.mu.Unlock()
		}
		if returned < users/2 {
			t.Errorf("only %d came back", returned)
		}
	})
}

package history

import (
	"fmt"
	"testing"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// TestPurgeBefore: what was stored before a moment goes, and nothing that was stored since, whatever else has come and
// gone in the shard.
func TestPurgeBefore(t *testing.T) {
	s := single(t)
	other := protocol.Channel("room/b")
	for i := 0; subject.Shard(1, other) != subject.Shard(1, "room/a"); i++ {
		other = protocol.Channel(fmt.Sprintf("room/b%d", i))
	}
	left := func(what string, want ...string) {
		t.Helper()
		page, err := s.store.Read(t.Context(), s.topic("room/a"), Range{})
		if err != nil {
			t.Fatal(err)
		}
		if got := ids(page.Publications); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s: %v are left, want %v", what, got, want)
		}
	}
	purge := func(before time.Time) {
		t.Helper()
		if err := s.store.PurgeIf(t.Context(), s.topic("room/a"), func(protocol.Channel) (time.Time, bool) { return before, true }); err != nil {
			t.Fatal(err)
		}
	}
	stored := func(c protocol.Channel, id string) time.Time {
		t.Helper()
		s.put(c, id)
		e, ok, err := s.store.leader(t.Context(), subject.Shard(1, c), query{Last: subject.Stored(1, c)})
		if err != nil || !ok {
			t.Fatal(ok, err)
		}
		return e.stored
	}
	first := stored("room/a", "1")
	second := stored("room/a", "2")
	purge(first)
	left("before the first", "1", "2")
	purge(second)
	left("before the second", "2")
	moment := stored(other, "x")
	if err := s.store.Purge(t.Context(), s.topic(other)); err != nil {
		t.Fatal(err)
	}
	purge(moment) // the shard's last message is newer, and gone
	left("before one that is gone")
	purge(moment)
	third := stored("room/a", "3")
	purge(third)
	left("before the third", "3")
	purge(time.Time{})
	left("for ever")
}

package policy

import (
	"testing"
	"time"

	"fanfare/protocol"
)

// history follows the settings through changes: each step is the rules at that time, a second apart.
func TestEras(t *testing.T) {
	rule := func(target protocol.Channel, history int) Rule {
		return Rule{ID: 1 + int64(target[len(target)-1]), Pattern: string(target), Enabled: true, History: history}
	}
	off := func(r Rule) Rule { r.Enabled = false; return r }
	start := time.UnixMilli(1_800_000_000_000)
	at := func(step int) time.Time { return start.Add(time.Duration(step) * time.Second) }
	for _, c := range []struct {
		name    string
		channel protocol.Channel
		steps   [][]Rule
		began   int // step; 0 = the first era goes on
		forgets int // the last step forgets what is older than this step; 0 = nothing, or than the middle of the interruption, a second long, when it is began
	}{
		{name: "nothing changes", channel: "a", steps: [][]Rule{{rule("a", 100)}, {rule("a", 100)}}},
		{name: "another size", channel: "a", steps: [][]Rule{{rule("a", 100)}, {rule("a", 25)}}},
		{name: "off", channel: "a", steps: [][]Rule{{rule("a", 100)}, {rule("a", 0)}}, forgets: 1},
		{name: "off and on", channel: "a", steps: [][]Rule{{rule("a", 100)}, {rule("a", 0)}, {rule("a", 100)}}, began: 2, forgets: 2},
		{name: "deleted", channel: "a", steps: [][]Rule{{rule("a", 100)}, {}}, forgets: 1},
		{name: "deleted and made again", channel: "a", steps: [][]Rule{{rule("a", 100)}, {}, {rule("a", 100)}}, began: 2, forgets: 2},
		{name: "switched off", channel: "a", steps: [][]Rule{{rule("a", 100)}, {off(rule("a", 100))}}},
		{name: "switched off and on", channel: "a", steps: [][]Rule{{rule("a", 100)}, {off(rule("a", 100))}, {rule("a", 100)}}},
		{
			name: "switched off over one that keeps nothing", channel: "x/a", began: 2, forgets: 2,
			steps: [][]Rule{{rule("x/*", 0), rule("x/a", 100)}, {rule("x/*", 0), off(rule("x/a", 100))}, {rule("x/*", 0), rule("x/a", 100)}},
		},
		{
			name: "covered by one that keeps nothing", channel: "x/a", forgets: 1,
			steps: [][]Rule{{rule("x/*", 100)}, {rule("x/*", 100), rule("x/a", 0)}},
		},
		{
			name: "and uncovered", channel: "x/a", began: 2, forgets: 2,
			steps: [][]Rule{{rule("x/*", 100)}, {rule("x/*", 100), rule("x/a", 0)}, {rule("x/*", 100)}},
		},
		{
			name: "another channel is covered", channel: "x/b",
			steps: [][]Rule{{rule("x/*", 100)}, {rule("x/*", 100), rule("x/a", 0)}},
		},
		{
			name: "taken over by one that keeps", channel: "x/a",
			steps: [][]Rule{{rule("x/*", 100)}, {rule("x/*", 100), rule("x/a", 25)}},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			var was, is *Server
			for step, rules := range c.steps {
				made, err := Compile(Server{ID: 1, Hash: "h", Enabled: true, Channels: rules}, Limits{})
				if err != nil {
					t.Fatal(err)
				}
				made.Succeed(is, at(step))
				value, err := made.EncodeStored() // eras survive being stored
				if err != nil {
					t.Fatal(err)
				}
				read, err := DecodeStored(value, 1)
				if err != nil {
					t.Fatal(err)
				}
				if read.ID != 1 {
					read.ID = 1
				}
				if made, err = Compile(read, Limits{}); err != nil {
					t.Fatal(err)
				}
				was, is = is, made
			}
			var began int64
			if r := is.Rule(c.channel); r != nil {
				began = r.era.Began
				if (r.Mark() != "") != (c.began > 0) {
					t.Errorf("mark %q", r.Mark())
				}
			}
			if want := at(c.began).UnixMilli(); c.began > 0 && began != want || c.began == 0 && began != 0 {
				t.Errorf("began %d, want step %d", began, c.began)
			}
			before, yes := is.Forgotten(was, c.channel)
			want := at(c.forgets)
			if c.forgets > 0 && c.forgets == c.began {
				want = want.Add(-time.Second / 2)
			}
			if yes != (c.forgets > 0) || yes && !before.Equal(want) {
				t.Errorf("forgets %v before %v, want before %v", yes, before, want)
			}
			if changed := len(is.Changes(was)) > 0; yes && !changed {
				t.Error("nobody looks")
			}
		})
	}
}

// What was kept right before a short break does not come back, and age counts too.
func TestKeptSince(t *testing.T) {
	e := Era{Ended: 10_000, Began: 10_020}
	if got := e.boundary().UnixMilli(); got != 10_010 {
		t.Errorf("boundary %d", got)
	}
	r := Rule{HistoryTTL: 2, era: e}
	if got := r.KeptSince(time.UnixMilli(11_000)); got.UnixMilli() != 10_010 {
		t.Errorf("kept since %v", got)
	}
	if got := r.KeptSince(time.UnixMilli(14_000)); got.UnixMilli() != 12_000 {
		t.Errorf("kept since %v", got)
	}
}

// Changes by gateways whose clocks differ, or in the same millisecond, are told apart all the same.
func TestErasWithoutTime(t *testing.T) {
	marks := map[string]bool{}
	var is *Server
	for step := range 9 {
		made, err := Compile(Server{ID: 1, Hash: "h", Enabled: true, Channels: []Rule{{ID: 1, Pattern: "a", Enabled: true, History: 100 * (1 - step%2)}}}, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		made.Succeed(is, time.UnixMilli(1_800_000_000_000-int64(step/3)*5000)) // goes back by five seconds now and then
		is = made
		if r := is.Rule("a"); r.History > 0 {
			if marks[r.Mark()] {
				t.Errorf("step %d: mark %q again", step, r.Mark())
			}
			marks[r.Mark()] = true
		}
	}
}

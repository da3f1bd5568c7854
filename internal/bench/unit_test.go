package bench

import (
	"bytes"
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestHistogram(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var parts [3]histogram
	values := make([]float64, 0, 30_000)
	for i := range cap(values) {
		d := time.Duration(math.Exp(random.Float64() * math.Log(float64(10*time.Minute)))) // every magnitude
		parts[i%len(parts)].record(d)
		values = append(values, float64(d)/1e6)
	}
	slices.Sort(values)
	l := summarize(&parts[0], &parts[1], &parts[2])
	if l.Count != uint64(len(values)) {
		t.Errorf("%d values", l.Count)
	}
	for name, got := range map[float64]float64{0.5: l.P50, 0.9: l.P90, 0.99: l.P99, 0.999: l.P999, 1: l.Max} {
		want := values[min(int(name*float64(len(values))), len(values)-1)]
		if got < want*0.999-0.001 || got > want*1.009+0.001 {
			t.Errorf("%v: %v ms, exactly %v", name, got, want)
		}
	}
	var h histogram
	if summarize(&h) != nil {
		t.Error("an empty histogram has figures")
	}
	h.record(-time.Second) // a clock cannot go backwards; a rounded time can
	h.record(1000 * time.Hour)
	if l := summarize(&h); l.Count != 2 || l.P50 == 0 && l.Max < 1_000_000 {
		t.Errorf("ends: %+v", l)
	}
	for bucket := range nBuckets {
		if got := bucketOf(bound(bucket)); got != bucket {
			t.Fatalf("bucket %d ends at %d, which is in bucket %d", bucket, bound(bucket), got)
		}
		if bucket+1 < nBuckets && bucketOf(bound(bucket)+1) != bucket+1 {
			t.Fatalf("behind bucket %d comes %d", bucket, bucketOf(bound(bucket)+1))
		}
	}
}

func TestSchedule(t *testing.T) {
	s := schedule{time.Second, 50}
	if got := s.due(100); got != 3*time.Second {
		t.Errorf("message 100 is due at %s", got)
	}
	for _, test := range []struct {
		rate float64
		d    time.Duration
		want int64
	}{{50, 2 * time.Second, 100}, {50, 0, 0}, {3, time.Second, 3}, {0.1, 10 * time.Second, 1}, {0.1, 11 * time.Second, 2}, {1e6, time.Second, 1e6}, {1, time.Millisecond, 1}} {
		if got := (schedule{5, test.rate}).within(test.d); got != test.want {
			t.Errorf("%v/s in %s: %d, want %d", test.rate, test.d, got, test.want)
		}
	}
}

// Nothing leaves before it is due, and what was held up leaves at once: the schedule does not move.
func TestAwait(t *testing.T) {
	r := &run{base: time.Now()}
	for _, due := range []time.Duration{time.Millisecond, 10 * time.Millisecond} {
		late, err := r.await(t.Context(), due)
		if err != nil || r.now() < due || late < 0 {
			t.Errorf("due at %s, it is %s, %s late, %v", due, r.now(), late, err)
		}
	}
	r.base = r.base.Add(-time.Hour) // long overdue
	if late, err := r.await(t.Context(), time.Minute); err != nil || late < 59*time.Minute {
		t.Errorf("%s late, %v", late, err)
	}
}

func TestMark(t *testing.T) {
	prefix := []byte(markWord + "0badcafe")
	m := mark{channel: 99_999, lane: 300, seq: 1 << 31, due: 17 * time.Minute}
	for _, size := range []int{minSize, 128, 1024} {
		payload := appendMark(nil, string(prefix), m, size)
		if len(payload) != size || payload[0] != '"' || payload[size-1] != '"' {
			t.Fatalf("%d bytes: %s", len(payload), payload)
		}
		for _, frame := range []string{
			`{"action":"message","options":{"channel":"a"},"client":null,"payload":` + string(payload) + `}`,
			`{"action":"event","options":{},"payload":{"data":` + string(payload) + `,"dbo_id":0,"row_id":0}}`,
		} {
			if got, ok := findMark([]byte(frame), prefix, size); !ok || got != m {
				t.Errorf("%s: %+v", frame, got)
			}
			if _, ok := findMark([]byte(frame), []byte(markWord+"00000000"), size); ok {
				t.Error("another run's mark is taken for ours")
			}
		}
	}
}

func FuzzFindMark(f *testing.F) {
	prefix := []byte(markWord + "0badcafe")
	f.Add(appendMark(nil, string(prefix), mark{1, 2, 3, 4}, 128), 128)
	f.Add([]byte(`{"payload":"fanbench:0badcafe00"}`), 20)
	f.Fuzz(func(t *testing.T, frame []byte, size int) {
		if m, ok := findMark(frame, prefix, min(max(size, minSize), maxSize)); ok && !bytes.Contains(frame, appendMark(nil, string(prefix), m, 0)[:minSize-1]) {
			t.Errorf("%+v is not in %q", m, frame)
		}
	})
}

// Whole frames come out of splitFrame as they went in, however the bytes are cut.
func FuzzTake(f *testing.F) {
	f.Add([]byte("\x81\x02{}\x89\x00\x81\x7e\x00\x80"+strings.Repeat("x", 128)), 3)
	f.Add([]byte{0x01, 1, 'a', 0x80, 1, 'b'}, 1)
	f.Add([]byte{0x81, 127, 0xff, 0, 0, 0, 0, 0, 0, 0}, 2)
	f.Fuzz(func(t *testing.T, stream []byte, step int) {
		collect := func(step int) (frames []string, failed error) {
			r := &run{errors: map[string]int64{}}
			c := &conn{run: r, nc: discard{}, joined: make(chan error, 1), handle: func(_ *conn, _ kind, frame []byte, _ time.Duration) {
				frames = append(frames, string(frame))
			}}
			for b := stream; len(b) > 0 && failed == nil; {
				n := min(step, len(b))
				failed = c.take(b[:n], 0)
				b = b[n:]
			}
			return frames, failed
		}
		whole, e := collect(max(len(stream), 1))
		parts, f := collect(1 + max(step, -step)%7&7)
		if !slices.Equal(whole, parts) || (e == nil) != (f == nil) {
			t.Errorf("%q, %v; in parts %q, %v", whole, e, parts, f)
		}
	})
}

func TestFrames(t *testing.T) {
	for _, size := range []int{0, 125, 126, 65_535, 65_536} {
		frame := appendFrame(nil, opText, bytes.Repeat([]byte("x"), size))
		head := 6
		switch {
		case size > 65_535:
			head = 14
		case size > 125:
			head = 8
		}
		if len(frame) != head+size || frame[0] != 0x81 || frame[1]&0x80 == 0 {
			t.Errorf("%d bytes: a frame of %d, % x", size, len(frame), frame[:6])
		}
	}
	for action, want := range map[string]kind{
		"message": kindMessage, "event": kindMessage, "join": kindJoin, "history": kindHistory, "ack": kindAck, "error": kindError,
		"presence_full": kindPresenceFull, "presence_update": kindPresenceUpdate, "x": kindOther,
	} {
		if got := kindOf([]byte(`{"action":"` + action + `","options":{"channel":"a"},"payload":null}`)); got != want {
			t.Errorf("%s is taken for %d", action, got)
		}
	}
	if kindOf([]byte(`{}`)) != kindOther || kindOf(nil) != kindOther {
		t.Error("short frames")
	}
}

// A lane agrees with a set of what came, for whatever is not older than it looks back.
func TestLane(t *testing.T) {
	for seed := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, 0))
		var l lane
		seen := map[uint32]bool{}
		top := int64(-1)
		for range 300 {
			seq := uint32(max(0, top-40+random.Int64N(50)))
			want := inOrder
			switch {
			case seen[seq]:
				want = duplicate
			case int64(seq) < top:
				want = late
			case int64(seq) > top+1:
				want = ahead
			}
			seen[seq], top = true, max(top, int64(seq))
			if got := l.take(seq); got != want {
				t.Fatalf("seed %d: %d is %d, want %d", seed, seq, got, want)
			}
		}
	}
	var l lane
	if l.take(100) != ahead || l.take(20) != duplicate { // beyond what it remembers
		t.Error("far behind")
	}
}

// Who joins what, seen from channels and from connections, is the same.
func TestPlaces(t *testing.T) {
	for _, test := range []struct{ channels, members, joins int }{{1, 10, 1}, {10, 3, 1}, {10, 4, 5}, {12, 1, 4}, {7, 14, 7}} {
		o := Options{Scenario: Rooms, Channels: test.channels, Members: test.members, Joins: test.joins}.withDefaults()
		r := &run{o: o}
		on := map[int]int{}
		for id := range o.Connections() {
			channels := r.channelsOf(id)
			for slot, channel := range channels {
				on[channel]++
				if got := r.slotOf(id, channel); got != slot {
					t.Errorf("%+v: channel %d is %d of connection %d, found at %d", test, channel, slot, id, got)
				}
			}
			for channel := range o.Channels {
				if !slices.Contains(channels, channel) && r.slotOf(id, channel) >= 0 {
					t.Errorf("%+v: connection %d has not joined %d", test, id, channel)
				}
			}
		}
		for channel := range o.Channels {
			if on[channel] != o.Members {
				t.Errorf("%+v: channel %d has %d members", test, channel, on[channel])
			}
			for n := range o.Members {
				if id, slot := r.memberOf(channel, n); r.slotOf(id, channel) != slot {
					t.Errorf("%+v: member %d of %d is connection %d, slot %d", test, n, channel, id, slot)
				}
			}
		}
	}
}

func TestCheck(t *testing.T) {
	url := []string{"http://127.0.0.1:8000"}
	for _, test := range []struct {
		o     Options
		files uint64
		want  string
	}{
		{Options{Scenario: FanOut, URLs: url}, 20_000, ""},
		{Options{Scenario: FanOut, URLs: url, Members: 20_000}, 20_000, "20000 connections need 20064 open files and this process may have 20000"},
		{Options{Scenario: "party", URLs: url}, 0, `no scenario "party"`},
		{Options{Scenario: FanOut}, 0, "no address"},
		{Options{Scenario: FanOut, URLs: []string{"127.0.0.1:8000"}}, 0, "not an address"},
		{Options{Scenario: FanOut, URLs: url, Duration: 2 * time.Hour}, 0, "at most 1h"},
		{Options{Scenario: FanOut, URLs: url, Rate: 1e7}, 0, "at most 1000000 messages"},
		{Options{Scenario: FanOut, URLs: url, Rate: 500, Members: 5}, 0, "more --members"},
		{Options{Scenario: FanOut, URLs: url, Rate: 500, Members: 5, APIKey: "k"}, 0, ""},
		{Options{Scenario: FanOut, URLs: url, Size: 10}, 0, "a payload has"},
		{Options{Scenario: FanOut, URLs: url, Members: -1}, 0, "negative"},
		{Options{Scenario: Rooms, URLs: url, Joins: 3}, 0, "cannot be spread"},
		{Options{Scenario: Rooms, URLs: url, Channel: `a"b`}, 0, "cannot be a channel"},
		{Options{Scenario: Presence, URLs: url, Members: 1_000_000, Observers: 1000}, 0, "more changes than are kept"},
		{Options{Scenario: History, URLs: url, Rate: 10_000}, 0, "more --members"},
		{Options{Scenario: History, URLs: url, Channels: 2}, 0, "one channel"},
	} {
		err := test.o.withDefaults().check(test.files)
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%+v: %v, want %q", test.o, err, test.want)
		}
	}
}

func TestBottleneck(t *testing.T) {
	quick := &Latency{P99: 1}
	for _, test := range []struct {
		r    Result
		want string
	}{
		{Result{Generator: Generator{Cores: 0.5, CPUs: 2, MachineIdle: 0.5}, Latency: quick, Late: quick}, ""},
		{Result{Generator: Generator{Cores: 1.9, CPUs: 2, MachineIdle: 0.5}}, "the generator itself"},
		{Result{Generator: Generator{CPUs: 2, MachineIdle: 0.5}, Latency: &Latency{P99: 10}, Late: &Latency{P99: 5}}, "sent late"},
		{Result{Generator: Generator{CPUs: 2, MachineIdle: 0.01}}, "machine was full"},
		{Result{Generator: Generator{CPUs: 2, MachineIdle: -1}}, ""},
	} {
		if got := test.r.bottleneck(); got != "" != (test.want != "") || !strings.Contains(got, test.want) {
			t.Errorf("%+v: %q, want %q", test.r.Generator, got, test.want)
		}
	}
}

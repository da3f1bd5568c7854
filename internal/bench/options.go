package bench

import (
	"cmp"
	"errors"
	"fmt"
	"math"
	"net/url"
	"strings"
	"time"
)

// Scenario is what a run does.
type Scenario string

// Scenarios.
const (
	FanOut   Scenario = "fan-out"  // one channel of many
	Rooms    Scenario = "rooms"    // many channels of few
	Idle     Scenario = "idle"     // connected, joined, silent
	Storm    Scenario = "storm"    // all connect, are cut, and come back
	Presence Scenario = "presence" // all join one channel that observers watch, and leave it
	History  Scenario = "history"  // reads of stored messages
)

// Options says what to do. Zero values take the defaults of the scenario.
type Options struct {
	Scenario Scenario
	URLs     []string // of gateways, http or https; connections are spread over them
	Hash     string
	Token    string // of a user; "" = anonymous

	Channel  string // its name, or with several channels what their names begin with
	Channels int
	Members  int // of each channel
	Joins    int // channels of one connection

	Rate     float64 // messages a second and channel; storm: connects, presence: joins, history: requests a second; 0 there = as fast as it goes
	Size     int     // bytes of a payload
	Duration time.Duration
	Warmup   time.Duration // sent, but not in the figures
	Settle   time.Duration // idle: until memory is read
	Drain    time.Duration // how long to wait for the next outstanding delivery

	SenderRate  float64 // messages a second that one socket sends at most; more sockets send instead
	ConnectRate float64 // connects a second; 0 = as fast as it goes
	Parallel    int     // connects under way
	Observers   int     // presence
	Messages    int     // history: stored before the reads

	APIKey string   // publish with it over HTTP instead of through sockets
	Ops    []string // operations addresses of the gateways, for their CPU and memory

	Progress func(line string) `json:"-"` // nil = none; called from one goroutine at a time
}

// Bounds. Beyond them it is another tool's work.
const (
	maxDuration = time.Hour
	maxRate     = 1_000_000
	maxSize     = 1 << 20
	maxLanes    = 50_000_000 // places that are kept to tell losses: connections × channels × senders of a channel
	maxSeen     = 20_000_000 // changes of presence that are kept: observers × members
)

func orElse[T comparable](p *T, value T) { *p = cmp.Or(*p, value) }

// withDefaults fills in what the scenario usually does.
func (o Options) withDefaults() Options {
	type usual struct {
		channels, members int
		rate              float64
		duration          time.Duration
	}
	u := map[Scenario]usual{
		FanOut: {1, 1000, 50, 10 * time.Second}, Rooms: {1000, 10, 1, 10 * time.Second}, Idle: {100, 10, 0, 10 * time.Second},
		Storm: {100, 10, 0, time.Minute}, Presence: {1, 1000, 0, time.Minute}, History: {1, 100, 100, 10 * time.Second},
	}[o.Scenario]
	orElse(&o.Channels, u.channels)
	orElse(&o.Members, u.members)
	orElse(&o.Rate, u.rate)
	orElse(&o.Duration, u.duration)
	orElse(&o.Channel, "chat/bench")
	orElse(&o.Joins, 1)
	orElse(&o.Size, 128)
	orElse(&o.Drain, 5*time.Second)
	orElse(&o.SenderRate, 50)
	orElse(&o.Parallel, 64)
	orElse(&o.Observers, 10)
	orElse(&o.Messages, 100)
	if o.Progress == nil {
		o.Progress = func(string) {}
	}
	return o
}

// Connections is how many sockets a run opens.
func (o Options) Connections() int {
	n := o.Channels * o.Members / max(o.Joins, 1)
	if o.Scenario == Presence {
		n += o.Observers
	}
	return n
}

// senders is how many members of a channel take turns in sending to it.
func (o Options) senders() int {
	return max(1, int(math.Ceil(o.Rate*float64(o.Joins)/o.SenderRate-1e-9)))
}

// check tells what cannot be done, in words for the command line. files is how many descriptors may be open; 0 = unknown.
func (o Options) check(files uint64) error {
	switch o.Scenario {
	case FanOut, Rooms, Idle, Storm, Presence, History:
	default:
		return fmt.Errorf("no scenario %q: there are fan-out, rooms, idle, storm, presence and history", o.Scenario)
	}
	if len(o.URLs) == 0 {
		return errors.New("no address of a server")
	}
	for _, address := range o.URLs {
		if u, err := url.Parse(address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("%q is not an address such as http://127.0.0.1:8000", address)
		}
	}
	switch {
	case o.Channels < 0 || o.Members < 0 || o.Joins < 0 || o.Observers < 0 || o.Messages < 0 || o.Parallel < 0 ||
		o.Rate < 0 || o.SenderRate < 0 || o.ConnectRate < 0 || o.Duration < 0 || o.Warmup < 0 || o.Settle < 0 || o.Drain < 0:
		return errors.New("counts, rates and durations cannot be negative")
	case o.Channels > 10_000_000 || o.Members > 10_000_000:
		return errors.New("at most 10 000 000 channels, and as many members of one")
	case o.Duration+o.Warmup+o.Settle > maxDuration:
		return fmt.Errorf("a run may take at most %s", maxDuration)
	case o.Rate > maxRate || o.Rate*float64(o.Channels) > maxRate && o.sends():
		return fmt.Errorf("at most %d messages a second", maxRate)
	case o.Size < minSize || o.Size > maxSize:
		return fmt.Errorf("a payload has %d to %d bytes", minSize, maxSize)
	case o.Parallel > 10_000:
		return errors.New("at most 10 000 connects may be under way")
	case o.Channel == "" || strings.ContainsAny(o.Channel, "\"\\\n") || len(o.Channel) > 150:
		return fmt.Errorf("%q cannot be a channel here", o.Channel)
	case o.Joins > o.Channels || o.Channels*o.Members%o.Joins != 0:
		return fmt.Errorf("%d channels of %d members cannot be spread over connections with %d channels each", o.Channels, o.Members, o.Joins)
	case (o.Scenario == Presence || o.Scenario == History) && (o.Channels != 1 || o.Joins != 1):
		return fmt.Errorf("%s is about one channel", o.Scenario)
	case o.Scenario == Presence && o.Observers*o.Members > maxSeen:
		return fmt.Errorf("%d observers of %d members are more changes than are kept (%d)", o.Observers, o.Members, maxSeen)
	case o.Scenario == History && o.Rate/float64(o.Members) > o.SenderRate:
		return fmt.Errorf("%g requests a second from %d sockets are more than %g from each: more --members", o.Rate, o.Members, o.SenderRate)
	}
	if o.sends() {
		switch p := o.senders(); {
		case p > o.Members && o.APIKey == "":
			return fmt.Errorf("%g messages a second need %d senders at %g each, and a channel has %d members: more --members, or a higher --sender-rate where limits.frames_per_second allows it",
				o.Rate, p, o.SenderRate, o.Members)
		case o.Connections()*o.Joins*p > maxLanes:
			return fmt.Errorf("%d connections × %d channels × %d senders are too many to keep account of", o.Connections(), o.Joins, p)
		}
	}
	const spare = 64 // standard streams, the poller, HTTP connections
	if n := o.Connections(); files > 0 && uint64(n)+spare > files {
		return fmt.Errorf("%d connections need %d open files and this process may have %d: raise the limit (ulimit -n) or use several processes", n, n+spare, files)
	}
	return nil
}

// sends tells whether the scenario is about messages on a schedule.
func (o Options) sends() bool { return o.Scenario == FanOut || o.Scenario == Rooms }

// channel is the name of one.
func (o Options) channel(n int) string {
	if o.Channels == 1 {
		return o.Channel
	}
	return fmt.Sprintf("%s-%d", o.Channel, n)
}

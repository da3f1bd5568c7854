package e2e

import (
	"fmt"
	"maps"
	"slices"
	"sync"
)

// Entry is one message as somebody outside saw it. Key is what its sender put into it: it names the sending, so
// that one message stored twice has one key and two ids.
type Entry struct {
	Key    string
	ID     string
	Offset uint64
}

// Checker records what clients of a channel server saw and finds what contradicts its promises. The methods may be
// called from any goroutine.
type Checker struct {
	mu        sync.Mutex
	acked     map[string]map[string]Entry             // channel → key
	delivered map[string]map[string][]Entry           // subscriber → channel → in order of arrival
	present   map[string]map[string]map[string]string // observer → channel → socket → name
	refused   map[string]map[string]bool              // channel → key of what was said not to have been sent
	unstored  map[string]map[string]int               // subscriber → channel and sender → last number
	wrong     []string
	vanished  []string
	moves     map[string]*Moves // observer
	counts    Counts
}

// Counts is how much a Checker has seen.
type Counts struct {
	Acked, Refused, Delivered, Repeated, Unstored, Unproved int
}

// Moves is how much an observer was told of others who came and went.
type Moves struct{ Joins, Leaves int }

// NewChecker makes one that has seen nothing.
func NewChecker() *Checker {
	return &Checker{
		acked: map[string]map[string]Entry{}, delivered: map[string]map[string][]Entry{},
		present: map[string]map[string]map[string]string{},
		moves:   map[string]*Moves{}, refused: map[string]map[string]bool{}, unstored: map[string]map[string]int{},
	}
}

// Counts so far.
func (c *Checker) Counts() Counts {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.counts
}

// Ack records that a sending was acknowledged.
func (c *Checker) Ack(channel string, e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Acked++
	if c.acked[channel] == nil {
		c.acked[channel] = map[string]Entry{}
	}
	if before, twice := c.acked[channel][e.Key]; twice && before != e {
		c.wrong = append(c.wrong, fmt.Sprintf("%s: %s was acknowledged as %v and as %v", channel, e.Key, before, e))
	}
	c.acked[channel][e.Key] = e
}

// Subscribe records that a subscriber follows a channel from now on.
func (c *Checker) Subscribe(subscriber, channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.delivered[subscriber] == nil {
		c.delivered[subscriber] = map[string][]Entry{}
	}
	c.delivered[subscriber][channel] = nil
}

// Deliver records that a subscriber got a message: live, after a resume, or in a history frame.
func (c *Checker) Deliver(subscriber, channel string, e Entry) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Delivered++
	c.delivered[subscriber][channel] = append(c.delivered[subscriber][channel], e)
}

// Unproved records a resume that the server did not prove whole.
func (c *Checker) Unproved() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Unproved++
}

// Refused records that a sender was told that its message was not sent: nobody may ever see it.
func (c *Checker) Refused(channel, key string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Refused++
	if c.refused[channel] == nil {
		c.refused[channel] = map[string]bool{}
	}
	c.refused[channel][key] = true
}

// Unstored records a message of a channel without history, the number-th of its sender. Some may be missing; none
// comes twice, and none behind a later one.
func (c *Checker) Unstored(subscriber, channel, sender string, number int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.counts.Unstored++
	if c.unstored[subscriber] == nil {
		c.unstored[subscriber] = map[string]int{}
	}
	key := channel + " " + sender
	if last, some := c.unstored[subscriber][key]; some && number <= last {
		c.wrong = append(c.wrong, fmt.Sprintf("%s at %s: number %d of %s behind number %d", channel, subscriber, number, sender, last))
	}
	c.unstored[subscriber][key] = number
}

// Full records a presence list: socket → name of who is behind it.
func (c *Checker) Full(observer, channel string, sockets map[string]string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.present[observer] == nil {
		c.present[observer] = map[string]map[string]string{}
	}
	c.present[observer][channel] = maps.Clone(sockets)
}

// Join records a change of presence. One who is there already cannot join.
func (c *Checker) Join(observer, channel, socket, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	view := c.present[observer][channel]
	switch _, there := view[socket]; {
	case view == nil:
		c.wrong = append(c.wrong, fmt.Sprintf("%s at %s: %s joined before there was a list", channel, observer, socket))
	case there:
		c.wrong = append(c.wrong, fmt.Sprintf("%s at %s: %s joined twice", channel, observer, socket))
	default:
		view[socket] = name
	}
	c.moved(observer).Joins++
}

func (c *Checker) moved(observer string) *Moves {
	if c.moves[observer] == nil {
		c.moves[observer] = &Moves{}
	}
	return c.moves[observer]
}

// Leave records a change of presence. One who is not there cannot leave.
func (c *Checker) Leave(observer, channel, socket string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	view := c.present[observer][channel]
	if _, there := view[socket]; !there {
		c.wrong = append(c.wrong, fmt.Sprintf("%s at %s: %s left without being there", channel, observer, socket))
	}
	name := view[socket]
	delete(view, socket)
	c.moved(observer).Leaves++
	for _, other := range view {
		if other == name {
			return
		}
	}
	if name != "" {
		c.vanished = append(c.vanished, name)
	}
}

// Vanished is who was seen leaving without being there by another socket already, once for each observer.
func (c *Checker) Vanished() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.vanished)
}

// Moves is what an observer has seen of others.
func (c *Checker) Moves(observer string) Moves {
	c.mu.Lock()
	defer c.mu.Unlock()
	return *c.moved(observer)
}

// Lost forgets the view of an observer whose connection ended: the next list begins a new one.
func (c *Checker) Lost(observer, channel string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.present[observer], channel)
}

// View is who an observer sees, socket → name; nil while it has no list.
func (c *Checker) View(observer, channel string) map[string]string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.present[observer][channel])
}

// Behind says what subscribers still miss, one line each: acknowledged messages that have not come yet.
func (c *Checker) Behind() (missing []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for subscriber, channels := range c.delivered {
		for channel, got := range channels {
			have := map[string]bool{}
			for _, e := range got {
				have[e.ID] = true
			}
			for _, e := range c.acked[channel] {
				if !have[e.ID] {
					missing = append(missing, fmt.Sprintf("%s at %s: %s (%s, offset %d) was acknowledged and is missing", channel, subscriber, e.Key, e.ID, e.Offset))
				}
			}
		}
	}
	slices.Sort(missing)
	return missing
}

// Messages finds what is wrong with acknowledgements, deliveries and histories (each channel's, oldest first, as much
// as the server keeps). It is for the end, when Behind is empty.
func (c *Checker) Messages(histories map[string][]Entry) []string {
	problems := c.Behind()
	c.mu.Lock()
	defer c.mu.Unlock()
	problems = append(problems, c.wrong...)
	channels := map[string]bool{}
	for channel := range c.acked {
		channels[channel] = true
	}
	for _, followed := range c.delivered {
		for channel := range followed {
			channels[channel] = true
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(channels)) {
		problems = append(problems, c.channel(channel, histories[channel])...)
	}
	return problems
}

// channel checks one channel. The reference is everything that anybody knows of it, by offset.
func (c *Checker) channel(channel string, history []Entry) (problems []string) {
	complain := func(format string, args ...any) {
		problems = append(problems, channel+": "+fmt.Sprintf(format, args...))
	}
	byOffset, byKey := map[uint64]Entry{}, map[string]Entry{}
	know := func(who string, e Entry) {
		if other, known := byOffset[e.Offset]; known && other != e {
			complain("%s has %v where others have %v", who, e, other)
			return
		}
		if other, known := byKey[e.Key]; known && other != e {
			complain("%s has %v, which others have as %v: stored twice", who, e, other)
			return
		}
		if c.refused[channel][e.Key] && byKey[e.Key] != e {
			complain("%s has %v, which its sender was told had not been sent", who, e)
		}
		byOffset[e.Offset], byKey[e.Key] = e, e
	}
	for _, e := range c.acked[channel] {
		know("the sender", e)
	}
	for i, e := range history {
		know("history", e)
		if i > 0 && e.Offset <= history[i-1].Offset {
			complain("history has %v behind %v", e, history[i-1])
		}
	}
	unique := map[string][]Entry{} // by subscriber, equal ids removed
	for subscriber, channels := range c.delivered {
		got, follows := channels[channel]
		if !follows {
			continue
		}
		seen := map[string]bool{}
		unique[subscriber] = []Entry{}
		for _, e := range got {
			if seen[e.ID] {
				c.counts.Repeated++
				continue
			}
			seen[e.ID] = true
			know(subscriber, e)
			unique[subscriber] = append(unique[subscriber], e)
		}
	}
	order := slices.Collect(maps.Values(byOffset))
	slices.SortFunc(order, func(a, b Entry) int {
		if a.Offset < b.Offset {
			return -1
		}
		return 1
	})
	for _, subscriber := range slices.Sorted(maps.Keys(unique)) {
		if p := compare(unique[subscriber], order); p != "" {
			complain("%s: %s", subscriber, p)
		}
	}
	if len(history) > len(order) {
		complain("history has %d, all together %d", len(history), len(order))
	} else if p := compare(history, order[len(order)-len(history):]); p != "" {
		complain("history: %s", p)
	}
	if len(history) == 0 && len(order) > 0 {
		complain("history is empty")
	}
	return problems
}

// compare tells the first difference.
func compare(got, want []Entry) string {
	for i := range min(len(got), len(want)) {
		if got[i] != want[i] {
			return fmt.Sprintf("has %v as number %d, where the order has %v", got[i], i, want[i])
		}
	}
	if len(got) != len(want) {
		return fmt.Sprintf("has %d messages, the order has %d", len(got), len(want))
	}
	return ""
}

// Presence finds where the views of a channel differ from who is really there, socket → name. Observers without a
// list count as wrong.
func (c *Checker) Presence(channel string, observers []string, really map[string]string) (problems []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, observer := range observers {
		view := c.present[observer][channel]
		if view == nil {
			problems = append(problems, fmt.Sprintf("%s at %s: no list", channel, observer))
			continue
		}
		for _, socket := range slices.Sorted(maps.Keys(view)) {
			if _, there := really[socket]; !there {
				problems = append(problems, fmt.Sprintf("%s at %s: %s (%s) is a ghost", channel, observer, socket, view[socket]))
			}
		}
		for _, socket := range slices.Sorted(maps.Keys(really)) {
			if _, seen := view[socket]; !seen {
				problems = append(problems, fmt.Sprintf("%s at %s: %s (%s) is not seen", channel, observer, socket, really[socket]))
			}
		}
	}
	return problems
}

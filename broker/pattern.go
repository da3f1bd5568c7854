package broker

import (
	"fanfare/internal/subject"
	"fanfare/protocol"
)

// maxChains is how many channels below a pattern are followed one by one. Each check of a shard forgets those
// that are up to date, so this is about how many speak between two checks. At the limit a check is made at once;
// at twice the limit the gateway starts over and says that something may be missing.
const maxChains = 32768

// pattern is the state of the channels below a pattern; the feed's mu guards it.
type pattern struct {
	holding bool // the floors are not known yet
	epochs  [subject.Shards]string
	// floors: of a channel that is not in chains, everything up to its shard's floor was delivered.
	floors [subject.Shards]uint64
	chains map[protocol.Channel]*chain
	max    int // maxChains, smaller in tests
}

// begin starts at the floors and lets pass what was held; mu is held.
func (pt *pattern) begin(f *Feed, floors [subject.Shards]uint64, epochs [subject.Shards]string) {
	pt.holding, pt.floors, pt.epochs = false, floors, epochs
	for _, c := range pt.chains {
		c.last = floors[c.shard]
		f.resettle(c)
	}
}

// forget drops all channels and ends their repairs, which look at holding; mu is held.
func (pt *pattern) forget() {
	for _, c := range pt.chains {
		c.holding = true
	}
	*pt = pattern{chains: map[protocol.Channel]*chain{}, max: pt.max}
}

// chain gives the state of a channel; nil when there is no room, and the publication is left to a later check.
// mu is held.
func (pt *pattern) chain(f *Feed, channel protocol.Channel, shard int) *chain {
	if c := pt.chains[channel]; c != nil {
		return c
	}
	limit := pt.max
	if limit == 0 {
		limit = maxChains
	}
	if len(pt.chains) >= limit {
		f.b.sweeper.suspectAll(0)
		if len(pt.chains) >= 2*limit {
			pt.startOver(f)
		}
		if len(pt.chains) >= 2*limit {
			return nil
		}
	}
	c := &chain{channel: channel, shard: shard, last: pt.floors[shard], holding: pt.holding || !f.ready.Load()}
	pt.chains[channel] = c
	return c
}

// startOver forgets the channels that are not under repair and tells that something below may be missing.
func (pt *pattern) startOver(f *Feed) {
	highest := pt.floors
	for channel, c := range pt.chains {
		highest[c.shard] = max(highest[c.shard], c.last)
		if c.flows() {
			delete(pt.chains, channel)
		}
	}
	for shard, seq := range highest {
		if seq > pt.floors[shard] {
			f.b.metrics.unrepaired.Inc()
			f.sink.Gap(f.topic.Channel, subject.Offset(shard, pt.floors[shard]), subject.Offset(shard, seq))
			pt.floors[shard] = seq
		}
	}
}

// compact raises a shard's floor to a sequence up to which nothing is missing; mu is held.
func (pt *pattern) compact(shard int, through uint64) {
	through = max(through, pt.floors[shard])
	pt.floors[shard] = through
	for channel, c := range pt.chains {
		if c.shard == shard && c.flows() && c.last <= through {
			delete(pt.chains, channel)
		}
	}
}

package policy

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"time"

	"fanfare/protocol"
)

// Era is when the history of a rule's channels was interrupted: when it last ended and when it last began anew, in
// Unix milliseconds of the clock of whoever changed the settings. 0 = never; a first history has no beginning here.
// Messages that were sent in between were not kept, so an offset from before proves nothing afterwards; and what was
// kept before is forgotten (xano-realtime.md 12.16), whenever it is that a gateway comes to remove it.
type Era struct {
	Ended int64 `json:"ended,omitzero"`
	Began int64 `json:"began,omitzero"`
}

// Mark is what tells the offsets of one era from those of another: a part of the epoch that clients are told. It is
// empty for a history that was never interrupted.
func (r *Rule) Mark() string {
	if r.era.Began == 0 {
		return ""
	}
	return "-" + strconv.FormatInt(r.era.Began, 36)
}

// KeptFrom is the time before which nothing of a channel counts as kept because its history was interrupted; zero = it
// was not.
func (r *Rule) KeptFrom() time.Time {
	if r.era.Began == 0 {
		return time.Time{}
	}
	return r.era.boundary()
}

// KeptSince is the time before which nothing of a channel counts as kept, its age included; zero = everything counts.
func (r *Rule) KeptSince(now time.Time) time.Time {
	since := r.KeptFrom()
	if r.HistoryTTL > 0 {
		if oldest := now.Add(-time.Duration(r.HistoryTTL) * time.Second); oldest.After(since) {
			since = oldest
		}
	}
	return since
}

// boundary lies between what was kept before the history ended and what is kept since it began, as far off both as can
// be: those who store messages have other clocks than those who change settings.
func (e Era) boundary() time.Time { return time.UnixMilli(e.Began - (e.Began-e.Ended)/2) }

// maxEnded bounds how many targets without a rule are remembered to have had one that kept messages.
const maxEnded = 1000

// Succeed makes the settings, just compiled and not yet shared, the ones that follow old: it finds the rules whose
// channels cease to keep messages now, or begin to again. at is the time of the change; behind the last one all the same
// when the clock of whoever makes it is. Without old nothing was kept.
func (s *Server) Succeed(old *Server, at time.Time) {
	if old == nil {
		return
	}
	now := at.UnixMilli()
	for _, e := range old.Eras {
		now = max(now, e.Ended+1, e.Began+1)
	}
	ended := s.endedIn(old, now)
	s.Changed, s.Eras = at, maps.Clone(ended)
	for i := range s.Channels {
		r := &s.Channels[i]
		r.era = s.eraOf(r, old, ended, now)
		if s.Eras[r.Target()] = r.era; r.era == (Era{}) {
			delete(s.Eras, r.Target())
		}
	}
}

// endedIn gives the targets that had no rule, or have none any more, and whose channels kept messages once: the latest.
func (s *Server) endedIn(old *Server, at int64) map[protocol.Channel]Era {
	ended := make(map[protocol.Channel]Era)
	for target, e := range old.Eras {
		if old.all.target(target) == nil {
			ended[target] = e
		}
	}
	for i := range old.Channels {
		r := &old.Channels[i]
		if r.History == 0 || s.all.target(r.Target()) != nil {
			continue
		}
		if now := s.enabled.rule(r.sample()); now == nil || now.History == 0 {
			ended[r.Target()] = Era{Ended: at}
		}
	}
	if len(ended) > maxEnded {
		targets := slices.SortedFunc(maps.Keys(ended), func(a, b protocol.Channel) int { return cmp.Compare(ended[a].Ended, ended[b].Ended) })
		for _, t := range targets[:len(targets)-maxEnded] {
			delete(ended, t)
		}
	}
	return ended
}

// eraOf finds the era of a rule. ended are the targets without a rule that had one.
func (s *Server) eraOf(r *Rule, old *Server, ended map[protocol.Channel]Era, at int64) Era {
	same, was := old.all.target(r.Target()), old.enabled.rule(r.sample())
	if was == nil {
		was = same // switched off: nobody could send anything meanwhile
	}
	kept := was != nil && was.History > 0
	switch is := s.enabled.rule(r.sample()); {
	case kept && (r.History == 0 || is != nil && is.History == 0):
		return Era{Began: was.era.Began, Ended: at}
	case kept:
		if o := s.uncovered(r, old); o != nil {
			return Era{Began: at, Ended: o.era.Ended}
		}
		return was.era
	}
	var era Era
	for _, r := range []*Rule{same, was} {
		if r != nil {
			era = Era{Ended: max(era.Ended, r.era.Ended), Began: max(era.Began, r.era.Began)}
		}
	}
	for target, e := range ended { // an earlier rule of these channels, or of some of them
		if target == r.Target() || target.Covers(r.sample()) || r.Target().Covers(target) {
			era.Ended = max(era.Ended, e.Ended)
		}
	}
	if r.History > 0 && era.Ended > era.Began {
		era.Began = at
	}
	return era
}

// uncovered finds a rule that kept nothing of channels whose messages had been kept before it, and which r keeps now.
func (s *Server) uncovered(r *Rule, old *Server) *Rule {
	if !r.Wildcard {
		return nil
	}
	for i := range old.Channels {
		o := &old.Channels[i]
		if o.Enabled && o.History == 0 && o.era.Ended > o.era.Began && r.Target().Covers(o.sample()) && s.enabled.rule(o.sample()) == r {
			return o
		}
	}
	return nil
}

// sample is a channel of the rule that no rule with a longer name covers.
func (r *Rule) sample() protocol.Channel {
	if r.Wildcard {
		return protocol.Channel(r.Pattern + "/\x00")
	}
	return protocol.Channel(r.Pattern)
}

// Forgotten tells whether what is kept of a channel does not count any more after settings changed from old, and up
// to when (zero = all of it): what was stored later is another matter. A rule that is only switched off forgets
// nothing. s is nil when the server is gone.
func (s *Server) Forgotten(old *Server, ch protocol.Channel) (before time.Time, yes bool) {
	var was, is *Rule
	if old != nil {
		was = old.all.rule(ch)
	}
	if s != nil {
		is = s.all.rule(ch)
	}
	kept := was != nil && was.History > 0
	switch {
	case is != nil && is.History > 0:
		return is.era.boundary(), is.era.Began != 0 && (!kept || is.era.Began != was.era.Began)
	case !kept:
		return time.Time{}, false
	case is != nil && is.era.Ended != 0:
		return time.UnixMilli(is.era.Ended), true
	}
	return s.changed(), true
}

func (s *Server) changed() time.Time {
	if s == nil {
		return time.Time{}
	}
	return s.Changed
}

// Changes are the targets of rules whose keeping of messages differs from old. s is nil when the server is gone.
func (s *Server) Changes(old *Server) (targets []protocol.Channel) {
	if s == old {
		return nil
	}
	var all index
	if s != nil {
		all = s.all
	}
	for i := range old.Channels {
		r := &old.Channels[i]
		is := all.target(r.Target())
		if is == nil || (is.History > 0) != (r.History > 0) || is.era != r.era {
			targets = append(targets, r.Target())
		}
	}
	if s == nil {
		return targets
	}
	for i := range s.Channels {
		if r := &s.Channels[i]; old.all.target(r.Target()) == nil {
			targets = append(targets, r.Target())
		}
	}
	return targets
}

// target finds the rule with a target.
func (x *index) target(t protocol.Channel) *Rule {
	if t.IsPattern() {
		return x.nested[t.Base()]
	}
	return x.exact[string(t)]
}

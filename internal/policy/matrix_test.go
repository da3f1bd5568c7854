package policy

import (
	"fmt"
	"testing"

	"fanfare/protocol"
)

// The matrix of xano-realtime.md 3.2 as decided in its section 12, written down as rules of its own and compared
// with the decisions for every combination of flags.

var (
	anonymous = &protocol.Identity{}
	user      = &protocol.Identity{Authenticated: true, DboID: 17, RowID: "3"}
)

// flags of a rule by the short names of xano-realtime.md 3.
type flags struct{ ac, pm, pma, am, vm, vma, strict bool }

func (f flags) rule() *Rule {
	return &Rule{
		ID: 1, Pattern: "room1", Enabled: true,
		AnonymousClients:                        f.ac,
		ClientPublicMessaging:                   f.pm,
		ClientPublicMessagingAuthenticatedOnly:  f.pma,
		ClientAuthenticatedMessaging:            f.am,
		ClientPrivateMessaging:                  f.vm,
		ClientPrivateMessagingAuthenticatedOnly: f.vma,
		strict:                                  f.strict,
	}
}

func everyFlags(yield func(flags) bool) {
	for i := range 1 << 7 {
		b := func(n int) bool { return i>>n&1 == 1 }
		if !yield(flags{b(0), b(1), b(2), b(3), b(4), b(5), b(6)}) {
			return
		}
	}
}

func TestMatrix(t *testing.T) {
	for f := range everyFlags {
		r := f.rule()
		check := func(what string, got, want bool) {
			t.Helper()
			if got != want {
				t.Errorf("%+v: %s is %v, want %v", f, what, got, want)
			}
		}
		check("anonymous join", r.AllowJoin(anonymous, false) == nil, f.ac)
		check("authenticated join", r.AllowJoin(user, false) == nil, true)

		audience, err := r.AllowSend(anonymous, Send{})
		check("anonymous public", err == nil, f.ac && f.pm && !f.pma)
		if err == nil {
			check("anonymous public to everyone", audience == protocol.Everyone, true)
		}
		audience, err = r.AllowSend(user, Send{})
		check("authenticated public", err == nil, f.pm || f.am)
		if err == nil {
			members := !f.pm || f.strict && f.am
			check("authenticated public to authenticated only", audience == protocol.Authenticated, members)
			check("authenticated public to everyone", audience == protocol.Everyone, !members)
		}
		_, err = r.AllowSend(anonymous, Send{Authenticated: true})
		check("anonymous authenticated", err == nil, false)
		audience, err = r.AllowSend(user, Send{Authenticated: true})
		check("authenticated authenticated", err == nil, f.am)
		if err == nil {
			check("authenticated audience", audience == protocol.Authenticated, true)
		}
		audience, err = r.AllowSend(anonymous, Send{Private: true})
		check("anonymous private", err == nil, f.ac && f.vm && !f.vma)
		if err == nil {
			check("private audience", audience == protocol.Socket, true)
		}
		_, err = r.AllowSend(anonymous, Send{Private: true, Authenticated: true})
		check("anonymous private authenticated", err == nil, false)
		for _, authenticated := range []bool{false, true} {
			_, err = r.AllowSend(user, Send{Private: true, Authenticated: authenticated})
			check("authenticated private", err == nil, f.vm)
		}
		check("private anonymous to anonymous", r.AllowTarget(anonymous, anonymous) == nil, f.ac && f.vm && !f.vma)
		check("private anonymous to authenticated", r.AllowTarget(anonymous, user) == nil, f.ac && f.vm && !f.vma)
		check("private authenticated to anonymous", r.AllowTarget(user, anonymous) == nil, f.vm && !f.vma)
		check("private authenticated to authenticated", r.AllowTarget(user, user) == nil, f.vm)
	}
}

// TestExplainAgrees holds the explanations against the decisions, for every combination of flags.
func TestExplainAgrees(t *testing.T) {
	for f := range everyFlags {
		r := f.rule()
		in := Server{ID: 1, Hash: "h", Enabled: true, Strict: f.strict, Channels: []Rule{*r}}
		s, err := Compile(in, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		for _, id := range []*protocol.Identity{anonymous, user} {
			joined := r.AllowJoin(id, false) == nil
			ask := func(op Op, to *protocol.Identity) bool {
				e := Explain(s, Question{Identity: *id, Channel: "room1", Op: op, Target: to})
				if e.Text == "" || e.Allowed != (e.Code == "") || e.Rule == nil {
					t.Fatalf("%+v %s: %+v", f, op, e)
				}
				return e.Allowed
			}
			sends := func(send Send) bool { _, err := r.AllowSend(id, send); return joined && err == nil }
			for op, want := range map[Op]bool{
				OpJoin: joined, OpSend: sends(Send{}), OpSendAuthenticated: sends(Send{Authenticated: true}),
				OpSendPrivate: sends(Send{Private: true}), OpHistory: joined, OpPresence: false,
			} {
				if got := ask(op, nil); got != want {
					t.Errorf("%+v %+v: %s explained as %v, want %v", f, id, op, got, want)
				}
			}
			for _, to := range []*protocol.Identity{anonymous, user} {
				if got, want := ask(OpSendPrivate, to), joined && r.AllowTarget(id, to) == nil; got != want {
					t.Errorf("%+v %+v to %+v: explained as %v, want %v", f, id, to, got, want)
				}
			}
		}
	}
}

// TestPresets are those that Xano documents (xano-realtime.md 3.3).
func TestPresets(t *testing.T) {
	type outcome struct {
		join, public bool
		audience     protocol.AudienceKind
		private      bool
	}
	for _, c := range []struct {
		name          string
		f             flags
		anonymous, in outcome
	}{
		{"public anonymous chat", flags{ac: true, pm: true}, outcome{join: true, public: true}, outcome{join: true, public: true}},
		{"anonymous read, authenticated write", flags{ac: true, pm: true, pma: true}, outcome{join: true}, outcome{join: true, public: true}},
		{"notifications", flags{ac: true}, outcome{join: true}, outcome{join: true}},
		{"authenticated chat", flags{am: true}, outcome{}, outcome{join: true, public: true, audience: protocol.Authenticated}},
		{
			"authenticated chat + private",
			flags{am: true, vm: true, vma: true},
			outcome{},
			outcome{join: true, public: true, audience: protocol.Authenticated, private: true},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := c.f.rule()
			for id, want := range map[*protocol.Identity]outcome{anonymous: c.anonymous, user: c.in} {
				audience, err := r.AllowSend(id, Send{})
				got := outcome{
					join: r.AllowJoin(id, false) == nil, public: err == nil, audience: audience,
					private: r.AllowTarget(id, user) == nil,
				}
				if got != want {
					t.Errorf("authenticated=%v: %+v, want %+v", id.Authenticated, got, want)
				}
			}
		})
	}
}

func TestRefusals(t *testing.T) {
	for _, c := range []struct {
		name string
		f    flags
		id   *protocol.Identity
		send Send
		want *protocol.Error
	}{
		{"nothing allowed", flags{ac: true}, user, Send{}, protocol.ErrPublicDisabled},
		{"public for the authenticated", flags{ac: true, pm: true, pma: true}, anonymous, Send{}, protocol.ErrAuthenticatedOnly},
		{"only authenticated messages", flags{ac: true, am: true}, anonymous, Send{}, protocol.ErrAuthenticatedOnly},
		{"authenticated by an anonymous", flags{ac: true, pm: true, am: true}, anonymous, Send{Authenticated: true}, protocol.ErrAuthenticatedOnly},
		{"no authenticated messages", flags{pm: true}, user, Send{Authenticated: true}, ErrAuthenticatedDisabled},
		{"no private messages", flags{pm: true}, user, Send{Private: true}, protocol.ErrPrivateDisabled},
		{"private for the authenticated", flags{ac: true, vm: true, vma: true}, anonymous, Send{Private: true}, protocol.ErrAuthenticatedOnly},
		{"no longer allowed to be here", flags{pm: true}, anonymous, Send{}, protocol.ErrAuthenticatedOnly},
	} {
		if _, err := c.f.rule().AllowSend(c.id, c.send); err != c.want {
			t.Errorf("%s: %v, want %v", c.name, err, c.want)
		}
	}
	if err := (flags{}).rule().AllowJoin(anonymous, false); err != protocol.ErrAnonymousDenied {
		t.Errorf("join: %v", err)
	}
	if err := (flags{vm: true, vma: true}).rule().AllowTarget(user, anonymous); err != ErrTargetAnonymous {
		t.Errorf("target: %v", err)
	}
	var none *Rule
	if none.AllowJoin(user, false) != protocol.ErrChannelNotFound || none.AllowPresence() != protocol.ErrChannelNotFound || none.AllowHistory() {
		t.Error("no rule allows something")
	}
	if _, err := none.AllowSend(user, Send{}); err != protocol.ErrChannelNotFound {
		t.Errorf("no rule: %v", err)
	}
}

func TestPatternJoin(t *testing.T) {
	for _, c := range []struct {
		join      PatternJoin
		wildcard  bool
		ac        bool
		anonymous *protocol.Error
		user      *protocol.Error
	}{
		{PatternJoinNobody, true, true, protocol.ErrPatternDenied, protocol.ErrPatternDenied},
		{PatternJoinAuthenticated, true, true, protocol.ErrPatternDenied, nil},
		{PatternJoinAnyone, true, true, nil, nil},
		{PatternJoinAnyone, true, false, protocol.ErrAnonymousDenied, nil},
		{PatternJoinAnyone, false, true, protocol.ErrPatternDenied, protocol.ErrPatternDenied},
		{"everybody", true, true, protocol.ErrPatternDenied, protocol.ErrPatternDenied},
	} {
		r := &Rule{Pattern: "chat", Wildcard: c.wildcard, AnonymousClients: c.ac, PatternJoin: c.join}
		if got := r.AllowJoin(anonymous, true); got != c.anonymous {
			t.Errorf("%+v: anonymous %v", c, got)
		}
		if got := r.AllowJoin(user, true); got != c.user {
			t.Errorf("%+v: authenticated %v", c, got)
		}
	}
}

func TestAdmits(t *testing.T) {
	for kind, want := range map[protocol.AudienceKind][2]bool{
		protocol.Everyone: {true, true}, protocol.Authenticated: {false, true}, protocol.User: {}, protocol.Socket: {},
	} {
		if got := [2]bool{Admits(kind, anonymous), Admits(kind, user)}; got != want {
			t.Errorf("kind %d admits %v, want %v", kind, got, want)
		}
	}
}

func TestDecisionsDoNotAllocate(t *testing.T) {
	s := compiled(t, Rule{Pattern: "a", Wildcard: true, Enabled: true}, Rule{Pattern: "room1", Enabled: true})
	n := testing.AllocsPerRun(100, func() {
		r := s.Rule("a/b/c/d")
		_ = r.AllowJoin(anonymous, false)
		_, _ = r.AllowSend(user, Send{Private: true})
		_ = s.Rule("room1").AllowTarget(user, anonymous)
		_ = s.Rule("a/*")
		_ = s.Rule("nowhere/at/all")
	})
	if n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func ExampleExplain() {
	s, err := Compile(Server{ID: 1, Hash: "demo", Enabled: true, Channels: []Rule{
		{ID: 7, Pattern: "chat/*", Enabled: true, ClientPublicMessaging: true},
	}}, Limits{})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(Explain(s, Question{Channel: "chat/sports", Op: OpJoin}).Text)
	fmt.Println(Explain(s, Question{Channel: "chat", Op: OpJoin}).Text)
	// Output:
	// An anonymous client may not join this channel: Anonymous clients cannot join this channel. Decided by rule 7 (chat/*), anonymous_clients: false.
	// No rule covers this channel; rule 7 (chat/*) covers what is below it, not the channel itself.
}

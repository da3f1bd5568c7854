package broker

import (
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"fanfare/broker/natsd"
	"fanfare/history"
	"fanfare/internal/natstest"
	"fanfare/protocol"
)

// TestUnstoredLocal: delivered before Publish returns, to the channel and to the patterns that cover it.
func TestUnstoredLocal(t *testing.T) {
	r := solo(t)
	_, room := r.attach("chat/a/b", false)
	_, deep := r.attach("chat/a/*", false)
	_, wide := r.attach("chat/*", false)
	_, other := r.attach("chatter/*", false)
	_, literal := r.attach("*", false)
	for i, c := range []protocol.Channel{"chat/a/b", "chat/x", "chat", "chat/", "*"} {
		receipt, err := r.publish(c, fmt.Sprint(i), false)
		if err != nil || receipt.ID != fmt.Sprint(i) || receipt.Position.Offset != 0 {
			t.Fatal(receipt, err)
		}
	}
	room.expect(t, "0")
	deep.expect(t, "0")
	wide.expect(t, "0", "1")
	other.expect(t)
	literal.expect(t, "4")
}

// TestUnstoredRemote: other gateways get it once, the sender's own does not get its echo.
func TestUnstoredRemote(t *testing.T) {
	node := natstest.Single(t)
	a := newRig(t, "node000a", ConnectOptions{URLs: []string{node.URL()}}, 1)
	b := newRig(t, "node000b", ConnectOptions{URLs: []string{node.URL()}}, 1)
	_, here := a.attach("room", false)
	_, there := b.attach("room", false)
	_, below := b.attach("chat/*", false)
	_, dots := b.attach("a.b", false)
	var want []string
	for i := range 200 {
		a.mustPublish("room", fmt.Sprint(i), false)
		want = append(want, fmt.Sprint(i))
	}
	for _, c := range []protocol.Channel{"chat/x", "chat/", "chat", "a/b", "a.b", "room/x"} {
		a.mustPublish(c, "to "+string(c), false)
	}
	stranger := a.publication("room", "without origin")
	stranger.Origin = ""
	a.Publish(stranger, false, "", func(protocol.Receipt, error) {})
	want = append(want, "without origin")
	there.expect(t, want...)
	here.expect(t, want...)
	below.expect(t, "to chat/x")
	dots.expect(t, "to a.b")
	if p := there.pubs[7]; p.Origin != "node000a" || p.Channel != "room" || string(p.Frame) != `{"action":"message","id":"7"}` {
		t.Errorf("got %+v", p)
	}
}

// TestStored: acknowledged with the offset that subscribers see, duplicates recognised within a channel.
func TestStored(t *testing.T) {
	r := solo(t)
	_, room := r.attach("room", true)
	_, all := r.attach("chat/*", true)
	first := r.mustPublish("room", "1", true)
	second := r.mustPublish("room", "2", true)
	again := r.mustPublish("room", "1", true)
	if again.Position != first.Position || !again.Duplicate || first.Duplicate || second.Position.Offset <= first.Position.Offset {
		t.Errorf("receipts %+v %+v %+v", first, second, again)
	}
	r.mustPublish("chat/a", "1", true) // the same id in another channel
	r.mustPublish("chat/b/c", "2", true)
	strange := "wild\r\nNats-TTL: 1\r\n\x00é" + strings.Repeat("x", 300)
	if r.mustPublish("room", strange, true).Duplicate || !r.mustPublish("room", strange, true).Duplicate {
		t.Error("an id that is no header value")
	}
	room.expect(t, "1", "2", strange)
	all.expect(t, "1", "2")
	if room.pubs[1].Offset != second.Position.Offset || room.resets[0].Epoch != second.Position.Epoch || room.resets[0].Offset >= first.Position.Offset {
		t.Errorf("offset %d, receipt %+v, reset %+v", room.pubs[1].Offset, second, room.resets)
	}
	// An unstored one on the same channel passes beside.
	r.mustPublish("room", "now", false)
	if got := room.got(); got[len(got)-1] != "now" || room.pubs[len(got)-1].Offset != 0 {
		t.Errorf("got %v", got)
	}
}

func TestExpecting(t *testing.T) {
	r := solo(t)
	send := func(id string, expect uint64) (protocol.Receipt, error) {
		return r.wait(func(done func(protocol.Receipt, error)) {
			r.PublishExpecting(r.publication("room", id), "", expect, done)
		})
	}
	first, err := send("1", 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := send("2", 0); !errors.Is(err, ErrOffset) {
		t.Errorf("nothing expected: %v", err)
	}
	if _, err := send("2", first.Position.Offset^1); !errors.Is(err, ErrOffset) {
		t.Errorf("an offset of another shard: %v", err)
	}
	second, err := send("2", first.Position.Offset)
	if err != nil {
		t.Fatal(err)
	}
	again, err := send("2", first.Position.Offset)
	if err != nil || again.Position != second.Position || !again.Duplicate {
		t.Errorf("the same again: %+v, %v", again, err)
	}
	if _, err := send("3", first.Position.Offset); !errors.Is(err, ErrOffset) {
		t.Errorf("an old offset: %v", err)
	}
	// Of many that expect the same, one wins.
	var mu sync.Mutex
	var won, lost int
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			_, err := send(fmt.Sprint("race", i), second.Position.Offset)
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err == nil:
				won++
			case errors.Is(err, ErrOffset):
				lost++
			default:
				t.Error(err)
			}
		})
	}
	group.Wait()
	if won != 1 || lost != 19 {
		t.Errorf("%d won, %d lost", won, lost)
	}
}

// TestTTL: stored with an age limit, which the publication carries too.
func TestTTL(t *testing.T) {
	r := solo(t)
	p := r.publication("room", "1")
	p.TTL = 1500 * time.Millisecond // becomes 2 s
	if _, err := r.wait(func(done func(protocol.Receipt, error)) { r.Publish(p, true, "", done) }); err != nil {
		t.Fatal(err)
	}
	read := func() []*protocol.Publication {
		page, err := r.store.Read(t.Context(), topic("room"), historyRange())
		if err != nil {
			t.Fatal(err)
		}
		return page.Publications
	}
	if got := read(); len(got) != 1 || got[0].TTL != p.TTL {
		t.Fatalf("stored %+v", got)
	}
	natstest.Eventually(t, "expiry", func() bool { return len(read()) == 0 })
}

// TestLimits: beyond the limits the answer is an error at once, and there is room again later.
func TestLimits(t *testing.T) {
	r := solo(t, func(o *Options) { o.MaxInFlight, o.MaxInFlightBytes, o.Deadline = 10, 4000, 3*time.Second })
	// Nothing is acknowledged while its stream is gone.
	for shard := range 8 {
		if _, err := r.o.Client.Control().Request("$JS.API.STREAM.DELETE.FANFARE_HISTORY_"+fmt.Sprint(shard), nil, 5*time.Second); err != nil {
			t.Fatal(err)
		}
	}
	answers := make(chan error, 100)
	done := func(_ protocol.Receipt, err error) { answers <- err }
	begin := time.Now()
	for i := range 15 {
		r.Publish(r.publication("room", fmt.Sprint(i)), true, "", done)
	}
	for range 5 {
		if err := <-answers; !errors.Is(err, protocol.ErrOverloaded) {
			t.Errorf("beyond the number: %v", err)
		}
	}
	if time.Since(begin) > 2*time.Second { // and not for the others, which have three
		t.Error("Publish waited")
	}
	for range 10 {
		if err := <-answers; !errors.Is(err, protocol.ErrUnknownOutcome) && !errors.Is(err, protocol.ErrUnavailable) {
			t.Errorf("deadline: %v", err)
		}
	}
	big := r.publication("room", "big")
	big.Frame = make([]byte, 5000)
	r.Publish(big, true, "", done)
	if err := <-answers; !errors.Is(err, protocol.ErrOverloaded) {
		t.Errorf("beyond the bytes: %v", err)
	}
	if n, bytes := r.sender.inFlight.Load(), r.sender.bytes.Load(); n != 0 || bytes != 0 {
		t.Errorf("%d publications and %d bytes are still counted", n, bytes)
	}
	if err := r.store.Ensure(t.Context()); err != nil {
		t.Fatal(err)
	}
	r.mustPublish("room", "after", true)
	if err := r.Flush(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestTooLarge(t *testing.T) {
	r := solo(t)
	p := r.publication("room", "1")
	p.Frame = make([]byte, natsd.MaxPayload+1)
	var answer *protocol.Error
	if _, err := r.wait(func(done func(protocol.Receipt, error)) { r.Publish(p, true, "", done) }); !errors.As(err, &answer) || answer.Code != protocol.CodeTooLarge {
		t.Errorf("got %v", err)
	}
}

func TestParseAck(t *testing.T) {
	for text, want := range map[string]pubAck{
		`{"stream":"FANFARE_HISTORY_1","seq":12}`:                                        {Seq: 12},
		`{"stream":"FANFARE_HISTORY_1","seq":12,"duplicate": true}`:                      {Seq: 12, Duplicate: true},
		`{"stream":"FANFARE_HISTORY_1","domain":"x","seq":18446744073709551615}`:         {Seq: 1<<64 - 1},
		`{"stream":"FANFARE_HISTORY_1", "seq":12, "duplicate":false, "batch":"x,seq:1"}`: {Seq: 12},
	} {
		if got, err := parseAck([]byte(text)); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	a, err := parseAck([]byte(`{"error":{"code":503,"err_code":10008,"description":"x \"seq\":1}"},"stream":"FANFARE_HISTORY_1","seq":0}`))
	if err != nil || a.Error == nil || a.Error.ErrCode != 10008 {
		t.Errorf("%+v, %v", a, err)
	}
	for _, bad := range []string{"", "{", `{"stream":"FANFARE_HISTORY_1","seq":x}`} {
		if _, err := parseAck([]byte(bad)); err == nil {
			t.Errorf("%q is an acknowledgement", bad)
		}
	}
}

func FuzzParseAck(f *testing.F) {
	f.Add([]byte(`{"stream":"FANFARE_HISTORY_1","seq":12}`))
	f.Add([]byte(`{"error":{"code":503},"stream":"FANFARE_HISTORY_1","seq":0}`))
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = parseAck(b) })
}

func historyRange() history.Range { return history.Range{Authenticated: true} }

// TestLanes: one session's publications are stored in the order of Publish, whatever the others do.
func TestLanes(t *testing.T) {
	r := solo(t)
	const lanes, each = 20, 50
	var group sync.WaitGroup
	for i := range each {
		for lane := range lanes {
			group.Add(1)
			p := r.publication(protocol.Channel(fmt.Sprintf("room%d", lane%3)), fmt.Sprintf("%d:%d", lane, i))
			p.Sender = protocol.SessionID(fmt.Sprintf("lane%d", lane))
			r.Publish(p, true, p.Sender, func(_ protocol.Receipt, err error) {
				if err != nil {
					t.Error(err)
				}
				group.Done()
			})
		}
	}
	group.Wait()
	checkLanes(t, r, []protocol.Channel{"room0", "room1", "room2"}, lanes*each)
}

// read gives what is kept of a channel; the connection may be just coming back.
func (r *rig) read(c protocol.Channel) (page history.Page) {
	r.t.Helper()
	natstest.Eventually(r.t, "the history of "+string(c), func() bool {
		var err error
		page, err = r.store.Read(r.t.Context(), topic(c), historyRange())
		return err == nil
	})
	return page
}

// checkLanes reads channels whose ids are lane:number, and wants each lane's numbers to grow.
func checkLanes(t *testing.T, r *rig, channels []protocol.Channel, total int) {
	t.Helper()
	var n int
	seen := map[string]bool{}
	for _, c := range channels {
		page := r.read(c)
		next := map[protocol.SessionID]int{}
		for _, p := range page.Publications {
			n++
			var lane, i int
			if _, err := fmt.Sscanf(p.ID, "%d:%d", &lane, &i); err != nil {
				t.Fatal(err)
			}
			if i < next[p.Sender] {
				t.Errorf("%s: %s after %d", c, p.ID, next[p.Sender])
			}
			if seen[p.ID] {
				t.Errorf("%s is stored twice", p.ID)
			}
			seen[p.ID] = true
			next[p.Sender] = i
		}
	}
	if n != total {
		t.Errorf("%d stored, want %d", n, total)
	}
}

package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"strconv"
	"time"

	"github.com/nats-io/nats.go"

	"fanfare/protocol"
)

const (
	headerExpectSubject = "Nats-Expected-Last-Subject-Sequence"
	errWrongSequence    = 10071
	errWrongSequence2   = 10164 // the same, newer
)

// card is what a gateway says about itself: in its lease and in its heartbeats.
type card struct {
	Addr    string `json:"addr,omitempty"`
	Started int64  `json:"started"` // Unix milliseconds
	// Going: it drains. Gone: it has ended in order; only entries left with grace are still to be shown.
	Going bool `json:"going,omitempty"`
	Gone  bool `json:"gone,omitempty"`
}

func (d *Directory) card() card {
	return card{Addr: d.o.Addr, Started: d.started.UnixMilli(), Going: d.going.Load()}
}

// lease is the gateway's right to write entries, under one generation's token. A refresh is a compare and set on
// the sequence of the one before, so that it can only succeed while the lease has not run out.
type lease struct {
	gw  string
	seq uint64
}

// runLease holds a lease until ctx ends or the directory has drained. A lost lease is followed by the next
// generation, under which all entries are written again.
func (d *Directory) runLease(ctx context.Context) error {
	for generation := uint64(1); ; generation++ {
		l, err := d.acquire(ctx, generation)
		if errors.Is(err, errLost) {
			continue
		}
		if err != nil {
			return ignoreDone(ctx, err)
		}
		err = d.holdLease(ctx, l)
		if !errors.Is(err, errLost) {
			return ignoreDone(ctx, err)
		}
		d.metrics.lost.Inc()
		d.o.Logger.Warn("presence lease lost, going on under a new generation", "node", d.o.Node, "gateway", l.gw)
	}
}

// acquire creates the lease of a generation. errLost: the token is taken.
func (d *Directory) acquire(ctx context.Context, generation uint64) (*lease, error) {
	l := &lease{gw: gateway(d.o.Node, generation)}
	for {
		err := d.refresh(ctx, l, d.card(), d.o.Lease)
		if err == nil || errors.Is(err, errLost) {
			return l, err
		}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		d.o.Logger.Debug("presence lease not granted", "gateway", l.gw, "err", err)
		if err := wait(ctx, d.retryRefresh()); err != nil {
			return nil, err
		}
	}
}

// holdLease publishes the lease, keeps it, and gives it up when the directory drains.
func (d *Directory) holdLease(ctx context.Context, l *lease) error {
	ping, err := d.o.Conn.Subscribe(pingSubject(l.gw), func(m *nats.Msg) { _ = m.Respond(nil) })
	if err != nil {
		return fmt.Errorf("presence ping: %w", err)
	}
	defer func() { _ = ping.Unsubscribe() }()
	former := d.enter(l.gw)
	defer d.leave()
	if former != "" {
		stop := d.retire(ctx, former)
		defer stop()
	}
	next := d.o.Refresh
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case drained := <-d.drainLease:
			err := d.giveUp(ctx, l, drained.grace)
			drained.done <- err
			if err == nil {
				return nil
			}
			continue
		case <-d.checkLease:
		case <-time.After(next):
		}
		err := d.refresh(ctx, l, d.card(), d.o.Lease)
		switch {
		case err == nil:
			next = d.o.Refresh
			d.roster.wakeWriter()
		case errors.Is(err, errLost):
			return err
		default:
			d.metrics.renewErrors.Inc()
			next = d.retryRefresh()
		}
	}
}

// refresh writes the lease once. errLost says that it is not ours any more.
func (d *Directory) refresh(ctx context.Context, l *lease, c card, life time.Duration) error {
	body, err := json.Marshal(c)
	if err != nil {
		return fmt.Errorf("lease: %w", err)
	}
	for try := 0; ; try++ {
		m := &nats.Msg{Subject: leasePrefix + l.gw, Data: body, Header: nats.Header{
			headerTTL:           {ttl(life)},
			headerExpectSubject: {strconv.FormatUint(l.seq, 10)},
		}}
		at := time.Now()
		seq, err := d.request(ctx, m, min(d.o.AckTimeout, d.o.Lease/4))
		if err == nil {
			l.seq = seq
			d.leaseSeq.Store(seq)
			d.validUntil.Store(at.Add(life - life/10).UnixNano())
			d.metrics.renewals.Inc()
			return nil
		}
		var api *apiError
		if !errors.As(err, &api) || api.ErrCode != errWrongSequence && api.ErrCode != errWrongSequence2 {
			return err
		}
		if try > 0 {
			return errLost
		}
		// The sequence has moved. Either the lease ran out, or an earlier refresh was stored whose answer was lost.
		rec, err := d.leaderGet(ctx, leaseStream, leasePrefix+l.gw)
		switch {
		case errors.Is(err, errNotFound):
			return errLost
		case err != nil:
			return err
		case rec.op != opPut || readCard(rec.value).Started != c.Started:
			return errLost
		}
		l.seq = rec.seq
	}
}

// giveUp replaces the lease by a note that the gateway has ended. The note outlives the grace, so that entries
// left with grace do not look like orphans.
func (d *Directory) giveUp(ctx context.Context, l *lease, grace time.Duration) error {
	c := d.card()
	c.Gone = true
	if err := d.refresh(ctx, l, c, grace+d.o.Tombstone); err != nil {
		return fmt.Errorf("give up lease: %w", err)
	}
	d.beat(l.gw, c)
	return nil
}

// enter starts to write under a token and returns the one before, if any.
func (d *Directory) enter(gw string) (former string) {
	d.gwMu.Lock()
	former, d.gw, d.lastGW = d.lastGW, gw, gw
	d.gwMu.Unlock()
	d.roster.setGateway(gw)
	d.roster.wakeWriter()
	d.heldOnce.Do(func() { close(d.held) })
	return former
}

// leave stops writing.
func (d *Directory) leave() {
	d.gwMu.Lock()
	d.gw = ""
	d.gwMu.Unlock()
	d.roster.setGateway("")
}

// retire removes what a former generation of ours wrote, once everything has been written anew.
func (d *Directory) retire(ctx context.Context, former string) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		if d.roster.settled(ctx) != nil {
			return
		}
		if c := d.card(); d.o.Conn.IsConnected() {
			c.Gone = true
			d.beat(former, c)
		}
		if err := d.purge(ctx, former, "fenced"); err != nil && ctx.Err() == nil {
			d.o.Logger.Warn("entries of a former generation not removed yet", "gateway", former, "err", err)
		}
	}()
	return func() { cancel(); <-done }
}

// current is the token we write under; empty without a lease.
func (d *Directory) current() string {
	d.gwMu.Lock()
	defer d.gwMu.Unlock()
	return d.gw
}

// mayWrite tells whether entries written now would be ours to write.
func (d *Directory) mayWrite(now time.Time) bool {
	return d.o.Conn.IsConnected() && now.UnixNano() < d.validUntil.Load()
}

// runHeartbeat says that we live.
func (d *Directory) runHeartbeat(ctx context.Context) error {
	t := time.NewTicker(d.o.Heartbeat)
	defer t.Stop()
	for {
		if gw := d.current(); gw != "" && d.o.Conn.IsConnected() {
			d.beat(gw, d.card())
		}
		select {
		case <-ctx.Done():
			return nil
		case <-d.beatNow:
		case <-t.C:
		}
	}
}

func (d *Directory) beat(gw string, c card) {
	body, err := json.Marshal(c)
	if err != nil {
		return
	}
	if err := d.o.Conn.Publish(beatPrefix+gw, body); err != nil {
		d.o.Logger.Debug("heartbeat not sent", "err", err)
	}
}

func readCard(b []byte) (c card) {
	if json.Unmarshal(b, &c) != nil {
		return card{}
	}
	return c
}

// retryRefresh is the jittered pause after a failed refresh.
func (d *Directory) retryRefresh() time.Duration {
	p := max(d.o.Refresh/10, 10*time.Millisecond)
	return p/2 + rand.N(p)
}

// request publishes to a stream and waits for its acknowledgement.
func (d *Directory) request(ctx context.Context, m *nats.Msg, timeout time.Duration) (uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	r, err := d.o.Conn.RequestMsgWithContext(ctx, m)
	if err != nil {
		return 0, fmt.Errorf("publish %s: %w", m.Subject, err)
	}
	return parseAck(r.Data)
}

func ignoreDone(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}

// own tells whether a gateway token is one of ours, of any generation.
func (d *Directory) ours(gw string) bool {
	n, _, err := parseGateway(gw)
	return err == nil && n == protocol.NodeID(d.o.Node)
}

package bench

import (
	"context"
	"time"
)

// idle is sockets that have joined and say nothing: what they cost in memory, and in CPU while nothing happens.
func (r *run) idle(ctx context.Context) error {
	connect, before, err := r.arrive(ctx, nil)
	if err != nil {
		return err
	}
	r.result.Connect = connect
	if err := r.rest(ctx, max(r.o.Settle, time.Second)); err != nil {
		return err
	}
	p, err := r.begin(ctx)
	if err != nil {
		return err
	}
	if err := r.rest(ctx, r.o.Duration); err != nil {
		return err
	}
	if err := r.end(ctx, p, 0); err != nil {
		return err
	}
	after, err := r.look(ctx)
	if err == nil && after != nil {
		per := func(before, after float64) float64 { return round((after-before)/1024/float64(len(r.conns)), 2) }
		s := r.result.Server
		s.KiBPerSocket, s.HeapPerSocket, s.StackPer = per(before.rss, after.rss), per(before.heap, after.heap), per(before.stack, after.stack)
	}
	return err
}

// storm is everybody at once: all connect, all are cut, all come back.
func (r *run) storm(ctx context.Context) error {
	connect, _, err := r.arrive(ctx, nil)
	if err != nil {
		return err
	}
	r.result.Connect, r.result.Rate = connect, r.o.Rate
	p, err := r.begin(ctx)
	if err != nil {
		return err
	}
	for _, c := range r.conns {
		_ = c.nc.Close()
	}
	again, _, err := r.arrive(ctx, p.server)
	if err != nil {
		return err
	}
	r.result.Reconnect = again
	return r.end(ctx, p, 0)
}

// arrive opens all connections. before is what the server used until then; nil = look.
func (r *run) arrive(ctx context.Context, before *sample) (*Connect, *sample, error) {
	var err error
	if before == nil {
		if before, err = r.look(ctx); err != nil {
			return nil, nil, err
		}
	}
	rate := r.o.ConnectRate
	if r.o.Scenario == Storm {
		rate = r.o.Rate
	}
	connect, err := r.launch(ctx, fleet{n: len(r.conns), rate: rate, parallel: r.o.Parallel, ask: plainJoin, handle: silent})
	if err != nil {
		return nil, nil, err
	}
	after, err := r.look(ctx)
	if err == nil && after != nil {
		connect.CPU = round((after.cpu-before.cpu)/float64(connect.Sockets)*1e6, 1)
	}
	return connect, before, err
}

// rest waits.
func (r *run) rest(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

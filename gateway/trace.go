package gateway

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"fanfare/internal/tracing"
	"fanfare/protocol"
)

// traced is a sampled publication in a batch.
type traced struct {
	publication *protocol.Publication
	trace       string
	index       int       // in batch.accepted
	arrived     time.Time // in the batch
}

// sampleLocked notes a sampled publication that was just appended.
func (t *topic) sampleLocked(now time.Time, p *protocol.Publication) {
	if trace := t.hub.gw.opts.Tracer.Sample(p); trace != "" {
		t.batch.traced = append(t.batch.traced, traced{p, trace, len(t.batch.accepted) - 1, now})
	}
}

// traceFlush records that the sampled publications of a batch were written to so many members. started is when the
// flush began.
func (g *Gateway) traceFlush(b *batch, started time.Time, members int) {
	now := time.Now()
	for i := range b.traced {
		one := &b.traced[i]
		g.opts.Tracer.Record(one.publication, tracing.Span{Name: "deliver", Begin: one.arrived, End: now, Numbers: []tracing.Number{
			{Key: "fanfare.members", Value: int64(members)},
			{Key: "fanfare.batch.publications", Value: int64(len(b.accepted))},
			{Key: "fanfare.batch.bytes", Value: int64(len(b.buf))},
			{Key: "fanfare.queue_us", Value: max(0, started.Sub(one.arrived).Microseconds())},
		}})
	}
}

// exemplar is what leads from a latency to the trace.
func (t *traced) exemplar() prometheus.Labels { return prometheus.Labels{"trace_id": t.trace} }

// tracePublish gives done the recording of how a sampled publication was accepted and stored; of any other it gives done
// back. asked is when triggers were asked, zero when there are none; handed when the publication goes to the broker.
func (g *Gateway) tracePublish(p *protocol.Publication, asked, handed time.Time, done func(protocol.Receipt, error)) func(protocol.Receipt, error) {
	tracer := g.opts.Tracer
	if tracer == nil || tracer.Sample(p) == "" {
		return done
	}
	return func(r protocol.Receipt, err error) {
		now := time.Now()
		failed := ""
		if err != nil {
			failed = string(clientError(err).Code)
		}
		source := "message"
		if p.Kind == protocol.KindEvent {
			source = "event"
		}
		tracer.Record(p, tracing.Span{
			Name: "publish", Begin: p.Accepted, End: now, Root: true, Failed: failed,
			Texts:   [][2]string{{"fanfare.kind", source}, {"fanfare.id", p.ID}},
			Numbers: []tracing.Number{{Key: "fanfare.server", Value: int64(p.Server)}, {Key: "fanfare.frame.bytes", Value: int64(len(p.Frame))}},
		})
		if !asked.IsZero() {
			tracer.Record(p, tracing.Span{Name: "trigger", Begin: asked, End: handed})
		}
		name := "hand over"
		if r.Position.Offset > 0 {
			name = "store"
		}
		tracer.Record(p, tracing.Span{Name: name, Begin: handed, End: now, Failed: failed})
		done(r, err)
	}
}

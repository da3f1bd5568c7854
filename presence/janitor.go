package presence

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/rand/v2"
	"strings"
	"time"

	"fanfare/internal/subject"
	"fanfare/protocol"
)

// recent is how far back acknowledged writes are repeated after a reconnect: a broker that crashed may have lost
// what it had not synced.
const recent = 15 * time.Second

// runJanitor removes the entries of gateways that are over. Nobody depends on it to be right: every gateway drops
// what it knows by itself. It keeps the bucket small and the orphans out of Snapshot.
func (d *Directory) runJanitor(ctx context.Context) error {
	// The first sweep finds what was left by gateways that nobody saw end.
	sweep := time.NewTimer(d.o.Lease + d.o.Hold)
	defer sweep.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case gw := <-d.toPurge:
			if err := d.purge(ctx, gw, "lease"); err != nil && ctx.Err() == nil {
				d.o.Logger.Warn("entries of a gateway not removed yet", "gateway", gw, "err", err)
			}
		case <-sweep.C:
			sweep.Reset(d.o.Sweep*3/4 + rand.N(d.o.Sweep/2))
			if !d.janitor.Load() {
				continue
			}
			if err := d.sweep(ctx); err != nil && ctx.Err() == nil {
				d.o.Logger.Warn("sweep for orphans not finished", "err", err)
			}
		}
	}
}

// purgeSoon hands a gateway to the janitor; when too many wait, the sweep will find it.
func (d *Directory) purgeSoon(gw string) {
	if gw == d.current() {
		return
	}
	select {
	case d.toPurge <- gw:
	default:
	}
}

// purge removes all entries of a gateway token. A filter cannot say "any number of tokens", so there is one for
// each depth a channel can have. It tries again until ctx ends or the broker has been silent for a minute.
func (d *Directory) purge(ctx context.Context, gw, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	removed := uint64(0)
	for shard := range d.o.Shards {
		for depth := 1; depth <= d.o.MaxSegments; depth++ {
			n, err := d.purgeFilter(ctx, stream(shard), bucketPrefix(shard)+subject.PresenceKeysOf(protocol.NodeID(gw), depth))
			if err != nil {
				return err
			}
			removed += n
		}
	}
	if removed > 0 {
		d.metrics.purged.WithLabelValues(reason).Inc()
		d.o.Logger.Info("entries of a gateway removed", "gateway", gw, "entries", removed, "reason", reason)
	}
	return nil
}

// purgeFilter removes what a filter matches; "" is everything.
func (d *Directory) purgeFilter(ctx context.Context, stream, filter string) (uint64, error) {
	body, err := json.Marshal(struct {
		Filter string `json:"filter,omitempty"`
	}{filter})
	if err != nil {
		return 0, fmt.Errorf("purge %s: %w", stream, err)
	}
	for pause := retryFirst; ; pause = min(2*pause, retryMost) {
		var r struct {
			Purged uint64    `json:"purged"`
			Error  *apiError `json:"error"`
		}
		err := d.api(ctx, "STREAM.PURGE."+stream, body, &r)
		switch {
		case err == nil && r.Error == nil:
			return r.Purged, nil
		case err == nil && r.Error.Code == 404:
			return 0, nil
		case err == nil && r.Error.Code == 400:
			return 0, fmt.Errorf("purge %s: %w", stream, r.Error)
		case err == nil:
			err = r.Error
		}
		if wait(ctx, pause) != nil {
			return 0, fmt.Errorf("purge %s: %w", stream, err)
		}
	}
}

// purgeAll empties the buckets: nobody else lives, so everything in them is of an earlier run.
func (d *Directory) purgeAll(ctx context.Context) error {
	for _, c := range d.configs() {
		if _, err := d.purgeFilter(ctx, c.Name, ""); err != nil {
			return err
		}
	}
	return nil
}

// api asks the broker.
func (d *Directory) api(ctx context.Context, verb string, body []byte, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 2*readTimeout)
	defer cancel()
	m, err := d.o.Conn.RequestWithContext(ctx, "$JS.API."+verb, body)
	if err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	if err := json.Unmarshal(m.Data, into); err != nil {
		return fmt.Errorf("%s: %w", verb, err)
	}
	return nil
}

// streamInfo is what we need of the broker's answer.
type streamInfo struct {
	Total   int       `json:"total"`
	Offset  int       `json:"offset"`
	Limit   int       `json:"limit"`
	Error   *apiError `json:"error"`
	Created time.Time `json:"created"`
	State   struct {
		LastSeq  uint64            `json:"last_seq"`
		Subjects map[string]uint64 `json:"subjects"`
	} `json:"state"`
}

// sweep removes the entries of gateways without a lease. A gateway writes entries only while it holds its lease,
// so one whose entries stand in a list, and whose lease the leader does not have afterwards, is over.
func (d *Directory) sweep(ctx context.Context) error {
	seen := make(map[string]bool)
	for shard := range d.o.Shards {
		for offset := 0; ; {
			body, err := json.Marshal(map[string]any{"subjects_filter": bucketPrefix(shard) + ">", "offset": offset})
			if err != nil {
				return fmt.Errorf("sweep: %w", err)
			}
			var info streamInfo
			if err := d.api(ctx, "STREAM.INFO."+stream(shard), body, &info); err != nil {
				return err
			}
			if info.Error != nil {
				return fmt.Errorf("sweep: %w", info.Error)
			}
			for s := range info.State.Subjects {
				if i := strings.Index(s, end); i > 0 {
					if gw, _, err := parseTail(s[i+len(end):]); err == nil {
						seen[gw] = true
					}
				}
			}
			offset += len(info.State.Subjects)
			if len(info.State.Subjects) == 0 || offset >= info.Total {
				break
			}
		}
	}
	for gw := range seen {
		if d.ours(gw) {
			if gw == d.current() {
				continue
			}
		} else if r, err := d.leaderGet(ctx, leaseStream, leasePrefix+gw); err == nil && r.op == opPut {
			continue
		} else if err != nil && !errors.Is(err, errNotFound) {
			return err
		}
		if err := d.purge(ctx, gw, "orphan"); err != nil {
			return err
		}
	}
	return nil
}

// verify finds out whether the buckets still have what was acknowledged. Everything is written again when a
// bucket was lost or went back, and with a lostAt what was acknowledged shortly before in any case.
func (d *Directory) verify(ctx context.Context, lostAt time.Time) {
	for shard := range d.o.Shards {
		since := int64(math.MaxInt64)
		if !lostAt.IsZero() {
			since = lostAt.Add(-recent).UnixNano()
		}
		before := d.acked[shard].Load()
		var info streamInfo
		err := d.api(ctx, "STREAM.INFO."+stream(shard), nil, &info)
		switch {
		case err != nil:
			d.o.Logger.Debug("presence bucket not verified", "stream", stream(shard), "err", err)
		case info.Error != nil && info.Error.Code == 404:
			limit, cancel := context.WithTimeout(ctx, 10*time.Second)
			err := d.Ensure(limit)
			cancel()
			d.o.Logger.Warn("presence bucket was gone", "stream", stream(shard), "err", err)
			since = 0
		case info.Error == nil && info.State.LastSeq < before:
			d.o.Logger.Warn("presence bucket went back", "stream", stream(shard), "sequence", info.State.LastSeq, "acknowledged", before)
			since = 0
		}
		if since == 0 {
			d.acked[shard].Store(0)
		}
		if n := d.roster.rewrite(shard, since); n > 0 {
			d.o.Logger.Info("presence entries are written again", "stream", stream(shard), "entries", n)
		}
	}
}

package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanfare/internal/policy"
	"fanfare/internal/settings"
	"fanfare/protocol"
)

// demoSettings gives a fresh `fanfare dev` a realtime server to try things on. Settings that somebody has
// touched stay as they are.
func (n *Node) demoSettings(ctx context.Context) error {
	if err := n.settings.Load(ctx); err != nil {
		return fmt.Errorf("settings: %w", err)
	}
	if n.settings.Current().ByHash("demo") != nil {
		return nil
	}
	rule := func(pattern string, wildcard bool) policy.Rule {
		return policy.Rule{
			Pattern: pattern, Wildcard: wildcard, Description: "Demo: everybody may do everything", Enabled: true,
			AnonymousClients: true, Presence: true, ClientPublicMessaging: true, ClientPrivateMessaging: true,
			History: 100, PatternJoin: policy.PatternJoinAnyone,
		}
	}
	fill := func() error {
		_, err := n.settings.Update(ctx, 1, 0, func(s *policy.Server) error {
			if s.Enabled || len(s.Channels) > 0 {
				return nil
			}
			s.Name, s.Enabled, s.Hash = "Demo", true, "demo"
			s.Channels = []policy.Rule{rule("room1", false), rule("chat", true)}
			return nil
		})
		return err
	}
	err := fill()
	// A replica of a cluster's bucket that has just been made may not have server 1 yet.
	for try := 0; errors.Is(err, settings.ErrNotFound) && try < 20; try++ {
		select {
		case <-ctx.Done():
			return fmt.Errorf("demo settings: %w", context.Cause(ctx))
		case <-time.After(100 * time.Millisecond):
		}
		if err = n.settings.Load(ctx); err == nil {
			err = fill()
		}
	}
	if errors.Is(err, settings.ErrNotFound) { // somebody has removed it: that stays so
		n.log.Info("there is no realtime server 1, so no demo")
		return nil
	}
	if err != nil {
		return fmt.Errorf("demo settings: %w", err)
	}
	return nil
}

// purgeTimeout bounds the clearing of histories after a change of settings.
const purgeTimeout = 30 * time.Second

// change is one change of the settings.
type change struct{ old, now *policy.Book }

// maxChanges is how many changes may wait for their histories to be cleared; the next one waits with them.
const maxChanges = 256

// clearHistories does the slow part of changes, so that the next one is in force without waiting for it.
func (n *Node) clearHistories(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case c := <-n.changes:
			n.purgeForgotten(ctx, c.old, c.now)
		}
	}
}

// purgeForgotten clears the history of channels that began or ceased to be kept (xano-realtime.md 12.16). Every
// gateway does it; doing it twice, or late, does no harm: what was stored since is left alone.
func (n *Node) purgeForgotten(ctx context.Context, old, now *policy.Book) {
	for _, was := range old.Servers() {
		is := now.ByID(was.ID)
		for _, target := range is.Changes(was) {
			purge, cancel := context.WithTimeout(ctx, purgeTimeout)
			err := n.history.PurgeIf(purge, protocol.Topic{Server: was.ID, Channel: target}, func(c protocol.Channel) (time.Time, bool) {
				return is.Forgotten(was, c)
			})
			cancel()
			if err != nil {
				n.log.Error("history that is not kept any more cannot be cleared", "channel", target, "err", err)
			}
		}
	}
}

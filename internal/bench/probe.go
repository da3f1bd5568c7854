package bench

import (
	"context"
	"errors"
	"fmt"
	"time"

	"fanfare/protocol"
)

// probe does with one socket what the scenario does with all: what the rule forbids is said in one sentence, before
// thousands of sockets run into it.
func (r *run) probe(ctx context.Context) error {
	ask := plainJoin
	if r.o.Scenario == Presence {
		ask = watchJoin
	}
	answers := make(chan error, 4)
	tell := func(err error) {
		select {
		case answers <- err:
		default:
		}
	}
	channel := r.o.channel(0)
	c, err := r.try(ctx, fleet{ask: ask, handle: func(_ *conn, k kind, frame []byte, _ time.Duration) {
		switch k {
		case kindAck, kindPresenceFull:
			tell(nil)
		case kindError:
			tell(readError(frame))
		default:
		}
	}}, -1)
	if err != nil {
		if len(answers) > 0 { // of the token, ahead of the join's answer
			if e := <-answers; e != nil {
				return e
			}
		}
		return err
	}
	defer r.cut([]*conn{c})
	if r.o.Scenario == History && !c.answer.history {
		return &RuleError{channel, codeHistory, "The channel keeps no history."}
	}
	request := ""
	switch {
	case r.o.Scenario == Presence:
		request = fmt.Sprintf(`{"action":"presence_update","options":{"channel":%q},"payload":{"data":null}}`, channel)
	case r.o.sends() && r.o.APIKey != "":
		if code := r.post(ctx, r.o.URLs[0]+"/api/v1/"+r.o.Hash+"/events", fmt.Appendf(nil, `{"channel":%q,"data":"fanfare bench"}`, channel)); code != "" {
			return fmt.Errorf("publishing with the API key was answered %s", code)
		}
		return nil
	case r.o.sends():
		request = fmt.Sprintf(`{"action":"message","options":{"channel":%q,"ref":"probe"},"payload":"fanfare bench"}`, channel)
	default:
		return nil
	}
	if err := c.write(opText, []byte(request)); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	timer := time.NewTimer(protocol.PublishDeadline + time.Second)
	defer timer.Stop()
	for {
		select {
		case err := <-answers:
			return err
		case <-c.ended:
			return c.err
		case <-timer.C:
			return errors.New("the server did not answer a first message")
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

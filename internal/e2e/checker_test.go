package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// story is a run without faults: ten messages, two subscribers of which one saw some twice after a resume.
func story() (c *Checker, history map[string][]Entry, messages []Entry) {
	c = NewChecker()
	c.Subscribe("anna", "room")
	c.Subscribe("bert", "room")
	for i := range 10 {
		messages = append(messages, Entry{Key: fmt.Sprint("key", i), ID: fmt.Sprint("id", i), Offset: uint64(10 + 8*i)})
	}
	return c, map[string][]Entry{"room": slices.Clone(messages)}, messages
}

func tell(c *Checker, subscriber string, messages ...Entry) {
	for _, e := range messages {
		c.Deliver(subscriber, "room", e)
	}
}

func ack(c *Checker, messages ...Entry) {
	for _, e := range messages {
		c.Ack("room", e)
	}
}

func expect(t *testing.T, problems []string, words string) {
	t.Helper()
	if words == "" {
		for _, p := range problems {
			t.Error(p)
		}
		return
	}
	if !strings.Contains(strings.Join(problems, "\n"), words) {
		t.Errorf("not found: %q in %q", words, problems)
	}
}

func TestCheckerAcceptsWhatIsRight(t *testing.T) {
	c, history, m := story()
	tell(c, "anna", m...)
	tell(c, "bert", m[:5]...)
	tell(c, "bert", m[3:]...)            // resumed: two came again
	ack(c, m[0], m[1], m[2], m[4], m[9]) // the outcome of others was unknown to their senders
	expect(t, c.Messages(history), "")
	expect(t, c.Messages(map[string][]Entry{"room": m[4:]}), "")               // trimmed
	if n := c.Counts(); n.Acked != 5 || n.Delivered != 22 || n.Repeated != 4 { // Messages was asked twice
		t.Errorf("%+v", n)
	}
}

// TestCheckerCatches plants one fault each.
func TestCheckerCatches(t *testing.T) {
	for _, test := range []struct {
		name, words string
		plant       func(c *Checker, history map[string][]Entry, m []Entry)
	}{
		{"dropped", "anna: key6 (id6, offset 58) was acknowledged and is missing", func(c *Checker, _ map[string][]Entry, m []Entry) {
			ack(c, m...)
			tell(c, "anna", slices.Delete(slices.Clone(m), 6, 7)...)
			tell(c, "bert", m...)
		}},
		{"dropped without acknowledgement", "anna: has {key7 id7 66} as number 6", func(c *Checker, _ map[string][]Entry, m []Entry) {
			tell(c, "anna", slices.Delete(slices.Clone(m), 6, 7)...)
			tell(c, "bert", m...)
		}},
		{"last dropped", "anna: has 9 messages, the order has 10", func(c *Checker, _ map[string][]Entry, m []Entry) {
			tell(c, "anna", m[:9]...)
			tell(c, "bert", m...)
		}},
		{"dropped everywhere", "was acknowledged and is missing", func(c *Checker, history map[string][]Entry, m []Entry) {
			ack(c, m...)
			gone := slices.Delete(slices.Clone(m), 2, 3)
			tell(c, "anna", gone...)
			tell(c, "bert", gone...)
			history["room"] = gone
		}},
		{"doubled", "stored twice", func(c *Checker, _ map[string][]Entry, m []Entry) {
			twice := m[4]
			twice.ID, twice.Offset = "other", 500
			tell(c, "anna", append(slices.Clone(m), twice)...)
			tell(c, "bert", append(slices.Clone(m), twice)...)
		}},
		{"swapped", "anna: has {key4 id4 42} as number 3", func(c *Checker, _ map[string][]Entry, m []Entry) {
			swapped := slices.Clone(m)
			swapped[3], swapped[4] = swapped[4], swapped[3]
			tell(c, "anna", swapped...)
			tell(c, "bert", m...)
		}},
		{"swapped in offsets too", "where others have", func(c *Checker, _ map[string][]Entry, m []Entry) {
			swapped := slices.Clone(m)
			swapped[3].Offset, swapped[4].Offset = swapped[4].Offset, swapped[3].Offset
			swapped[3], swapped[4] = swapped[4], swapped[3]
			tell(c, "anna", swapped...)
			tell(c, "bert", m...)
		}},
		{"history misses one", "history: has", func(c *Checker, history map[string][]Entry, m []Entry) {
			ack(c, m...)
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			history["room"] = slices.Delete(slices.Clone(m), 6, 7)
		}},
		{"history swapped", "history has", func(c *Checker, history map[string][]Entry, m []Entry) {
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			history["room"][1], history["room"][2] = history["room"][2], history["room"][1]
		}},
		{"history empty", "history is empty", func(c *Checker, history map[string][]Entry, m []Entry) {
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			delete(history, "room")
		}},
		{"refused, and there all the same", "had not been sent", func(c *Checker, _ map[string][]Entry, m []Entry) {
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			c.Refused("room", "key5")
		}},
		{"unstored swapped", "number 3 of carl behind number 4", func(c *Checker, _ map[string][]Entry, m []Entry) {
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			for _, n := range []int{1, 2, 4, 3} {
				c.Unstored("anna", "live", "carl", n)
			}
		}},
		{"unstored doubled", "number 2 of carl behind number 2", func(c *Checker, _ map[string][]Entry, m []Entry) {
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			for _, n := range []int{1, 2, 2} {
				c.Unstored("anna", "live", "carl", n)
			}
		}},
		{"acknowledged as another", "where others have", func(c *Checker, _ map[string][]Entry, m []Entry) {
			tell(c, "anna", m...)
			tell(c, "bert", m...)
			ack(c, Entry{Key: m[0].Key, ID: m[0].ID, Offset: m[1].Offset})
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, history, m := story()
			test.plant(c, history, m)
			expect(t, c.Messages(history), test.words)
		})
	}
}

func TestCheckerPresence(t *testing.T) {
	really := map[string]string{"s1": "anna", "s2": "bert"}
	c := NewChecker()
	c.Full("anna", "room", map[string]string{"s1": "anna"})
	c.Join("anna", "room", "s2", "bert")
	expect(t, c.Presence("room", []string{"anna"}, really), "")
	expect(t, c.Messages(nil), "")
	c.Join("anna", "room", "s3", "carl")
	expect(t, c.Presence("room", []string{"anna"}, really), "s3 (carl) is a ghost")
	c.Leave("anna", "room", "s3")
	c.Leave("anna", "room", "s2")
	expect(t, c.Presence("room", []string{"anna"}, really), "s2 (bert) is not seen")
	expect(t, c.Presence("room", []string{"bert"}, really), "no list")
	c.Leave("anna", "room", "s2")
	expect(t, c.Messages(nil), "left without being there")
	c.Join("anna", "room", "s1", "anna")
	expect(t, c.Messages(nil), "joined twice")
	c.Lost("anna", "room")
	c.Join("anna", "room", "s1", "anna")
	expect(t, c.Messages(nil), "before there was a list")
}

// TestCheckerVanished: who comes back as the same user before the old socket leaves was never away.
func TestCheckerVanished(t *testing.T) {
	c := NewChecker()
	c.Full("anna", "room", map[string]string{"s1": "bert", "s2": "carl", "s3": ""})
	c.Join("anna", "room", "s4", "bert")
	c.Leave("anna", "room", "s1")
	c.Leave("anna", "room", "s3") // nobody knows who that was
	if v := c.Vanished(); len(v) > 0 {
		t.Errorf("vanished: %v", v)
	}
	c.Leave("anna", "room", "s2")
	c.Join("anna", "room", "s5", "carl")
	if v := c.Vanished(); !slices.Equal(v, []string{"carl"}) {
		t.Errorf("vanished: %v", v)
	}
	if m := c.Moves("anna"); m != (Moves{Joins: 2, Leaves: 3}) {
		t.Errorf("%+v", m)
	}
}

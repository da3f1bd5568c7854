package e2e

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Change is a lifecycle event as a back end reads it.
type Change struct {
	Cursor   string `json:"cursor"`
	Type     string `json:"type"`
	Channel  string `json:"channel"`
	Reason   string `json:"reason"`
	Repeated bool   `json:"repeated"`
	Gateway  string `json:"gateway"`
	Client   struct {
		SocketID string `json:"socketId"`
	} `json:"client"`
}

// Picture is what a back end knows that keeps a set by the lifecycle events from their start. It is used by one
// goroutine.
type Picture struct {
	Cursor  string         // of the last event
	Reasons map[string]int // why there were leaves; (lost) counts the events that tell of others missing

	sockets  map[string]bool
	members  map[string]map[string]bool // channel → socket
	occupied map[string]bool
	wrong    []string
}

// NewPicture makes one that has read nothing.
func NewPicture() *Picture {
	return &Picture{
		Reasons: map[string]int{}, sockets: map[string]bool{}, members: map[string]map[string]bool{}, occupied: map[string]bool{},
	}
}

// Take goes on by one event. What contradicts the events before is remembered.
func (p *Picture) Take(e Change) {
	p.Cursor = e.Cursor
	socket, members := e.Client.SocketID, p.members[e.Channel]
	enter := func(set map[string]bool, what, key string) {
		if set[key] && !e.Repeated {
			p.wrong = append(p.wrong, fmt.Sprintf("%s: second %s of %s %s", e.Cursor, e.Type, what, key))
		}
		set[key] = true
	}
	exit := func(set map[string]bool, what, key string) {
		if !set[key] {
			p.wrong = append(p.wrong, fmt.Sprintf("%s: %s of %s %s, who was not there", e.Cursor, e.Type, what, key))
		}
		delete(set, key)
	}
	switch e.Type {
	case "connect":
		enter(p.sockets, "socket", socket)
	case "disconnect":
		exit(p.sockets, "socket", socket)
	case "join":
		if members == nil {
			members = map[string]bool{}
			p.members[e.Channel] = members
		}
		enter(members, e.Channel, socket)
	case "leave":
		p.Reasons[e.Reason]++
		exit(members, e.Channel, socket)
		if len(members) == 0 {
			delete(p.members, e.Channel)
		}
	case "occupied":
		enter(p.occupied, "channel", e.Channel)
	case "vacated":
		exit(p.occupied, "channel", e.Channel)
	case "lost":
		p.Reasons["(lost)"]++
		theirs := func(socket string, _ bool) bool { return strings.HasPrefix(socket, e.Gateway) }
		maps.DeleteFunc(p.sockets, theirs)
		for channel, members := range p.members {
			if maps.DeleteFunc(members, theirs); len(members) == 0 {
				delete(p.members, channel)
			}
		}
	default:
		p.wrong = append(p.wrong, fmt.Sprintf("%s: unknown type %q", e.Cursor, e.Type))
	}
}

// Differs finds where the picture is not who is really there (channel → sockets), and what was wrong on the way.
func (p *Picture) Differs(really map[string][]string) []string {
	problems := slices.Clone(p.wrong)
	sockets := map[string]bool{}
	there := map[string]map[string]bool{}
	for channel, members := range really {
		there[channel] = map[string]bool{}
		for _, socket := range members {
			there[channel][socket], sockets[socket] = true, true
			if !p.members[channel][socket] {
				problems = append(problems, fmt.Sprintf("%s: %s is there and not in the record", channel, socket))
			}
			if !p.sockets[socket] {
				problems = append(problems, fmt.Sprintf("socket %s is there and not in the record", socket))
			}
		}
		if len(members) > 0 && !p.occupied[channel] {
			problems = append(problems, channel+" is occupied and not so in the record")
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(p.members)) {
		for _, socket := range slices.Sorted(maps.Keys(p.members[channel])) {
			if !there[channel][socket] {
				problems = append(problems, fmt.Sprintf("%s: %s is in the record and not there", channel, socket))
			}
		}
	}
	for _, channel := range slices.Sorted(maps.Keys(p.occupied)) {
		if len(there[channel]) == 0 {
			problems = append(problems, channel+" is occupied in the record and empty")
		}
	}
	for _, socket := range slices.Sorted(maps.Keys(p.sockets)) {
		if !sockets[socket] {
			problems = append(problems, fmt.Sprintf("socket %s is in the record and not there", socket))
		}
	}
	return problems
}

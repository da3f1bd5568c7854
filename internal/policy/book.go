package policy

import (
	"cmp"
	"fmt"
	"slices"

	"fanfare/protocol"
)

// Book is all realtime servers at one moment. It never changes; settings that change make a new one. The nil Book
// is empty.
type Book struct {
	// Revision grows with every Book of one source.
	Revision uint64

	servers []*Server // by ID
	byID    map[protocol.ServerID]*Server
	byHash  map[string]*Server
}

// NewBook collects compiled servers. Two with one number or one hash are an error.
func NewBook(revision uint64, servers []*Server) (*Book, error) {
	b := &Book{
		Revision: revision,
		servers:  slices.Clone(servers),
		byID:     make(map[protocol.ServerID]*Server, len(servers)),
		byHash:   make(map[string]*Server, len(servers)),
	}
	slices.SortFunc(b.servers, func(x, y *Server) int { return cmp.Compare(x.ID, y.ID) })
	for i, s := range b.servers {
		if b.byID[s.ID] != nil {
			return nil, &FieldError{Field: fmt.Sprintf("servers[%d].id", i), Problem: fmt.Sprintf("%d is used twice", s.ID)}
		}
		if o := b.byHash[s.Hash]; o != nil {
			return nil, &FieldError{Field: fmt.Sprintf("servers[%d].hash", i), Problem: fmt.Sprintf("is the hash of server %d already", o.ID)}
		}
		b.byID[s.ID], b.byHash[s.Hash] = s, s
	}
	return b, nil
}

// ByHash gives the server with a connection hash, or nil. It may be disabled.
func (b *Book) ByHash(hash string) *Server {
	if b == nil {
		return nil
	}
	return b.byHash[hash]
}

// ByID gives the server with a number, or nil. It may be disabled.
func (b *Book) ByID(id protocol.ServerID) *Server {
	if b == nil {
		return nil
	}
	return b.byID[id]
}

// Servers gives all servers in the order of their numbers. The slice must not be changed.
func (b *Book) Servers() []*Server {
	if b == nil {
		return nil
	}
	return b.servers
}

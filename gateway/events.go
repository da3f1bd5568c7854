package gateway

import (
	"time"

	"github.com/lxzan/gws"
)

// events are the callbacks of gws.
type events struct{ gws.BuiltinEventHandler }

// sessionRef is the session storage gws wants for each socket, reduced to the one thing we keep there.
type sessionRef struct{ session *Session }

func (*sessionRef) Len() int                     { return 1 }
func (*sessionRef) Load(string) (any, bool)      { return nil, false }
func (*sessionRef) Delete(string)                {}
func (*sessionRef) Store(string, any)            {}
func (*sessionRef) Range(func(string, any) bool) {}
func sessionOf(socket *gws.Conn) *Session        { return socket.Session().(*sessionRef).session }

func (*events) OnPing(socket *gws.Conn, p []byte)   { sessionOf(socket).hear(); _ = socket.WritePong(p) }
func (*events) OnPong(socket *gws.Conn, _ []byte)   { sessionOf(socket).hear() }
func (*events) OnClose(socket *gws.Conn, err error) { sessionOf(socket).closed(err) }

func (*events) OnMessage(socket *gws.Conn, m *gws.Message) {
	s := sessionOf(socket)
	if !s.turnedAway {
		s.conn.awaitRoom()
		s.gw.workers.run(s, m)
	}
	_ = m.Close()
}

func (s *Session) hear() { s.heard.Store(time.Now().UnixMilli()) }

func (s *Session) closed(err error) {
	if s.turnedAway {
		return
	}
	s.end(err)
}

func newUpgrader(g *Gateway) *gws.Upgrader {
	return gws.NewUpgrader(&events{}, &gws.ServerOption{
		ReadBufferSize:     readBuffer,
		ReadMaxPayloadSize: 16 * g.opts.Limits.MessageBytes,
		HandshakeTimeout:   max(g.opts.HandshakeTimeout, time.Second),
		NewSession:         func() gws.SessionStorage { return &sessionRef{} },
		Recovery:           func(gws.Logger) {}, // a panic ends the process: it is a bug, and hiding it loses messages
		Logger:             quiet{},
	})
}

// quiet keeps gws from writing to the standard log; its errors reach us through OnClose.
type quiet struct{}

func (quiet) Error(...any) {}

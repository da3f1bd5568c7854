package e2e

import (
	"bytes"
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
)

// frame is what the wire has, as the protocol is documented; nothing of the server's code is used to read it.
type frame struct {
	Action  string `json:"action"`
	Options struct {
		Channel  string  `json:"channel"`
		ID       string  `json:"id"`
		Offset   string  `json:"offset"`
		Epoch    string  `json:"epoch"`
		Ref      string  `json:"ref"`
		SocketID *string `json:"socketId"`
	} `json:"options"`
	Client *struct {
		SocketID string `json:"socketId"`
	} `json:"client"`
	Payload json.RawMessage `json:"payload"`
}

func (f *frame) offset() uint64 {
	n, _ := strconv.ParseUint(f.Options.Offset, 10, 64)
	return n
}

// entry is a message or event frame for the checker.
func (f *frame) entry() Entry {
	var p struct {
		Key string `json:"key"`
		// Data is where an event has it.
		Data struct {
			Key string `json:"key"`
		} `json:"data"`
	}
	_ = json.Unmarshal(f.Payload, &p)
	if p.Key == "" {
		p.Key = p.Data.Key
	}
	return Entry{Key: p.Key, ID: f.Options.ID, Offset: f.offset()}
}

// peer is a client that joins its channels again after every loss, behind what it has, on any gateway.
type peer struct {
	name     string
	cluster  *cluster
	check    *Checker // nil = nobody is interested
	channels []string
	token    string
	pin      int           // gateway it goes to while that is there; -1 = any
	pause    time.Duration // before it comes back: as stock clients do; 0 = 200 to 800 ms
	pinned   bool          // goes nowhere else
	deaf     time.Duration // without an answer to a ping the connection counts as lost; default 4 s
	random   *rand.Rand
	private  chan string      // payloads of private messages and targeted events
	heard    func(key string) // nil = private gets messages without an offset

	wg     sync.WaitGroup
	ctx    context.Context
	cancel context.CancelFunc

	mu       sync.Mutex // guards what follows
	conn     *websocket.Conn
	socket   map[string]string // channel → own socket there; only joined ones
	position map[string][2]string
	pending  map[string]chan answer
	refs     int
	closes   map[string]int
	closedAt []time.Time
	away     time.Duration // longest time from the end of a connection to the last join on the next
	back     int           // from how many ends it came back
	rejoined int
	quiet    bool // does not come back
}

type answer struct {
	entry Entry
	err   error
}

// refusal is an error frame with the message's ref.
type refusal struct{ code, text string }

func (r refusal) Error() string { return r.code + ": " + r.text }

var (
	errLost = errors.New("connection lost: outcome unknown")
	errLate = errors.New("no answer within 15 s")
)

// join starts a peer and waits until it is in all its channels.
func (c *cluster) join(t *testing.T, p *peer) *peer {
	t.Helper()
	c.begin(t, p)
	if err := await(t.Context(), patience, p.there); err != nil {
		t.Fatal(err)
	}
	return p
}

func (c *cluster) begin(t *testing.T, p *peer) {
	t.Helper()
	p.cluster = c
	p.socket, p.position, p.pending, p.closes = map[string]string{}, map[string][2]string{}, map[string]chan answer{}, map[string]int{}
	p.private = make(chan string, 16)
	p.random = rand.New(rand.NewPCG(uint64(len(p.name)), rand.Uint64()))
	if p.check != nil {
		for _, channel := range p.channels {
			p.check.Subscribe(p.name, channel)
		}
	}
	p.ctx, p.cancel = context.WithCancel(context.WithoutCancel(t.Context()))
	p.wg.Go(p.run)
	t.Cleanup(p.end)
}

func (p *peer) end() {
	p.cancel()
	p.wg.Wait()
}

// there tells whether it is in all its channels.
func (p *peer) there() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.socket) < len(p.channels) {
		return fmt.Errorf("%s is in %d of %d channels", p.name, len(p.socket), len(p.channels))
	}
	return nil
}

func (p *peer) self(channel string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.socket[channel]
}

// connection counts the connections that were made.
func (p *peer) connection() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rejoined
}

func (p *peer) run() {
	at := p.pin
	if at < 0 {
		at = p.random.IntN(nodes)
	}
	for p.ctx.Err() == nil {
		conn, err := p.dial(at)
		if err == nil {
			p.live(conn)
		}
		p.mu.Lock()
		quiet := p.quiet
		p.mu.Unlock()
		if quiet {
			return
		}
		switch {
		case p.pinned:
		case err != nil:
			at = (at + 1) % nodes
		default:
			at = p.random.IntN(nodes)
		}
		wait := p.pause
		if wait == 0 || err != nil {
			wait = time.Duration(200+p.random.IntN(600)) * time.Millisecond
		}
		select {
		case <-time.After(wait):
		case <-p.ctx.Done():
		}
	}
}

func (p *peer) dial(at int) (*websocket.Conn, error) {
	ctx, cancel := context.WithTimeout(p.ctx, 4*time.Second)
	defer cancel()
	o := &websocket.DialOptions{}
	if p.token != "" {
		o.Subprotocols = []string{p.token}
	}
	conn, response, err := websocket.Dial(ctx, "ws://"+p.cluster.addrs[at]+"/rt/"+hash, o)
	if response != nil && response.Body != nil {
		_ = response.Body.Close()
	}
	if err == nil {
		conn.SetReadLimit(64 << 20)
	}
	return conn, err
}

// live is the life of one connection.
func (p *peer) live(conn *websocket.Conn) {
	ctx, cancel := context.WithCancel(p.ctx)
	var wg sync.WaitGroup
	wg.Go(func() { // notices a gateway that hangs
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			once, done := context.WithTimeout(ctx, cmp.Or(p.deaf, 4*time.Second))
			err := conn.Ping(once)
			done()
			if err != nil {
				_ = conn.CloseNow()
				return
			}
		}
	})
	p.mu.Lock()
	p.conn = conn
	p.rejoined++
	p.mu.Unlock()
	for _, channel := range p.channels {
		p.sendJoin(conn, channel)
	}
	for {
		_, text, err := conn.Read(ctx)
		if err != nil {
			p.mu.Lock()
			p.closes[fmt.Sprint(int(websocket.CloseStatus(err)))]++
			p.closedAt = append(p.closedAt, time.Now())
			p.mu.Unlock()
			break
		}
		var f frame
		if err := json.Unmarshal(text, &f); err == nil {
			p.take(conn, &f)
		}
	}
	cancel()
	_ = conn.CloseNow()
	wg.Wait()
	p.mu.Lock()
	p.conn = nil
	clear(p.socket)
	for ref, pending := range p.pending {
		pending <- answer{err: errLost}
		delete(p.pending, ref)
	}
	p.mu.Unlock()
	if p.check != nil {
		for _, channel := range p.channels {
			p.check.Lost(p.name, channel)
		}
	}
}

func (p *peer) write(conn *websocket.Conn, v any) {
	text, err := json.Marshal(v)
	if err != nil {
		return
	}
	ctx, cancel := context.WithTimeout(p.ctx, 5*time.Second)
	defer cancel()
	if conn.Write(ctx, websocket.MessageText, text) != nil {
		_ = conn.CloseNow()
	}
}

type fields map[string]any

func (p *peer) sendJoin(conn *websocket.Conn, channel string) {
	payload := fields{"history": false, "presence": true}
	p.mu.Lock()
	if at, ok := p.position[channel]; ok {
		payload["resume"] = fields{"offset": at[0], "epoch": at[1]}
	}
	p.mu.Unlock()
	p.write(conn, fields{"action": "join", "options": fields{"channel": channel}, "payload": payload})
}

// take handles one frame.
func (p *peer) take(conn *websocket.Conn, f *frame) {
	channel := f.Options.Channel
	switch f.Action {
	case "join":
		p.joined(f)
	case "message", "event":
		if sender, number, ok := strings.Cut(f.entry().Key, "/"); ok && f.Options.Offset == "" && p.check != nil {
			if n, err := strconv.Atoi(number); err == nil {
				p.check.Unstored(p.name, channel, sender, n)
			}
			return
		}
		if p.heard != nil {
			p.heard(f.entry().Key)
			return
		}
		if f.Options.SocketID != nil || f.Options.Offset == "" {
			select {
			case p.private <- f.entry().Key:
			default:
			}
			return
		}
		p.deliver(f)
	case "history":
		var h struct {
			History []frame `json:"history"`
		}
		_ = json.Unmarshal(f.Payload, &h)
		for i := range h.History {
			h.History[i].Options.Channel = channel
			p.deliver(&h.History[i])
		}
	case "ack":
		var e struct {
			ID     string `json:"id"`
			Offset string `json:"offset"`
		}
		_ = json.Unmarshal(f.Payload, &e)
		offset, _ := strconv.ParseUint(e.Offset, 10, 64)
		p.answer(f.Options.Ref, answer{entry: Entry{ID: e.ID, Offset: offset}})
	case "error":
		var e struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		}
		_ = json.Unmarshal(f.Payload, &e)
		switch {
		case f.Options.Ref != "":
			p.answer(f.Options.Ref, answer{err: refusal{e.Code, e.Message}})
		case channel != "": // gap and all else: come again, not so soon that it is one too many
			p.mu.Lock()
			delete(p.socket, channel)
			p.mu.Unlock()
			p.wg.Go(func() {
				pause(p.ctx, 300*time.Millisecond)
				p.write(conn, fields{"action": "leave", "options": fields{"channel": channel}, "payload": nil})
				p.sendJoin(conn, channel)
			})
		}
	case "presence_full", "presence_update":
		p.presence(f)
	}
}

func (p *peer) joined(f *frame) {
	channel := f.Options.Channel
	var resumed *struct {
		Resumed bool `json:"resumed"`
	}
	_ = json.Unmarshal(f.Payload, &resumed)
	p.mu.Lock()
	if f.Client != nil {
		p.socket[channel] = f.Client.SocketID
	}
	if n := len(p.closedAt); n > 0 && len(p.socket) == len(p.channels) && p.back < n {
		p.away, p.back = max(p.away, time.Since(p.closedAt[n-1])), n
	}
	at, known := p.position[channel]
	switch {
	case !known && f.Options.Offset != "":
		p.position[channel] = [2]string{f.Options.Offset, f.Options.Epoch}
	case known && resumed != nil && resumed.Resumed:
		p.position[channel] = [2]string{at[0], f.Options.Epoch}
	case known: // the history that follows moves it
		p.position[channel] = [2]string{"0", f.Options.Epoch}
	}
	p.mu.Unlock()
	if resumed != nil && !resumed.Resumed && p.check != nil {
		p.check.Unproved()
	}
}

func (p *peer) deliver(f *frame) {
	channel := f.Options.Channel
	p.mu.Lock()
	if at, ok := p.position[channel]; ok {
		if before, _ := strconv.ParseUint(at[0], 10, 64); f.offset() > before {
			p.position[channel] = [2]string{f.Options.Offset, at[1]}
		}
	}
	p.mu.Unlock()
	if p.check != nil {
		p.check.Deliver(p.name, channel, f.entry())
	}
}

func (p *peer) presence(f *frame) {
	if p.check == nil {
		return
	}
	type entry struct {
		SocketID    string `json:"socketId"`
		Permissions struct {
			RowID json.RawMessage `json:"row_id"`
		} `json:"permissions"`
	}
	user := func(e *entry) string { // empty without one
		if text := string(e.Permissions.RowID); text != "null" && text != "0" {
			return text
		}
		return ""
	}
	var u struct {
		Action   string          `json:"action"`
		Presence json.RawMessage `json:"presence"`
	}
	_ = json.Unmarshal(f.Payload, &u)
	if f.Action == "presence_full" {
		var list []entry
		_ = json.Unmarshal(u.Presence, &list)
		view := map[string]string{}
		for _, e := range list {
			view[e.SocketID] = user(&e)
		}
		p.check.Full(p.name, f.Options.Channel, view)
		return
	}
	var one entry
	_ = json.Unmarshal(u.Presence, &one)
	switch u.Action {
	case "join":
		p.check.Join(p.name, f.Options.Channel, one.SocketID, user(&one))
	case "leave":
		p.check.Leave(p.name, f.Options.Channel, one.SocketID)
	}
}

func (p *peer) answer(ref string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if pending, ok := p.pending[ref]; ok {
		pending <- a
		delete(p.pending, ref)
	}
}

// send publishes and waits for the answer. An error means that the outcome is unknown, or that it was refused.
func (p *peer) send(channel, key string, options fields) (Entry, error) {
	return p.post(channel, key, options)()
}

// shout publishes without asking for an answer.
func (p *peer) shout(channel, key string) {
	p.mu.Lock()
	conn := p.conn
	p.mu.Unlock()
	if conn != nil {
		p.write(conn, fields{"action": "message", "options": fields{"channel": channel}, "payload": fields{"key": key}})
	}
}

// post publishes: when it returns the message has its place among the sender's. wait is for the answer.
func (p *peer) post(channel, key string, options fields) (wait func() (Entry, error)) {
	p.mu.Lock()
	conn := p.conn
	if conn == nil || p.socket[channel] == "" {
		p.mu.Unlock()
		return func() (Entry, error) { return Entry{}, errLost }
	}
	p.refs++
	ref := strconv.Itoa(p.refs)
	pending := make(chan answer, 1)
	p.pending[ref] = pending
	p.mu.Unlock()
	o := fields{"channel": channel, "ref": ref}
	maps.Copy(o, options)
	p.write(conn, fields{"action": "message", "options": o, "payload": fields{"key": key}})
	return func() (Entry, error) { return p.answered(pending, channel, key, len(options) == 0) }
}

func (p *peer) answered(pending chan answer, channel, key string, public bool) (Entry, error) {
	select {
	case a := <-pending:
		a.entry.Key = key
		var r refusal
		switch {
		case p.check == nil || !public:
		case a.err == nil && a.entry.Offset > 0:
			p.check.Ack(channel, a.entry)
		case errors.As(a.err, &r) && r.code == "unavailable":
			p.check.Refused(channel, key)
		}
		return a.entry, a.err
	case <-time.After(15 * time.Second):
		return Entry{}, errLate
	}
}

// token signs in as a user.
func token(dbo, row int) string {
	part := func(v any) string {
		text, _ := json.Marshal(v) //nolint:errchkjson // plain values
		return base64.RawURLEncoding.EncodeToString(text)
	}
	text := part(fields{"alg": "HS256", "typ": "JWT"}) + "." + part(fields{"dbo_id": dbo, "row_id": row, "extras": fields{}, "exp": time.Now().Add(time.Hour).Unix()})
	mac := hmac.New(sha256.New, []byte(secret))
	_, _ = io.WriteString(mac, text)
	return text + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// call asks the HTTP API of one gateway.
func (c *cluster) call(ctx context.Context, at int, method, path string, body, into any) error {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.addrs[at]+"/api/v1/"+hash+path, bytes.NewReader(text))
	if err != nil {
		return err
	}
	request.Header.Set("Authorization", "Bearer "+apiKey)
	if method == http.MethodPost {
		request.Header.Set("Content-Type", "application/json")
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode/100 != 2 {
		return fmt.Errorf("%s %s: %d %s", method, path, response.StatusCode, answer)
	}
	return json.Unmarshal(answer, into)
}

// history is all that a channel has, oldest first.
func (c *cluster) history(ctx context.Context, at int, channel string) ([]Entry, error) {
	var h struct {
		Items []frame `json:"items"`
	}
	if err := c.call(ctx, at, http.MethodGet, "/channels/"+url.PathEscape(channel)+"/history?limit=1000", nil, &h); err != nil {
		return nil, err
	}
	var out []Entry
	for i := range h.Items {
		out = append(out, h.Items[i].entry())
	}
	return out, nil
}

package client_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/coder/websocket"

	"fanfare/client"
	"fanfare/protocol"
)

// echo is the least server the example needs: it answers joins, and stores and echoes messages.
func echo(w http.ResponseWriter, r *http.Request) {
	ws, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer func() { _ = ws.CloseNow() }()
	send := func(frame string) { _ = ws.Write(r.Context(), websocket.MessageText, []byte(frame)) }
	for {
		_, b, err := ws.Read(r.Context())
		if err != nil {
			return
		}
		switch in, _ := protocol.Decode(b, 128); in.Action { //nolint:exhaustive // the rest is ignored
		case protocol.ActionJoin:
			send(joined(in.Channel, at(6), protocol.ResumeNotAsked))
		case protocol.ActionMessage:
			send(message(in.Channel, strings.Trim(string(in.Payload), `"`), 7))
			send(ack(in.Channel, in.Ref, "m1", 7))
		}
	}
}

func Example() {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	ctx := context.Background()

	c, err := client.Dial(ctx, server.URL+"/rt/demo", client.Options{})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer c.Close()
	room := c.Channel("room", client.ChannelOptions{})
	if err := room.Join(ctx); err != nil {
		fmt.Println(err)
		return
	}
	receipt, err := room.Send(ctx, "hello")
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println("stored as", receipt.ID, "at", receipt.Offset)

	for event, err := range room.Events(ctx) {
		switch e := event.(type) {
		case *client.Joined:
			fmt.Println("joined as", e.Self.Socket)
		case *client.Gap:
			fmt.Println("something may be missing here:", e.Reason)
		case *client.Message:
			var text string
			if err := e.Decode(&text); err != nil {
				fmt.Println(err)
			}
			fmt.Println(e.Sender.Socket, "says", text)
			room.Leave()
		}
		if err != nil {
			fmt.Println("end:", err)
		}
	}
	// Output:
	// stored as m1 at 7
	// joined as gate0001me
	// gate0001me says hello
	// end: channel was left
}

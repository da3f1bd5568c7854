package backendtest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"fanfare/client"
)

type event map[string]any

type batchAnswer struct {
	Code    string `json:"code"`
	Message string `json:"message"`
	Index   *int   `json:"index"`
	Items   []struct {
		ID     string `json:"id"`
		Offset string `json:"offset"`
		Stored bool   `json:"stored"`
	} `json:"items"`
}

// TestAtomic: a back end stores on several channels or on none, and subscribers see it.
func TestAtomic(t *testing.T) {
	addr, _ := startNode(t, nil)
	ch := join(t, dial(t, addr), "chat/{o7}/log")
	post := func(events ...event) (int, batchAnswer) {
		t.Helper()
		var a batchAnswer
		status := call(t, addr, http.MethodPost, "/events/batch", map[string]any{"atomic": true, "events": events}, &a)
		return status, a
	}
	status, a := post(event{"channel": "chat/{o7}/items", "data": 1, "expect_offset": "0"}, event{"channel": "chat/{o7}/log", "data": 2, "id": "x"})
	if status != http.StatusOK || len(a.Items) != 2 || !a.Items[0].Stored || a.Items[1].ID != "x" || a.Items[1].Offset == "" {
		t.Fatalf("%d %+v", status, a)
	}
	for {
		e, err := ch.Next(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if m, ok := e.(*client.Message); ok {
			if m.ID != "x" || string(m.Data) != "2" {
				t.Errorf("%+v", m)
			}
			break
		}
	}
	status, a = post(event{"channel": "chat/{o7}/log", "data": 3}, event{"channel": "chat/{o7}/items", "data": 4, "expect_offset": "0"})
	if status != http.StatusConflict || a.Index == nil || *a.Index != 1 {
		t.Errorf("a wrong offset: %d %+v", status, a)
	}
	for i := range 20 { // at least one of them lives elsewhere
		status, a = post(event{"channel": "chat/{o7}/log", "data": 5, "id": fmt.Sprint("far", i)}, event{"channel": fmt.Sprint("chat/far", i), "data": 6})
		if status != http.StatusOK {
			break
		}
	}
	if status != http.StatusUnprocessableEntity || a.Code != "atomic_limit" || !strings.Contains(a.Message, "{order7}/items") {
		t.Errorf("another shard: %d %+v", status, a)
	}
	// The same id once more, with others: none of them is stored.
	status, a = post(event{"channel": "chat/{o7}/log", "data": 2, "id": "x"}, event{"channel": "chat/{o7}/items", "data": 7})
	if status != http.StatusConflict || a.Index == nil || *a.Index != 0 {
		t.Errorf("a used id: %d %+v", status, a)
	}
}

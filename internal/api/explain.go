package api

import (
	"net/http"
	"slices"
	"strconv"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// explainDoc says whether somebody may do something, and why.
type explainDoc struct {
	Allowed bool             `json:"allowed"`
	Op      policy.Op        `json:"op"`
	Channel protocol.Channel `json:"channel"`
	// Rule is the one that covers the channel.
	Rule *explainRule `json:"rule"`
	// Flag is the field of the rule that decided.
	Flag *string `json:"flag"`
	// Audience of a message: everyone, authenticated or socket.
	Audience string `json:"audience,omitempty"`
	// Code is that of the error a client would get.
	Code protocol.Code `json:"code,omitempty"`
	Text string        `json:"text"`
}

type explainRule struct {
	ID       int64  `json:"id"`
	Pattern  string `json:"pattern"`
	Wildcard bool   `json:"wildcard"`
}

// getExplain answers "may this identity do this on this channel, and why (not)".
func (a *API) getExplain(req *request) error {
	q := req.query()
	question := policy.Question{Op: policy.Op(q.text("op"))}
	name := q.text("channel")
	dbo, row := q.text("dbo_id"), q.text("row_id")
	authenticated := q.boolean("authenticated")
	if to := q.boolean("target_authenticated"); to != nil {
		question.Target = &protocol.Identity{Authenticated: *to}
	}
	switch ops := policy.Ops(); {
	case name == "":
		q.fail("channel", "is required")
	case question.Op == "":
		question.Op = policy.OpJoin
	case !slices.Contains(ops, question.Op):
		q.fail("op", "must be one of %v", ops)
	}
	if dbo != "" {
		n, err := strconv.ParseInt(dbo, 10, 64)
		if err != nil || n < 0 {
			q.fail("dbo_id", "must be the number of a table")
		}
		question.Identity.DboID = n
	}
	question.Identity.RowID = protocol.RowIDFromString(row)
	question.Identity.Authenticated = question.Identity.DboID != 0 || question.Identity.RowID != ""
	if authenticated != nil {
		question.Identity.Authenticated = *authenticated
	}
	if err := q.end(); err != nil {
		return err
	}
	ch, err := protocol.ParseChannel(name, a.o.Limits.ChannelBytes, a.o.Limits.ChannelSegments)
	if err != nil {
		return &statusError{status: http.StatusBadRequest, Code: protocol.CodeInvalidChannel, Message: sentence(err), Field: "channel"}
	}
	question.Channel = ch
	e := policy.Explain(req.server, question)
	doc := explainDoc{Allowed: e.Allowed, Op: question.Op, Channel: ch, Code: e.Code, Text: e.Text}
	if e.Rule != nil {
		doc.Rule = &explainRule{ID: e.Rule.ID, Pattern: e.Rule.Pattern, Wildcard: e.Rule.Wildcard}
	}
	if e.Flag != "" {
		doc.Flag = &e.Flag
	}
	switch question.Op { //nolint:exhaustive // only messages have an audience
	case policy.OpSend, policy.OpSendAuthenticated, policy.OpSendPrivate:
		if e.Allowed {
			doc.Audience = audienceText(e.Audience)
		}
	}
	return send(req.w, http.StatusOK, doc)
}

func audienceText(k protocol.AudienceKind) string {
	switch k {
	case protocol.Authenticated:
		return "authenticated"
	case protocol.Socket:
		return "socket"
	case protocol.User:
		return "user"
	case protocol.Everyone:
	}
	return "everyone"
}

package api

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"fanfare/internal/policy"
)

// ruleList is a page of rules, with the names Xano gives to paging beside ours.
type ruleList struct {
	list[policy.Rule]

	CurPage  int  `json:"curPage"`
	NextPage *int `json:"nextPage"`
	PrevPage *int `json:"prevPage"`
}

// listRules pages by cursor and limit, or as Xano does by page and per_page.
func (a *API) listRules(req *request) error {
	id, err := req.workspace()
	if err != nil {
		return err
	}
	q := req.query()
	limit := q.number("limit", maxPage, q.number("per_page", maxPage, defaultPage))
	number := q.number("page", maxPage, 1)
	search := strings.ToLower(q.text("search"))
	q.text("include_xanoscript") // Xano's; there is no script here
	if after := q.cursor(); after != "" {
		if number, err = strconv.Atoi(after); err != nil || number < 1 {
			return ErrCursor
		}
	}
	if err := q.end(); err != nil {
		return err
	}
	s, err := a.find(id)
	if err != nil {
		return err
	}
	var found []policy.Rule
	for i := range s.Channels {
		r := &s.Channels[i]
		if search == "" || strings.Contains(strings.ToLower(string(r.Target())+"\n"+r.Description), search) {
			found = append(found, r.Masked())
		}
	}
	first := min((number-1)*limit, len(found))
	last := min(first+limit, len(found))
	out := ruleList{CurPage: number}
	next := ""
	if last < len(found) {
		n := number + 1
		next, out.NextPage = toCursor(strconv.Itoa(n)), &n
	}
	if number > 1 {
		n := number - 1
		out.PrevPage = &n
	}
	out.list = page(found[first:last], next)
	return a.sendTagged(req, s.Revision, out)
}

func (a *API) createRule(req *request) error {
	at := 0
	s, err := a.change(req, func(s *policy.Server, body []byte) error {
		rule, err := policy.DecodeRule(body, 0, s)
		if err != nil {
			return err
		}
		rules := []policy.Rule{rule}
		policy.Unmask(rules, s)
		at = len(s.Channels)
		s.Channels = append(s.Channels, rules...)
		return nil
	})
	if err != nil {
		return aboutRule(err, at)
	}
	rule := &s.Channels[at]
	req.w.Header().Set("Location", req.r.URL.EscapedPath()+"/"+strconv.FormatInt(rule.ID, 10))
	req.w.Header().Set("ETag", etag(s.Revision))
	return send(req.w, http.StatusCreated, rule.Masked())
}

func (a *API) getRule(req *request) error {
	s, err := a.readWorkspace(req)
	if err != nil {
		return err
	}
	at, err := req.rule(s)
	if err != nil {
		return err
	}
	return a.sendTagged(req, s.Revision, s.Channels[at].Masked())
}

// putRule replaces a rule: what the body leaves out is off, empty or 0, but enabled, which stays.
func (a *API) putRule(req *request) error {
	at := 0
	s, err := a.change(req, func(s *policy.Server, body []byte) error {
		var err error
		if at, err = req.rule(s); err != nil {
			return err
		}
		rules := make([]policy.Rule, 1)
		if rules[0], err = policy.DecodeRule(body, s.Channels[at].ID, s); err != nil {
			return err
		}
		if rules[0].ID != s.Channels[at].ID {
			return badField("id", "is %d, the path says %d", rules[0].ID, s.Channels[at].ID)
		}
		policy.Unmask(rules, s)
		s.Channels[at] = rules[0]
		return nil
	})
	if err != nil {
		return aboutRule(err, at)
	}
	return a.sendTagged(req, s.Revision, s.Channels[at].Masked())
}

func (a *API) deleteRule(req *request) error {
	s, err := a.change(req, func(s *policy.Server, _ []byte) error {
		at, err := req.rule(s)
		if err != nil {
			return err
		}
		s.Channels = append(s.Channels[:at], s.Channels[at+1:]...)
		return nil
	})
	if err != nil {
		return err
	}
	req.w.Header().Set("ETag", etag(s.Revision))
	req.w.WriteHeader(http.StatusNoContent)
	return nil
}

// rule finds the rule in the path.
func (req *request) rule(s *policy.Server) (int, error) {
	id, err := strconv.ParseInt(req.params["channel_id"], 10, 64)
	if err != nil {
		return 0, errNoRule
	}
	for i := range s.Channels {
		if s.Channels[i].ID == id {
			return i, nil
		}
	}
	return 0, errNoRule
}

// aboutRule names fields as they stand in the body, which is one rule, not in the whole settings.
func aboutRule(err error, at int) error {
	e := classify(err)
	prefix := fmt.Sprintf("channels[%d].", at)
	if !strings.HasPrefix(e.Field, prefix) {
		return err
	}
	c := *e
	c.Field = strings.TrimPrefix(e.Field, prefix)
	c.Message = strings.TrimPrefix(e.Message, prefix)
	return &c
}

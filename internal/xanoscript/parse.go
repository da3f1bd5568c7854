package xanoscript

import (
	"fmt"
	"slices"
	"strconv"
	"unicode/utf8"

	"fanfare/internal/policy"
	"fanfare/protocol"
)

// MaxDepth is how deeply brackets may be nested.
const MaxDepth = 64

// Script is what Parse found.
type Script struct {
	// Rules in their order. Of several with the same target the last one stands, in its own place, as in Xano.
	Rules []policy.Rule
	Notes []Note
}

// Note tells of something that was understood and has no effect.
type Note struct {
	Line int
	Text string
}

func (n Note) String() string { return fmt.Sprintf("line %d: %s", n.Line, n.Text) }

const block = "realtime_channel"

// Parse reads a text. Its error is a *SyntaxError.
func Parse(text []byte) (Script, error) {
	p := parser{s: scanner{text: string(text), line: 1}}
	if !utf8.Valid(text) {
		return Script{}, &SyntaxError{Line: 1, Column: 1, Text: "the text is not valid UTF-8"}
	}
	for {
		t, err := p.next()
		switch {
		case err != nil:
			return Script{}, err
		case t.kind == tokenEnd:
			return p.out, nil
		case t.kind != tokenWord:
			return Script{}, t.fail("%s, where a block such as %s was expected", t, block)
		case t.text == block:
			err = p.channel(t)
		default:
			err = p.pass(t)
		}
		if err != nil {
			return Script{}, err
		}
	}
}

type parser struct {
	s   scanner
	out Script
}

func (p *parser) next() (token, error) { return p.s.next() }

func (p *parser) note(t token, format string, args ...any) {
	p.out.Notes = append(p.out.Notes, Note{Line: t.line, Text: fmt.Sprintf(format, args...)})
}

// expect reads one mark.
func (p *parser) expect(mark string) error {
	t, err := p.next()
	if err == nil && !t.is(mark) {
		err = t.fail("%s, where %q was expected", t, mark)
	}
	return err
}

// pass passes over another block, up to its closing bracket.
func (p *parser) pass(name token) error {
	depth := 0
	for {
		t, err := p.next()
		switch {
		case err != nil:
			return err
		case t.kind == tokenEnd:
			return name.fail("the block %s does not end", name.text)
		case t.is("{") || t.is("["):
			if depth++; depth > MaxDepth {
				return t.fail("nested deeper than %d", MaxDepth)
			}
		case t.is("}") || t.is("]"):
			if depth--; depth < 0 {
				return t.fail("%s without its opening", t)
			}
			if depth == 0 && t.is("}") {
				p.note(name, "block %s is not imported", name.text)
				return nil
			}
		case t.kind == tokenWord && t.text == block && t.first:
			return t.fail("%s inside the block %s, which began in line %d", block, name.text, name.line)
		}
	}
}

// channel reads one rule, from behind realtime_channel.
func (p *parser) channel(at token) error {
	name, err := p.next()
	if err != nil {
		return err
	}
	if name.kind != tokenString && name.kind != tokenWord || name.text == "" {
		return name.fail("%s, where the name of a channel was expected", name)
	}
	rule := policy.Rule{Pattern: name.text, Enabled: true}
	if target := protocol.Channel(name.text); target.IsPattern() {
		rule.Pattern, rule.Wildcard = target.Base(), true
	}
	if err := p.expect("{"); err != nil {
		return err
	}
	fields := fields{rule: &rule, nested: rule.Wildcard}
	if err := p.object("", fields, 1); err != nil {
		return err
	}
	before := slices.IndexFunc(p.out.Rules, func(r policy.Rule) bool { return r.Target() == rule.Target() })
	if before >= 0 {
		p.note(at, "%s %q replaces the one before", block, rule.Target())
		p.out.Rules = slices.Delete(p.out.Rules, before, before+1)
	}
	p.out.Rules = append(p.out.Rules, rule)
	return nil
}

// object reads members up to the closing bracket. path is "" or ends in a dot.
func (p *parser) object(path string, f fields, depth int) error {
	seen := map[string]bool{}
	for {
		key, err := p.next()
		switch {
		case err != nil:
			return err
		case key.is("}"):
			return nil
		case key.is(",") && len(seen) > 0:
			continue
		case key.kind != tokenWord && key.kind != tokenString:
			return key.fail("%s, where a field or } was expected", key)
		}
		field := path + key.text
		if seen[field] {
			return key.fail("%s is there twice", field)
		}
		seen[field] = true
		if t, err := p.next(); err != nil {
			return err
		} else if !t.is("=") && !t.is(":") {
			return t.fail("%s, where = or : was expected behind %s", t, field)
		}
		if f.isObject(field) {
			if err := p.expect("{"); err != nil {
				return err
			}
			if err := p.object(field+".", f, depth+1); err != nil {
				return err
			}
			continue
		}
		v, err := p.value(depth)
		if err != nil {
			return err
		}
		known, err := f.set(field, v)
		if err != nil {
			return err
		}
		if !known {
			p.note(key, "field %s is not imported", field)
		}
	}
}

// value reads a word or a string; an object or a list is passed over and given as its opening bracket.
func (p *parser) value(depth int) (token, error) {
	t, err := p.next()
	if err != nil || t.kind == tokenWord || t.kind == tokenString {
		return t, err
	}
	if !t.is("{") && !t.is("[") {
		return t, t.fail("%s, where a value was expected", t)
	}
	open := []string{t.text}
	for len(open) > 0 {
		in, err := p.next()
		switch {
		case err != nil:
			return t, err
		case in.kind == tokenEnd:
			return t, t.fail("%s does not end", t)
		case in.is("{") || in.is("["):
			if open = append(open, in.text); len(open)+depth > MaxDepth {
				return t, in.fail("nested deeper than %d", MaxDepth)
			}
		case in.is("}") || in.is("]"):
			if (open[len(open)-1] == "{") != in.is("}") {
				return t, in.fail("%s, where the other bracket was expected", in)
			}
			open = open[:len(open)-1]
		}
	}
	return t, nil
}

// fields puts values into a rule.
type fields struct {
	rule *policy.Rule
	// nested: the name ended in /*, so that nested_channels cannot say otherwise.
	nested bool
}

func (f fields) isObject(field string) bool {
	switch field {
	case "public_messaging", "private_messaging", "settings":
		return true
	}
	return false
}

func (f fields) set(field string, v token) (known bool, err error) {
	r := f.rule
	if to := f.flag(field); to != nil {
		if v.kind != tokenWord || v.text != "true" && v.text != "false" {
			return true, v.fail("%s must be true or false", field)
		}
		*to = v.text == "true"
		if f.nested && !r.Wildcard {
			return true, v.fail("nested_channels is false, but the name of the channel ends in /*")
		}
		return true, nil
	}
	switch field {
	case "description":
		if v.kind != tokenString {
			return true, v.fail("description must be a string")
		}
		r.Description = v.text
	case "settings.message_history":
		n, err := strconv.Atoi(v.text)
		if err != nil || v.kind != tokenWord || !slices.Contains(policy.HistorySizes(), n) {
			return true, v.fail("message_history must be one of %v", policy.HistorySizes())
		}
		r.History = n
	default:
		return false, nil
	}
	return true, nil
}

// flag finds the boolean behind a field.
func (f fields) flag(field string) *bool {
	r := f.rule
	switch field {
	case "active":
		return &r.Enabled
	case "public_messaging.active":
		return &r.ClientPublicMessaging
	case "public_messaging.auth":
		return &r.ClientPublicMessagingAuthenticatedOnly
	case "private_messaging.active":
		return &r.ClientPrivateMessaging
	case "private_messaging.auth":
		return &r.ClientPrivateMessagingAuthenticatedOnly
	case "settings.anonymous_clients":
		return &r.AnonymousClients
	case "settings.nested_channels":
		return &r.Wildcard
	case "settings.auth_channel":
		return &r.ClientAuthenticatedMessaging
	case "settings.presence":
		return &r.Presence
	}
	return nil
}

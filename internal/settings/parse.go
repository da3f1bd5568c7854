package settings

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"go.yaml.in/yaml/v3"

	"fanfare/internal/policy"
	"fanfare/internal/yamlline"
	"fanfare/protocol"
)

// Parse reads a settings file, YAML or JSON: `servers: [{id, name, enabled, hash, channels: [rule, …]}]`. Rules may
// leave out their id; servers may not, because stored history hangs on it. Nothing is made up that could differ from
// one reading to the next. Its error is Problems, with lines where the file is YAML.
func Parse(content []byte, limits policy.Limits) ([]*policy.Server, error) {
	var root yaml.Node
	doc := bytes.TrimSpace(content)
	switch {
	case len(doc) == 0:
		return nil, nil
	case doc[0] == '{': // JSON proper: YAML does not take its tabs
	default:
		var err error
		if doc, err = yamlToJSON(content, &root); err != nil {
			return nil, problemOf("", err)
		}
	}
	servers, problems := parseJSON(doc, limits)
	if len(problems) == 0 {
		return servers, nil
	}
	for _, e := range problems {
		if root.Kind != 0 {
			e.Line = lineOf(&root, e.Field)
		}
	}
	return nil, problems
}

// Problems is what is wrong with a settings file: at least the first thing of each server and each rule.
type Problems []*policy.FieldError //nolint:errname // as in config

// Error has them all in one line.
func (p Problems) Error() string {
	texts := make([]string, len(p))
	for i, e := range p {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// problemOf makes an error the only problem, at a path.
func problemOf(path string, err error) Problems {
	e, ok := errors.AsType[*policy.FieldError](err)
	if !ok {
		e = &policy.FieldError{Problem: err.Error()}
	}
	at := *e
	if at.Field = path; path == "" || e.Field == "" {
		at.Field += e.Field
	} else {
		at.Field += "." + e.Field
	}
	return Problems{&at}
}

func parseJSON(doc []byte, limits policy.Limits) ([]*policy.Server, Problems) {
	var file struct {
		Servers []jsontext.Value `json:"servers"`
	}
	if err := policy.Unmarshal(doc, &file); err != nil {
		return nil, problemOf("", err)
	}
	if len(file.Servers) > MaxServers {
		return nil, Problems{{Field: "servers", Problem: fmt.Sprintf("has %d entries, at most %d are allowed", len(file.Servers), MaxServers)}}
	}
	var problems Problems
	servers := make([]*policy.Server, 0, len(file.Servers))
	for i, raw := range file.Servers {
		s, err := parseServer(raw, limits)
		if err != nil {
			path := fmt.Sprintf("servers[%d]", i)
			found := wrongParts(path, raw, limits)
			if len(found) == 0 { // it is the whole that is wrong
				found = problemOf(path, err)
			}
			problems = append(problems, found...)
			continue
		}
		servers = append(servers, s)
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if _, err := policy.NewBook(0, servers); err != nil {
		return nil, problemOf("", err)
	}
	return servers, nil
}

// wrongParts looks at a server that is wrong without its rules, and at each rule alone: parsing ends at the first
// problem it meets.
func wrongParts(path string, raw []byte, limits policy.Limits) (out Problems) {
	var parts map[string]jsontext.Value
	var rules []jsontext.Value
	if policy.Unmarshal(raw, &parts) != nil || policy.Unmarshal(parts["channels"], &rules) != nil {
		return nil
	}
	delete(parts, "channels")
	head, err := json.Marshal(parts)
	if err != nil {
		return nil
	}
	if _, err := parseServer(head, limits); err != nil {
		out = append(out, problemOf(path, err)...)
	}
	for i, rule := range rules {
		_, err := parseServer(fmt.Appendf(nil, `{"id":1,"hash":"x","channels":[%s]}`, rule), limits)
		if e, ok := errors.AsType[*policy.FieldError](err); ok {
			field := strings.Replace(e.Field, "channels[0]", fmt.Sprintf("channels[%d]", i), 1)
			out = append(out, &policy.FieldError{Field: join(path, field), Problem: e.Problem})
		}
	}
	return out
}

func parseServer(raw []byte, limits policy.Limits) (*policy.Server, error) {
	s, err := policy.DecodeServer(raw, policy.Server{})
	if err != nil {
		return nil, err
	}
	if s.ID == 0 {
		return nil, &policy.FieldError{Field: "id", Problem: "is required"}
	}
	assignFileIDs(s.ID, s.Channels)
	return policy.Compile(s, limits)
}

func assignFileIDs(server protocol.ServerID, rules []policy.Rule) {
	taken := make(map[int64]bool, len(rules))
	for i := range rules {
		taken[rules[i].ID] = true
	}
	for i := range rules {
		if rules[i].ID != 0 {
			continue
		}
		next := fileRuleIDs(server, string(rules[i].Target()))
		id := next()
		for taken[id] {
			id = next()
		}
		taken[id] = true
		rules[i].ID = id
	}
}

// yamlToJSON turns a YAML document into JSON, so that both kinds of file are read by the same strict rules.
func yamlToJSON(content []byte, root *yaml.Node) ([]byte, error) {
	d := yaml.NewDecoder(bytes.NewReader(content))
	switch err := d.Decode(root); {
	case errors.Is(err, io.EOF):
		return []byte("{}"), nil // comments only
	case err != nil:
		return nil, yamlError(content, err)
	}
	if err := d.Decode(new(yaml.Node)); err == nil {
		return nil, &policy.FieldError{Problem: "has more than one YAML document"}
	}
	var v any
	if err := root.Decode(&v); err != nil {
		return nil, yamlError(content, err)
	}
	if v == nil {
		return []byte("{}"), nil
	}
	if err := plain(v, ""); err != nil {
		return nil, err
	}
	doc, err := json.Marshal(v)
	if err != nil {
		return nil, &policy.FieldError{Problem: "has a value that JSON does not know: " + err.Error()}
	}
	return doc, nil
}

func yamlError(content []byte, err error) error {
	line, text := yamlline.Of(content, err)
	return &policy.FieldError{Problem: text, Line: line}
}

// plain refuses what YAML has and JSON has not.
func plain(v any, path string) error {
	switch v := v.(type) {
	case map[string]any:
		for k, sub := range v {
			if err := plain(sub, join(path, k)); err != nil {
				return err
			}
		}
	case []any:
		for i, sub := range v {
			if err := plain(sub, fmt.Sprintf("%s[%d]", path, i)); err != nil {
				return err
			}
		}
	case map[any]any:
		return &policy.FieldError{Field: path, Problem: "has a key that is not a string"}
	case time.Time:
		return &policy.FieldError{Field: path, Problem: "is a date; put it in quotes"}
	}
	return nil
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

// lineOf finds the line of a field such as servers[0].channels[2].history, or of the nearest thing around it that
// is there.
func lineOf(root *yaml.Node, path string) int {
	n := root
	if n.Kind == yaml.DocumentNode && len(n.Content) == 1 {
		n = n.Content[0]
	}
	line := n.Line
	for _, step := range strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n.Kind == yaml.AliasNode {
			n = n.Alias
		}
		var sub *yaml.Node
		switch n.Kind {
		case yaml.MappingNode:
			for i := 0; i+1 < len(n.Content); i += 2 {
				if n.Content[i].Value == step {
					line, sub = n.Content[i].Line, n.Content[i+1]
				}
			}
		case yaml.SequenceNode:
			if i, err := strconv.Atoi(step); err == nil && i >= 0 && i < len(n.Content) {
				sub = n.Content[i]
				line = sub.Line
			}
		}
		if sub == nil {
			break
		}
		n = sub
	}
	return line
}

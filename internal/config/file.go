package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"go.yaml.in/yaml/v3"

	"fanfare/internal/yamlline"
)

// maxFile bounds what is read as a configuration file.
const maxFile = 1 << 20

// layer is what one source says: texts by key path, and the place of each.
type layer struct {
	texts  map[string]any // path -> []string
	places map[string]string
}

func newLayer() layer { return layer{texts: map[string]any{}, places: map[string]string{}} }

func (l layer) put(path, place string, texts []string) {
	l.texts[path] = texts
	l.places[path] = place
}

// fileReader walks the YAML of one file against the known keys. It works on nodes and not on decoded values,
// since only nodes know their line, and since 0123 or 1e3 must reach a secret as it was written.
type fileReader struct {
	name     string
	known    map[string]key
	sections map[string]bool
	paths    []string
	out      layer
	problems Problems
}

func newFileReader(name string, known []key) *fileReader {
	r := &fileReader{name: name, known: map[string]key{}, sections: map[string]bool{}, out: newLayer()}
	for _, k := range known {
		r.known[k.path] = k
		r.paths = append(r.paths, k.path)
		for i, c := range k.path {
			if c == '.' && !r.sections[k.path[:i]] {
				r.sections[k.path[:i]] = true
				r.paths = append(r.paths, k.path[:i])
			}
		}
	}
	return r
}

func readFile(name string, known []key) (layer, Problems) {
	r := newFileReader(name, known)
	b, err := readBounded(name)
	if err != nil {
		r.problems.add(name, "", "%v", err)
		return r.out, r.problems
	}
	r.read(b)
	return r.out, r.problems
}

func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close() //nolint:errcheck // only read
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, cause(err)
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("larger than %s", formatSize(maxFile))
	}
	return b, nil
}

func (r *fileReader) read(b []byte) {
	dec := yaml.NewDecoder(bytes.NewReader(b))
	var doc yaml.Node
	if err := dec.Decode(&doc); err != nil {
		if !errors.Is(err, io.EOF) { // EOF: an empty file sets nothing
			r.syntax(b, err)
		}
		return
	}
	var second yaml.Node
	if err := dec.Decode(&second); err == nil {
		r.problems.add(r.place(&second), "", "a second document; one file holds one configuration")
	} else if !errors.Is(err, io.EOF) {
		r.syntax(b, err)
	}
	if len(doc.Content) == 1 {
		r.mapping("", doc.Content[0])
	}
}

// syntax words an error of the YAML parser with the line where we put ours.
func (r *fileReader) syntax(b []byte, err error) {
	line, text := yamlline.Of(b, err)
	place := r.name
	if line > 0 {
		place += fmt.Sprintf(":%d", line)
	}
	r.problems.add(place, "", "%s", text)
}

func (r *fileReader) place(n *yaml.Node) string { return fmt.Sprintf("%s:%d", r.name, n.Line) }

func (r *fileReader) mapping(section string, n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.problems.add(r.place(n), section, "%s where keys and values are expected", describe(n))
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		name, child := n.Content[i], n.Content[i+1]
		if name.Kind != yaml.ScalarNode {
			r.problems.add(r.place(name), section, "%s where a key is expected", describe(name))
			continue
		}
		path := name.Value
		if section != "" {
			path = section + "." + name.Value
		}
		if first, twice := seen[path]; twice {
			r.problems.add(r.place(name), path, "set twice, first in line %d", first)
			continue
		}
		seen[path] = name.Line
		r.entry(path, name, child)
	}
}

func (r *fileReader) entry(path string, name, child *yaml.Node) {
	if r.sections[path] && !strings.Contains(name.Value, ".") {
		r.mapping(path, child)
		return
	}
	k, ok := r.known[path]
	switch {
	case ok && strings.Contains(name.Value, "."):
		head, tail, _ := strings.Cut(name.Value, ".")
		r.problems.add(r.place(name), path, "must be nested: %q and below it %q", head+":", tail+":")
	case !ok:
		text := "unknown key"
		if s := nearest(path, r.paths); s != "" {
			text += " (did you mean " + s + "?)"
		} else if s := r.leaf(name.Value); s != "" {
			text += " (did you mean " + s + "?)"
		}
		r.problems.add(r.place(name), path, "%s", text)
	default:
		r.leafValue(k, child)
	}
}

// leaf finds the one key whose last part is name: somebody wrote it in the wrong section.
func (r *fileReader) leaf(name string) string {
	found := ""
	for _, p := range r.paths {
		if strings.HasSuffix(p, "."+name) {
			if found != "" {
				return ""
			}
			found = p
		}
	}
	return found
}

func (r *fileReader) leafValue(k key, n *yaml.Node) {
	n = resolve(n)
	if isNull(n) {
		return // as if it were not there
	}
	_, isList := k.value.(list)
	switch {
	case n.Kind == yaml.ScalarNode && isList:
		r.out.put(k.path, r.place(n), splitList(n.Value))
	case n.Kind == yaml.ScalarNode:
		r.out.put(k.path, r.place(n), []string{n.Value})
	case n.Kind == yaml.SequenceNode && isList:
		texts := []string{}
		for _, item := range n.Content {
			item = resolve(item)
			if item.Kind != yaml.ScalarNode || isNull(item) {
				r.problems.add(r.place(item), k.path, "%s in a list of single values", describe(item))
				return
			}
			texts = append(texts, item.Value)
		}
		r.out.put(k.path, r.place(n), texts)
	default:
		r.problems.add(r.place(n), k.path, "%s where %s is expected", describe(n), k.value.kind())
	}
}

// resolve follows an alias. YAML allows no alias of an alias, and the walk only descends along known keys, so
// aliases cannot make it grow.
func resolve(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func isNull(n *yaml.Node) bool { return n.Kind == yaml.ScalarNode && n.Tag == "!!null" }

func describe(n *yaml.Node) string {
	switch n.Kind {
	case yaml.MappingNode:
		return "keys and values"
	case yaml.SequenceNode:
		return "a list"
	default:
		if isNull(n) {
			return "nothing"
		}
		return "a single value"
	}
}

// splitList splits a comma-separated list; blanks around and empty parts do not count.
func splitList(s string) []string {
	out := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

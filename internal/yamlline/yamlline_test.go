package yamlline_test

import (
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"fanfare/internal/yamlline"
)

func TestOf(t *testing.T) {
	for content, want := range map[string]int{
		"servers: [":        1,
		"servers: {a: b":    1,
		"a: b: c":           1,
		"\ta: b":            1,
		"a: \"b":            1,
		"a: b\n\nc: d: e\n": 3,
		"a: b\nc: \x00\n":   0,
		"a: *b":             0,
	} {
		err := yaml.Unmarshal([]byte(content), new(yaml.Node))
		if err == nil {
			t.Errorf("%q is right", content)
			continue
		}
		line, text := yamlline.Of([]byte(content), err)
		if line != want || text == "" || strings.HasPrefix(text, "line ") || strings.HasPrefix(text, "yaml: ") {
			t.Errorf("%q: line %d, want %d: %s (%v)", content, line, want, text, err)
		}
	}
}

// Package yamlline tells where a YAML file is wrong.
package yamlline

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

var form = regexp.MustCompile(`^(?:yaml: )?(?:line (\d+): )?(.*)$`)

// Of gives the line of what the parser says about a content, and what else it says; 0 = it knows no line.
func Of(content []byte, err error) (int, string) {
	line, text := split(err)
	if line == 0 {
		// It does not name the first line. With another one before it, it does.
		if err := yaml.Unmarshal(append([]byte("#\n"), content...), new(yaml.Node)); err != nil {
			if second, _ := split(err); second > 0 {
				line = 1
			}
		}
	}
	return line, text
}

func split(err error) (int, string) {
	m := form.FindStringSubmatch(strings.ReplaceAll(err.Error(), "\n", " "))
	line, _ := strconv.Atoi(m[1]) // none is 0
	return line, m[2]
}

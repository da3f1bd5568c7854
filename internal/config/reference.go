package config

import (
	"fmt"
	"strings"
)

//go:generate go test -run ^TestReference|^TestSchema . -update

// Reference is docs/configuration.md: every key with its variable, default, kind and meaning.
func Reference() string {
	c := Default()
	var b strings.Builder
	b.WriteString(referenceIntro)
	section := "-"
	for _, k := range keys(&c) {
		head, _, nested := strings.Cut(k.path, ".")
		if !nested {
			head = ""
		}
		if head != section {
			section = head
			title := "`" + head + "`"
			if head == "" {
				title = "Top level"
			}
			fmt.Fprintf(&b, "\n## %s\n\n| key | environment | default | value | meaning |\n| --- | --- | --- | --- | --- |\n", title)
		}
		fmt.Fprintf(&b, "| `%s` | `%s` | %s | %s | %s |\n", k.path, k.env(), k.defaultText(), k.value.kind(), cell(k.doc))
	}
	b.WriteString("\n## Flags\n\n`fanfare serve` and `fanfare dev` take these keys as flags too, and `--config FILE`:\n\n")
	for _, f := range Flags() {
		fmt.Fprintf(&b, "- `--%s` sets `%s`\n", f.Name, f.Path)
	}
	return b.String()
}

// defaultText is the cell of a key's default.
func (k key) defaultText() string {
	if k.unset != "" {
		return "none: " + k.unset
	}
	if i, ok := k.value.(intValue); ok && i.zero != "" && *i.p == 0 && i.zero != off {
		return i.zero
	}
	if text := k.value.text(); text != "" {
		return "`" + text + "`"
	}
	return "none"
}

// cell keeps a text from ending its table cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

const referenceIntro = `<!-- Made from internal/config/keys.go by "make gen"; a test keeps it current. -->
# Configuration

One YAML file (` + "`--config FILE` or `FANFARE_CONFIG`" + `), the environment and a few flags. For each key a flag wins over the
environment, the environment over the file, the file over the default. Without any of them ` + "`fanfare serve`" + ` runs with an
embedded broker and empty settings.

- Dots are nesting: ` + "`limits.message_bytes`" + ` is the key ` + "`message_bytes`" + ` below ` + "`limits:`" + `.
- A list is a YAML list or one comma-separated text; in the environment the latter.
- Durations are written ` + "`30s`, `5ms`, `1h30m`" + `; sizes as bytes or with a unit: ` + "`65536`, `512KiB`, `1MiB` (`KB` is 1000)" + `.
- A key without a value, and an empty variable, count as not set.
- Files that a key names must exist when the node starts. Relative paths start at the working directory.
- An unknown key is an error. So is a variable that begins with ` + "`FANFARE_`" + ` and looks like a misspelt key or lies in a
  section such as ` + "`FANFARE_LIMITS_`" + `; any other unknown one is named in a warning and ignored, and those that
  Kubernetes makes up for Services (` + "`FANFARE_SERVICE_HOST`, `FANFARE_PORT`" + `, …) are passed over.
- ` + "`fanfare check FILE`" + ` says what is wrong where, one line for each problem, and starts nothing.
- Secrets are never printed, neither in errors nor in logs.
`

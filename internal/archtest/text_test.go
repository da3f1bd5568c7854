package archtest

import (
	"bytes"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// tracked lists the files that belong to the repository. From an archive without git it is every file there is.
func tracked(t *testing.T) []string {
	t.Helper()
	top := root(t)
	cmd := exec.CommandContext(t.Context(), "git", "ls-files", "-z")
	cmd.Dir = top
	if out, err := cmd.Output(); err == nil && len(out) > 0 {
		return strings.Split(strings.TrimSuffix(string(out), "\x00"), "\x00")
	}
	var files []string
	err := filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (entry.Name() == "node_modules" || entry.Name() == ".git"):
			return filepath.SkipDir
		case entry.IsDir():
			return nil
		}
		rel, err := filepath.Rel(top, name)
		files = append(files, rel)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// trace is one kind of what tells of the machine somebody worked on. The literal is in every match: looking for it
// first is much quicker.
type trace struct {
	what    string
	literal string
	pattern *regexp.Regexp
}

func traces(t *testing.T) []trace {
	t.Helper()
	before := `(?:^|[^A-Za-z0-9_./-])`
	return []trace{
		{"the directory of this clone", root(t), regexp.MustCompile(before + regexp.QuoteMeta(root(t)) + `(?:/|\b)`)},
		{"somebody's home directory", "/home/", regexp.MustCompile(before + `/home/[a-z][A-Za-z0-9._-]*/`)},
		{"somebody's home directory", "/Users/", regexp.MustCompile(before + `/Users/[a-z][A-Za-z0-9._-]*/`)},
		{"a workplace directory", "/wor" + "k/", regexp.MustCompile(before + `/wor[k]/(?:main|shared)\b`)},
		{"a registry's host in a lock file", `"resolved"`, regexp.MustCompile(`"resolved": *"https?:`)},
		{"an unresolved merge conflict", "<" + "<<<<<<", regexp.MustCompile(`^<{7} `)},
		{"a line end of another system", "\r", regexp.MustCompile(`\r$`)},
	}
}

func TestNoTracesOfAMachine(t *testing.T) {
	patterns := traces(t)
	for _, name := range tracked(t) {
		file := filepath.Join(root(t), name)
		info, err := os.Lstat(file)
		if err != nil || !info.Mode().IsRegular() {
			continue // removed and not committed yet, or a link
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.IndexByte(content[:min(len(content), 8000)], 0) >= 0 {
			continue // not text
		}
		for _, found := range find(patterns, string(content)) {
			t.Errorf("%s:%s", name, found)
		}
	}
}

func find(patterns []trace, content string) []string {
	var out []string
	for _, p := range patterns {
		if !strings.Contains(content, p.literal) {
			continue
		}
		number := 0
		for line := range strings.SplitSeq(content, "\n") {
			number++
			if p.pattern.MatchString(line) {
				out = append(out, fmt.Sprintf("%d: %s", number, p.what))
			}
		}
	}
	return out
}

func TestFind(t *testing.T) {
	patterns := traces(t)
	for text, want := range map[string]bool{
		"see " + root(t) + "/go.mod":             true,
		"/ho" + "me/ann/src":                     true,
		"x/home/ann/y and /homeless/":            false,
		`"resolv` + `ed": "https://x/y.tgz"`:     true,
		"--mount=type=cache,target=/root/.cache": false,
	} {
		if got := find(patterns, text); (len(got) > 0) != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

package archtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestScenariosExist: docs/clients.md says what is shown of both clients; each test that it names is there.
func TestScenariosExist(t *testing.T) {
	root := filepath.Join("..", "..")
	page, err := os.ReadFile(filepath.Join(root, "docs", "clients.md"))
	if err != nil {
		t.Fatal(err)
	}
	gather := func(patterns ...string) string {
		var all strings.Builder
		for _, pattern := range patterns {
			files, err := filepath.Glob(filepath.Join(root, filepath.FromSlash(pattern)))
			if err != nil || len(files) == 0 {
				t.Fatalf("%s: %d files, %v", pattern, len(files), err)
			}
			for _, f := range files {
				text, err := os.ReadFile(f)
				if err != nil {
					t.Fatal(err)
				}
				all.Write(text)
			}
		}
		return all.String()
	}
	goTests := gather("client/*_test.go", "internal/e2e/*_test.go", "internal/backendtest/*_test.go")
	browserTests := gather("web/client/test/*/*.test.mjs")
	named := 0
	for line := range strings.Lines(string(page)) {
		if !strings.HasPrefix(line, "| ") {
			continue
		}
		for _, m := range regexp.MustCompile("`(Test[A-Za-z]+)`").FindAllStringSubmatch(line, -1) {
			named++
			if !strings.Contains(goTests, "func "+m[1]+"(") {
				t.Errorf("%s does not exist", m[1])
			}
		}
		for _, m := range regexp.MustCompile(`"([^"]+)"`).FindAllStringSubmatch(line, -1) {
			named++
			if !strings.Contains(browserTests, m[1]+`"`) && !strings.Contains(browserTests, m[1]+"`") {
				t.Errorf("%q does not exist", m[1])
			}
		}
	}
	if named < 40 {
		t.Errorf("only %d tests are named: has the page another form now?", named)
	}
}

package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

const module = "fanfare"

// source is one Go file.
type source struct {
	path string // from the root of the module, with slashes
	test bool
	file *ast.File
	set  *token.FileSet
}

func (s source) dir() string { return path.Dir(s.path) }

// lines is the length of the file.
func (s source) lines() int { return s.set.File(s.file.Pos()).LineCount() }

func (s source) line(n ast.Node) int { return s.set.Position(n.Pos()).Line }

func root(t *testing.T) string {
	t.Helper()
	dir, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// parsed is every Go file of this module, read once for all tests.
var parsed = sync.OnceValues(parse)

func sources(t *testing.T) []source {
	t.Helper()
	out, err := parsed()
	if err != nil {
		t.Fatal(err)
	}
	if len(out) < 50 {
		t.Fatalf("only %d files found", len(out))
	}
	return out
}

func parse() ([]source, error) {
	top, err := filepath.Abs(filepath.Join("..", ".."))
	if err != nil {
		return nil, err
	}
	var out []source
	err = filepath.WalkDir(top, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if entry.IsDir() {
			return enter(top, name, entry)
		}
		if !strings.HasSuffix(name, ".go") {
			return nil
		}
		rel, err := filepath.Rel(top, name)
		if err != nil {
			return err
		}
		set := token.NewFileSet()
		file, err := parser.ParseFile(set, name, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		out = append(out, source{filepath.ToSlash(rel), strings.HasSuffix(name, "_test.go"), file, set})
		return nil
	})
	return out, err
}

// enter leaves out what is not of this module.
func enter(top, name string, entry fs.DirEntry) error {
	base := entry.Name()
	if name == top {
		return nil
	}
	if base == "testdata" || base == "node_modules" || strings.HasPrefix(base, ".") || strings.HasPrefix(base, "_") {
		return filepath.SkipDir
	}
	if _, err := os.Stat(filepath.Join(name, "go.mod")); err == nil {
		return filepath.SkipDir
	}
	return nil
}

func TestImports(t *testing.T) {
	used := map[string]bool{}
	for _, s := range sources(t) {
		used[s.dir()] = true
		rule, listed := rooms[s.dir()]
		if !listed {
			t.Errorf("%s: package %s has no line in rules_test.go", s.path, s.dir())
			continue
		}
		if s.test {
			continue // tests may put more together
		}
		for _, spec := range s.file.Imports {
			imported := strings.Trim(spec.Path.Value, `"`)
			if why := rule.refuses(s.dir(), imported); why != "" {
				t.Errorf("%s:%d: %s must not import %s: %s", s.path, s.line(spec), s.dir(), imported, why)
			}
		}
	}
	for dir := range rooms {
		if !used[dir] {
			t.Errorf("rules_test.go lists %s, which has no Go file", dir)
		}
	}
}

// refuses says why a package in dir must not import another, or nothing.
func (r room) refuses(dir, imported string) string {
	if ours, ok := strings.CutPrefix(imported, module+"/"); ok {
		if ours == dir || slices.Contains(r.ours, "*") || slices.Contains(r.ours, ours) {
			return ""
		}
		return "not among its rooms"
	}
	first, _, _ := strings.Cut(imported, "/")
	if !strings.Contains(first, ".") {
		return "" // the standard library
	}
	if r.stdlib {
		return "standard library only"
	}
	for _, prefix := range r.never {
		if strings.HasPrefix(imported, prefix) {
			return "kept out of this room"
		}
	}
	return ""
}

func TestRefuses(t *testing.T) {
	for _, test := range []struct {
		dir, imported string
		refused       bool
	}{
		{"gateway", "fanfare/protocol", false},
		{"gateway", "fanfare/broker", true},
		{"gateway", "github.com/nats-io/nats.go", true},
		{"gateway", "github.com/lxzan/gws", false},
		{"gateway", "net/http", false},
		{"broker", "github.com/lxzan/gws", true},
		{"internal/subject", "golang.org/x/text/unicode/norm", true},
		{"internal/node", "fanfare/broker", false},
	} {
		if got := rooms[test.dir].refuses(test.dir, test.imported); (got != "") != test.refused {
			t.Errorf("%s importing %s: %q", test.dir, test.imported, got)
		}
	}
}

func TestOnePackageComment(t *testing.T) {
	comments := map[string][]string{}
	for _, s := range sources(t) {
		if s.test {
			if s.file.Doc != nil {
				t.Errorf("%s: a package comment in a test file", s.path)
			}
			continue
		}
		if _, seen := comments[s.dir()]; !seen {
			comments[s.dir()] = nil
		}
		if s.file.Doc == nil {
			continue
		}
		comments[s.dir()] = append(comments[s.dir()], s.path)
		want := "Package " + s.file.Name.Name + " "
		if s.file.Name.Name == "main" {
			want = "Command " + path.Base(s.dir()) + " "
		}
		if !strings.HasPrefix(s.file.Doc.Text(), want) {
			t.Errorf("%s: the package comment must begin with %q", s.path, want)
		}
	}
	for dir, files := range comments {
		if len(files) != 1 {
			t.Errorf("%s has %d package comments, one is needed: %v", dir, len(files), files)
		}
	}
}

func TestFilesReadInOneGo(t *testing.T) {
	for _, s := range sources(t) {
		limit := maxLines
		if s.test {
			limit = maxTestLines
		}
		if n := s.lines(); n > limit {
			t.Errorf("%s: %d lines, at most %d: split it by its nouns or verbs", s.path, n, limit)
		}
	}
}

func TestBannedCalls(t *testing.T) {
	excused := map[string]bool{}
	for _, s := range sources(t) {
		table := banned
		if s.test {
			table = bannedInTests
		}
		for name, line := range s.calls() {
			allowed, isBanned := table[name]
			if name == "time.Sleep" && s.imports("testing/synctest") {
				isBanned = isBanned && !s.test // its clock is not the wall's
			}
			if !isBanned {
				continue
			}
			if slices.Contains(allowed, s.path) {
				excused[name+" "+s.path] = true
				continue
			}
			t.Errorf("%s:%d: %s has no place here", s.path, line, name)
		}
	}
	for name, paths := range banned {
		for _, p := range paths {
			if !excused[name+" "+p] {
				t.Errorf("rules_test.go excuses %s in %s, which does not need it", name, p)
			}
		}
	}
}

func (s source) imports(name string) bool {
	return slices.ContainsFunc(s.file.Imports, func(spec *ast.ImportSpec) bool { return spec.Path.Value == `"`+name+`"` })
}

// calls gives what the file calls, as package.Function, receiver.Method or builtin, with a line of each.
func (s source) calls() map[string]int {
	packages := map[string]string{} // local name -> last part of the path
	out := map[string]int{}
	for _, spec := range s.file.Imports {
		imported := strings.Trim(spec.Path.Value, `"`)
		base := path.Base(imported)
		if spec.Name != nil {
			packages[spec.Name.Name] = base
		}
		out["import "+imported] = s.line(spec)
	}
	var loops []ast.Node
	ast.Inspect(s.file, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.ForStmt, *ast.RangeStmt:
			loops = append(loops, n)
		case *ast.FuncDecl:
			if n.Recv == nil && n.Name.Name == "init" {
				out["init"] = s.line(n)
			}
		case *ast.CallExpr:
			name := callee(n, packages)
			if name == "time.Sleep" && slices.ContainsFunc(loops, func(l ast.Node) bool { return l.Pos() <= n.Pos() && n.End() <= l.End() }) {
				name = "time.Sleep in a loop"
			}
			if name != "" {
				out[name] = s.line(n)
			}
		}
		return true
	})
	return out
}

func callee(call *ast.CallExpr, packages map[string]string) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		if x, ok := f.X.(*ast.Ident); ok {
			if base, renamed := packages[x.Name]; renamed {
				return base + "." + f.Sel.Name
			}
			return x.Name + "." + f.Sel.Name
		}
	}
	return ""
}

func TestCalls(t *testing.T) {
	set := token.NewFileSet()
	file, err := parser.ParseFile(set, "x.go", `package x
import ("log"; clock "time")
func init() { clock.Sleep(1); panic(log.Prefix()) }
func f() { for { clock.Sleep(1) } }
func (t T) init() { t.Skip() }`, 0)
	if err != nil {
		t.Fatal(err)
	}
	got := slices.Sorted(maps.Keys(source{"x.go", false, file, set}.calls()))
	want := []string{"import log", "import time", "init", "log.Prefix", "panic", "t.Skip", "time.Sleep", "time.Sleep in a loop"}
	if !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

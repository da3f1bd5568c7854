package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

const referencePath = "../../docs/configuration.md"

func TestReference(t *testing.T) {
	want := Reference()
	if *update {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	have, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	if string(have) != want {
		t.Error("docs/configuration.md is not what the code says: run `make gen`")
	}
	c := Default()
	for _, k := range keys(&c) {
		if strings.Count(want, "| `"+k.path+"` | `"+k.env()+"` |") != 1 {
			t.Errorf("%s does not stand once in the reference", k.path)
		}
		if k.doc == "" || strings.HasSuffix(k.doc, ".") {
			t.Errorf("%s: doc %q", k.path, k.doc)
		}
	}
}

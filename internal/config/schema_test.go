package config

import (
	"bytes"
	"encoding/json"
	"os"
	"reflect"
	"testing"
)

// TestSchemaOfTheChart keeps the part of the chart's schema that comes from here; `make gen` writes it.
func TestSchemaOfTheChart(t *testing.T) {
	const path = "../../helm/fanfare/values.schema.json"
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var whole map[string]any
	if err := json.Unmarshal(content, &whole); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(Schema())
	if err != nil {
		t.Fatal(err)
	}
	var want any
	if err := json.Unmarshal(text, &want); err != nil {
		t.Fatal(err)
	}
	properties := whole["properties"].(map[string]any)                             //nolint:forcetypeassert // a broken schema may end the test
	broker := properties["broker"].(map[string]any)["properties"].(map[string]any) //nolint:forcetypeassert // as above
	if *update {
		properties["config"], broker["config"] = want, want
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", "  ")
		if err := e.Encode(whole); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, out.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if !reflect.DeepEqual(properties["config"], want) || !reflect.DeepEqual(broker["config"], want) {
		t.Error("the chart's schema of config is not what the code says: run `make gen`")
	}
}

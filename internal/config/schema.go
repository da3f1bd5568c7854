package config

import "strings"

// Schema is the JSON Schema of the configuration file, for the chart: every key with its type and meaning, and
// nothing else. Ranges and formats stay with Load, which words them better.
func Schema() map[string]any {
	c := Default()
	root := section("")
	for _, k := range keys(&c) {
		at := root
		parts := strings.Split(k.path, ".")
		for _, part := range parts[:len(parts)-1] {
			properties, _ := at["properties"].(map[string]any)
			next, known := properties[part].(map[string]any)
			if !known {
				next = section(part)
				properties[part] = next
			}
			at = next
		}
		properties, _ := at["properties"].(map[string]any)
		properties[parts[len(parts)-1]] = k.schema()
	}
	return root
}

func section(name string) map[string]any {
	out := map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
	if name == "" {
		out["description"] = "the configuration file: docs/configuration.md"
	}
	return out
}

// schema says which types of YAML a key takes. Everything may be a text, as in the environment, or nothing.
func (k key) schema() map[string]any {
	types := []string{"string", "null"}
	switch k.value.(type) {
	case boolValue:
		types = append(types, "boolean")
	case intValue, sizeValue, durationValue:
		types = append(types, "integer")
	case ratioValue:
		types = append(types, "number")
	}
	out := map[string]any{"type": types, "description": strings.ReplaceAll(k.doc, "`", "")}
	if _, several := k.value.(list); several {
		out["type"] = append(types, "array")
		out["items"] = map[string]any{"type": "string"}
	}
	return out
}

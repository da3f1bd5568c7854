package config

import (
	"crypto/tls"
	"fmt"
	"maps"
	"strings"

	"github.com/knadh/koanf/providers/confmap"
	"github.com/knadh/koanf/v2"
)

// Source is where Load looks.
type Source struct {
	// File is the path of a YAML file; empty = the one that FANFARE_CONFIG names, or none.
	File string
	// Env has entries NAME=value, as os.Environ gives them.
	Env []string
	// Flags has the text of each flag that was given, by the path of its key.
	Flags map[string]string
	// Base is what stands where nothing is set; nil = Default(). `fanfare dev` has defaults of its own.
	Base *Config
}

// Load reads every source, checks the outcome and returns it. The error is of type Problems.
func Load(src Source) (Config, error) {
	c := Default()
	if src.Base != nil {
		c = *src.Base
	}
	known := keys(&c)
	var problems Problems
	var layers []layer

	if name := src.file(); name != "" {
		l, p := readFile(name, known)
		layers, problems = append(layers, l), append(problems, p...)
	}
	l, p, warnings := readEnv(src.Env, known)
	layers, problems = append(layers, l), append(problems, p...)
	l, p = readFlags(src.Flags, known)
	layers, problems = append(layers, l), append(problems, p...)

	places, p := apply(known, layers)
	problems = append(problems, p...)
	c.Warnings = warnings
	if len(problems) == 0 {
		// Only whole values can be compared with each other.
		problems = c.relations(places)
	}
	if err := problems.orNil(); err != nil {
		return Config{}, err
	}
	if c.NATS.Replicas == 0 {
		c.NATS.Replicas = 3
		if c.NATS.Embedded() {
			c.NATS.Replicas = 1
		}
	}
	return c, nil
}

func (src Source) file() string {
	if src.File != "" {
		return src.File
	}
	for _, variable := range src.Env {
		if name, text, _ := strings.Cut(variable, "="); name == EnvFile {
			return text
		}
	}
	return ""
}

func readFlags(flags map[string]string, known []key) (layer, Problems) {
	out := newLayer()
	for _, k := range known {
		if text, given := flags[k.path]; given {
			out.put(k.path, "--"+flagName(k.path), k.split(text))
		}
	}
	var problems Problems
	for path := range flags {
		if _, ok := out.texts[path]; !ok {
			problems.add("--"+flagName(path), path, "unknown key")
		}
	}
	return out, problems
}

// split makes the texts of a value that came as one text.
func (k key) split(text string) []string {
	if _, isList := k.value.(list); isList {
		return splitList(text)
	}
	return []string{text}
}

// apply lays the layers over each other, sets every key that occurs and returns where each was set.
func apply(known []key, layers []layer) (map[string]string, Problems) {
	var problems Problems
	merged, places := koanf.New("."), map[string]string{}
	for _, l := range layers {
		if err := merged.Load(confmap.Provider(l.texts, "."), nil); err != nil {
			problems.add("", "", "%v", err)
		}
		maps.Copy(places, l.places)
	}
	for _, k := range known {
		texts, ok := merged.Get(k.path).([]string)
		if !ok {
			continue
		}
		if err := k.value.set(texts); err != nil {
			problems.add(places[k.path], k.path, "%v", err)
		}
	}
	return places, problems
}

// relations checks what one key means for another.
func (c *Config) relations(places map[string]string) Problems {
	var problems Problems
	report := func(path, format string, args ...any) {
		place, ok := places[path]
		if !ok {
			place = "default"
		}
		problems.add(place, path, format, args...)
	}
	pair := func(section string, cert, key string) {
		switch {
		case cert != "" && key == "":
			report(section+".cert", "needs %s.key as well", section)
		case cert == "" && key != "":
			report(section+".key", "needs %s.cert as well", section)
		case cert != "":
			if _, err := tls.LoadX509KeyPair(cert, key); err != nil {
				report(section+".cert", "%s", strings.TrimPrefix(err.Error(), "tls: "))
			}
		}
	}
	pair("tls", c.TLS.Cert, c.TLS.Key)
	pair("nats.tls", c.NATS.TLS.Cert, c.NATS.TLS.Key)
	pair("broker.tls", c.Broker.TLS.Cert, c.Broker.TLS.Key)
	switch b := c.Broker; {
	case b.TLS.Cert == "" && (b.TLS.CA != "" || b.TLS.Verify):
		report(laterOf(places, "broker.tls.verify", "broker.tls.ca"), "needs broker.tls.cert and broker.tls.key as well")
	case b.TLS.Cert != "" && b.TLS.CA == "" && (b.TLS.Verify || b.ClusterListen != ""):
		report("broker.tls.cert", "needs broker.tls.ca as well, to check peers and gateways with")
	}
	if c.NATS.Password.IsSet() && c.NATS.Embedded() {
		report("nats.password", "is for an external broker: set nats.urls as well")
	}
	if c.Listen == "" {
		report("listen", "must not be empty")
	}
	if c.NATS.Embedded() {
		if c.DataDir == "" {
			report("data_dir", "must not be empty: the embedded broker keeps its store there")
		}
		if c.NATS.Replicas > 1 {
			report("nats.replicas", "%d, but the embedded broker is one node: set nats.urls or leave it out", c.NATS.Replicas)
		}
	}
	if len(c.Broker.Routes) > 0 && c.Broker.ClusterListen == "" {
		report("broker.routes", "needs broker.cluster_listen as well")
	}
	l := c.Limits
	if l.PongTimeout <= l.PingInterval {
		report(laterOf(places, "limits.pong_timeout", "limits.ping_interval"),
			"limits.pong_timeout (%s) must be longer than limits.ping_interval (%s)", formatDuration(l.PongTimeout), formatDuration(l.PingInterval))
	}
	return problems
}

// laterOf picks the one of two keys that somebody set, so that the problem names a place they know.
func laterOf(places map[string]string, first, second string) string {
	if _, set := places[first]; !set {
		if _, set := places[second]; set {
			return second
		}
	}
	return first
}

// LogString describes c for a log at start: every key that differs from its default, secrets redacted.
func (c *Config) LogString() string {
	plainest := Default()
	defaults := keys(&plainest)
	var out []string
	for i, k := range keys(c) {
		if text := k.value.text(); text != defaults[i].value.text() {
			out = append(out, fmt.Sprintf("%s=%s", k.path, text))
		}
	}
	return strings.Join(out, " ")
}

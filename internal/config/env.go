package config

import (
	"regexp"
	"slices"
	"strings"
)

// EnvFile names the configuration file when the command line does not.
const EnvFile = envPrefix + "CONFIG"

// serviceLink matches what Kubernetes puts into every pod for a Service whose name begins with "fanfare".
var serviceLink = regexp.MustCompile(`_SERVICE_HOST$|_SERVICE_PORT(_[A-Z0-9_]+)?$|_PORT$|_PORT_\d+_(TCP|UDP|SCTP)(_PROTO|_PORT|_ADDR)?$`)

// readEnv takes the variables of known keys. An empty variable counts as not set: that is what compose files
// and charts produce for a value that was left out.
//
// A variable that looks like a misspelt key, or that lies in a section of keys, is a problem: its author
// believes that it does something. Any other FANFARE_ variable is a warning only, since it may be somebody
// else's (a script's FANFARE_BIN), and what Kubernetes makes up for Services is passed over.
func readEnv(environ []string, known []key) (layer, Problems, []string) {
	out := newLayer()
	byEnv, names := map[string]key{}, []string{}
	for _, k := range known {
		byEnv[k.env()] = k
		names = append(names, k.env())
	}
	var problems Problems
	var warnings []string
	for _, variable := range environ {
		name, text, _ := strings.Cut(variable, "=")
		if !strings.HasPrefix(name, envPrefix) || name == EnvFile || text == "" {
			continue
		}
		if k, ok := byEnv[name]; ok {
			out.put(k.path, name, k.split(text))
			continue
		}
		if serviceLink.MatchString(name) {
			continue
		}
		switch guess := nearestEnv(name, names); {
		case guess != "":
			problems.add(name, "", "unknown variable (did you mean %s?)", guess)
		case inSection(name, known):
			problems.add(name, "", "unknown variable")
		default:
			warnings = append(warnings, name+": not a variable of fanfare, ignored")
		}
	}
	slices.SortFunc(problems, func(a, b Problem) int { return strings.Compare(a.Place, b.Place) })
	slices.Sort(warnings)
	return out, problems, warnings
}

// nearestEnv compares without the prefix, which would make everything look alike.
func nearestEnv(name string, names []string) string {
	tails := make([]string, len(names))
	for i, n := range names {
		tails[i] = strings.TrimPrefix(n, envPrefix)
	}
	if tail := nearest(strings.TrimPrefix(name, envPrefix), tails); tail != "" {
		return envPrefix + tail
	}
	return ""
}

// inSection tells whether name begins like the variables of a section, as FANFARE_LIMITS_ does.
func inSection(name string, known []key) bool {
	return slices.ContainsFunc(known, func(k key) bool {
		section, _, nested := strings.Cut(k.path, ".")
		return nested && strings.HasPrefix(name, envPrefix+strings.ToUpper(section)+"_")
	})
}

package ops

import (
	"runtime"
	"runtime/debug"
)

// Build says what runs.
type Build struct {
	Version   string
	Commit    string
	GoVersion string
}

// ReadBuild describes this binary. The arguments are what the linker was told; where it was told nothing, what
// the Go command noted in the binary stands in.
func ReadBuild(version, commit string) Build {
	b := Build{Version: version, Commit: commit, GoVersion: runtime.Version()}
	info, ok := debug.ReadBuildInfo()
	if ok {
		b.fill(info)
	}
	if b.Version == "" {
		b.Version = "devel"
	}
	if b.Commit == "" {
		b.Commit = "unknown"
	}
	return b
}

func (b *Build) fill(info *debug.BuildInfo) {
	if v := info.Main.Version; b.Version == "" && v != "(devel)" {
		b.Version = v
	}
	revision, modified := "", false
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			revision = s.Value
		case "vcs.modified":
			modified = s.Value == "true"
		}
	}
	if b.Commit == "" && revision != "" {
		b.Commit = revision
		if modified {
			b.Commit += "+changes"
		}
	}
}

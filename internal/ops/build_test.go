package ops

import (
	"runtime"
	"runtime/debug"
	"testing"
)

func TestReadBuild(t *testing.T) {
	if b := ReadBuild("1.2.3", "abc"); b != (Build{"1.2.3", "abc", runtime.Version()}) {
		t.Errorf("%+v", b)
	}
	if b := ReadBuild("", ""); b.Version == "" || b.Commit == "" {
		t.Errorf("%+v", b)
	}
	info := &debug.BuildInfo{Main: debug.Module{Version: "v1.0.0"}, Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "def"}, {Key: "vcs.modified", Value: "true"}}}
	var b Build
	b.fill(info)
	if b.Version != "v1.0.0" || b.Commit != "def+changes" {
		t.Errorf("%+v", b)
	}
	given := Build{Version: "2", Commit: "abc"}
	given.fill(info)
	if given.Version != "2" || given.Commit != "abc" {
		t.Errorf("%+v", given)
	}
}

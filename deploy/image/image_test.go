package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// entries reads a tar archive.
func entries(t *testing.T, b []byte) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	for r := tar.NewReader(bytes.NewReader(b)); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		if out[h.Name], err = io.ReadAll(r); err != nil {
			t.Fatal(err)
		}
	}
}

func decode(t *testing.T, b []byte, v any) {
	t.Helper()
	if err := json.Unmarshal(b, v); err != nil {
		t.Fatalf("%v: %s", err, b)
	}
}

func archived(t *testing.T, binary string) (digest string, content []byte) {
	t.Helper()
	o, err := parse([]string{"-tag", "fanfare:1.2.3", "-version", "1.2.3", "-commit", "abc", "-created", "1700000000"}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	a := newArchive(o)
	for _, p := range o.platforms {
		if err := a.add(p, base(), []file{{name: "fanfare", mode: 0o755, content: []byte(binary + p.arch)}}); err != nil {
			t.Fatal(err)
		}
	}
	name := filepath.Join(t.TempDir(), "image.tar")
	if digest, err = a.write(name); err != nil {
		t.Fatal(err)
	}
	if content, err = os.ReadFile(name); err != nil {
		t.Fatal(err)
	}
	return digest, content
}

// TestArchive follows the archive from its index to the files, as a registry and a node do.
func TestArchive(t *testing.T) {
	digest, content := archived(t, "binary for ")
	all := entries(t, content)
	for name, b := range all {
		if want, ok := strings.CutPrefix(name, "blobs/sha256/"); ok {
			if sum := sha256.Sum256(b); hex.EncodeToString(sum[:]) != want {
				t.Errorf("%s holds something else", name)
			}
		}
	}
	blob := func(d descriptor) []byte {
		t.Helper()
		b := all[blobPath(d.Digest)]
		if len(b) == 0 || len(b) != d.Size {
			t.Fatalf("%+v: %d bytes", d, len(b))
		}
		return b
	}
	var index, image struct{ Manifests []descriptor }
	decode(t, all["index.json"], &index)
	if len(index.Manifests) != 1 || index.Manifests[0].Digest != digest || index.Manifests[0].Annotations["io.containerd.image.name"] != "docker.io/library/fanfare:1.2.3" {
		t.Fatalf("%s", all["index.json"])
	}
	decode(t, blob(index.Manifests[0]), &image)
	if len(image.Manifests) != 2 {
		t.Fatalf("%+v", image)
	}
	for i, arch := range []string{"amd64", "arm64"} {
		var manifest struct {
			Config descriptor
			Layers []descriptor
		}
		var config struct {
			Architecture string
			Created      time.Time
			Config       struct {
				User       string
				Entrypoint []string
				Labels     map[string]string
			}
			Rootfs struct {
				Diffs []string `json:"diff_ids"`
			}
		}
		if got := image.Manifests[i].Platform["architecture"]; got != arch {
			t.Errorf("platform %s, want %s", got, arch)
		}
		decode(t, blob(image.Manifests[i]), &manifest)
		decode(t, blob(manifest.Config), &config)
		if config.Architecture != arch || config.Config.User != "65532:65532" || config.Config.Entrypoint[0] != "/fanfare" || config.Created.Unix() != 1700000000 ||
			config.Config.Labels["org.opencontainers.image.version"] != "1.2.3" || len(config.Rootfs.Diffs) != 2 || len(manifest.Layers) != 2 {
			t.Errorf("%+v", config)
		}
		files := map[string][]byte{}
		for n, d := range manifest.Layers {
			z, err := gzip.NewReader(bytes.NewReader(blob(d)))
			if err != nil {
				t.Fatal(err)
			}
			plain, err := io.ReadAll(z)
			if err != nil {
				t.Fatal(err)
			}
			if sum := sha256.Sum256(plain); config.Rootfs.Diffs[n] != "sha256:"+hex.EncodeToString(sum[:]) {
				t.Errorf("layer %d is not what the configuration says", n)
			}
			maps.Copy(files, entries(t, plain))
		}
		if string(files["fanfare"]) != "binary for "+arch {
			t.Errorf("the binary is %q", files["fanfare"])
		}
		if pool := x509.NewCertPool(); !pool.AppendCertsFromPEM(files["etc/ssl/certs/ca-certificates.crt"]) {
			t.Error("no roots of trust")
		}
		if _, there := files["fanfare-data/"]; !there || len(files) != 6 {
			t.Errorf("%d entries", len(files))
		}
	}
}

func TestSameBytes(t *testing.T) {
	one, first := archived(t, "x")
	two, second := archived(t, "x")
	if one != two || !bytes.Equal(first, second) {
		t.Error("the same input gave two images")
	}
	if other, _ := archived(t, "y"); other == one {
		t.Error("another binary, the same digest")
	}
}

func TestParse(t *testing.T) {
	for _, args := range [][]string{{"-tag", "fanfare"}, {"-tag", "host:5000/fanfare"}, {"-platforms", "windows/amd64"}, {"-platforms", "linux"}, {"x"}} {
		if _, err := parse(args, io.Discard); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
	for image, want := range map[string]string{
		"fanfare:1": "docker.io/library/fanfare:1", "a/b:1": "docker.io/a/b:1", "host:5000/f:1": "host:5000/f:1", "localhost/f:1": "localhost/f:1",
	} {
		if got := familiar(image); got != want {
			t.Errorf("%s is %s, want %s", image, got, want)
		}
	}
}

func TestWriteRoot(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "root")
	if err := writeRoot(dir, []file{{name: "etc", mode: 0o755, dir: true}, {name: "etc/x", mode: 0o644, content: []byte("y")}}); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "etc", "x")); err != nil || string(b) != "y" {
		t.Errorf("%q %v", b, err)
	}
}

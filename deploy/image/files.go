package main

import (
	"archive/tar"
	"bytes"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/crypto/x509roots/fallback/bundle"
)

// user is who the image runs as and who owns its data directory.
const user = 65532

// file is one entry of the image.
type file struct {
	name    string // without a leading slash
	mode    int64
	owner   int
	dir     bool
	content []byte
}

// base is what changes rarely, so that it is a layer of its own: Mozilla's roots of trust as the Go project
// publishes them, pinned in go.sum, and the data directory of `fanfare serve` with nothing configured.
func base() []file {
	return []file{
		{name: "etc", mode: 0o755, dir: true},
		{name: "etc/ssl", mode: 0o755, dir: true},
		{name: "etc/ssl/certs", mode: 0o755, dir: true},
		{name: "etc/ssl/certs/ca-certificates.crt", mode: 0o644, content: roots()},
		{name: "fanfare-data", mode: 0o700, owner: user, dir: true},
	}
}

// roots leaves out those that are trusted with conditions only, which a PEM file cannot say.
func roots() []byte {
	var out bytes.Buffer
	for root := range bundle.Roots() {
		if root.Constraint == nil {
			_ = pem.Encode(&out, &pem.Block{Type: "CERTIFICATE", Bytes: root.Certificate}) // a Buffer takes everything
		}
	}
	return out.Bytes()
}

// layer is an uncompressed layer of files, all of one time.
func layer(files []file, at time.Time) ([]byte, error) {
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for _, f := range files {
		h := &tar.Header{
			Typeflag: tar.TypeReg, Name: f.name, Mode: f.mode, Size: int64(len(f.content)), Uid: f.owner, Gid: f.owner,
			ModTime: at, Format: tar.FormatUSTAR,
		}
		if f.dir {
			h.Typeflag, h.Name = tar.TypeDir, f.name+"/"
		}
		if err := w.WriteHeader(h); err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
		if _, err := w.Write(f.content); err != nil {
			return nil, fmt.Errorf("layer: %w", err)
		}
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return out.Bytes(), nil
}

// writeRoot writes files below dir. Owners are set by who copies them into an image.
func writeRoot(dir string, files []file) error {
	if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // the root of an image
		return fmt.Errorf("root: %w", err)
	}
	for _, f := range files {
		name := filepath.Join(dir, filepath.FromSlash(f.name))
		var err error
		if f.dir {
			err = os.MkdirAll(name, os.FileMode(f.mode))
		} else {
			err = os.WriteFile(name, f.content, os.FileMode(f.mode))
		}
		if err == nil && f.owner != 0 {
			err = os.Chown(name, f.owner, f.owner)
		}
		if err != nil {
			return fmt.Errorf("root: %w", err)
		}
	}
	return nil
}

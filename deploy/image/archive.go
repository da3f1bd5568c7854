package main

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	mediaIndex    = "application/vnd.oci.image.index.v1+json"
	mediaManifest = "application/vnd.oci.image.manifest.v1+json"
	mediaConfig   = "application/vnd.oci.image.config.v1+json"
	mediaLayer    = "application/vnd.oci.image.layer.v1.tar+gzip"
)

// descriptor points at a blob, as the OCI image specification has it.
type descriptor struct {
	MediaType   string            `json:"mediaType"`
	Digest      string            `json:"digest"`
	Size        int               `json:"size"`
	Platform    map[string]string `json:"platform,omitempty"`
	Annotations map[string]string `json:"annotations,omitempty"`
}

// archive collects the blobs of an image for several platforms.
type archive struct {
	o         options
	blobs     map[string][]byte // by digest without "sha256:"
	manifests []descriptor
	docker    []any // manifest.json of `docker load` before it knew OCI: the first platform
}

func newArchive(o options) *archive { return &archive{o: o, blobs: map[string][]byte{}} }

// blob adds content and describes it.
func (a *archive) blob(mediaType string, content []byte) descriptor {
	sum := sha256.Sum256(content)
	digest := hex.EncodeToString(sum[:])
	a.blobs[digest] = content
	return descriptor{MediaType: mediaType, Digest: "sha256:" + digest, Size: len(content)}
}

func (a *archive) document(mediaType string, v any) (descriptor, error) {
	content, err := json.Marshal(v)
	if err != nil {
		return descriptor{}, fmt.Errorf("image: %w", err)
	}
	return a.blob(mediaType, content), nil
}

// labels describe the image to those who scan and list images. What it is made of stands in the binary itself
// (go version -m).
func (a *archive) labels() map[string]string {
	return map[string]string{
		"org.opencontainers.image.title":       "fanfare",
		"org.opencontainers.image.description": "Realtime channel server: gateway, broker and tools",
		"org.opencontainers.image.licenses":    "Apache-2.0",
		"org.opencontainers.image.version":     a.o.version,
		"org.opencontainers.image.revision":    a.o.commit,
		"org.opencontainers.image.created":     a.o.created.Format(time.RFC3339),
		"org.opencontainers.image.base.name":   "scratch",
	}
}

// add makes the image of one platform out of layers.
func (a *archive) add(p platform, layers ...[]file) error {
	var descriptors []descriptor
	var diffs []string
	var history []any
	for _, files := range layers {
		plain, err := layer(files, a.o.created)
		if err != nil {
			return err
		}
		sum := sha256.Sum256(plain)
		diffs = append(diffs, "sha256:"+hex.EncodeToString(sum[:]))
		packed, err := pack(plain)
		if err != nil {
			return err
		}
		descriptors = append(descriptors, a.blob(mediaLayer, packed))
		history = append(history, map[string]any{"created": a.o.created, "created_by": "deploy/image: /" + files[len(files)-1].name})
	}
	config, err := a.document(mediaConfig, map[string]any{
		"architecture": p.arch, "os": p.os, "created": a.o.created,
		"config": map[string]any{
			"User": strconv.Itoa(user) + ":" + strconv.Itoa(user), "Entrypoint": []string{"/fanfare"}, "Cmd": []string{"serve"}, "WorkingDir": "/",
			"Env":          []string{"PATH=/", "SSL_CERT_FILE=/etc/ssl/certs/ca-certificates.crt"},
			"ExposedPorts": map[string]any{"8000/tcp": map[string]any{}}, "Volumes": map[string]any{"/fanfare-data": map[string]any{}},
			"StopSignal": "SIGTERM", "Labels": a.labels(),
		},
		"rootfs": map[string]any{"type": "layers", "diff_ids": diffs}, "history": history,
	})
	if err != nil {
		return err
	}
	manifest, err := a.document(mediaManifest, map[string]any{
		"schemaVersion": 2, "mediaType": mediaManifest, "config": config, "layers": descriptors, "annotations": a.labels(),
	})
	if err != nil {
		return err
	}
	manifest.Platform = map[string]string{"os": p.os, "architecture": p.arch}
	a.manifests = append(a.manifests, manifest)
	if a.docker == nil {
		var paths []string
		for _, d := range descriptors {
			paths = append(paths, blobPath(d.Digest))
		}
		a.docker = []any{map[string]any{"Config": blobPath(config.Digest), "RepoTags": []string{a.o.tag}, "Layers": paths}}
	}
	return nil
}

func blobPath(digest string) string { return "blobs/sha256/" + strings.TrimPrefix(digest, "sha256:") }

func pack(plain []byte) ([]byte, error) {
	var out bytes.Buffer
	w, err := gzip.NewWriterLevel(&out, gzip.BestCompression)
	if err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	if _, err := w.Write(plain); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	if err := w.Close(); err != nil {
		return nil, fmt.Errorf("layer: %w", err)
	}
	return out.Bytes(), nil
}

// write puts everything into one file and gives the digest of the image.
func (a *archive) write(name string) (string, error) {
	image, err := a.document(mediaIndex, map[string]any{
		"schemaVersion": 2, "mediaType": mediaIndex, "manifests": a.manifests, "annotations": a.labels(),
	})
	if err != nil {
		return "", err
	}
	_, tag := splitTag(a.o.tag)
	image.Annotations = map[string]string{"io.containerd.image.name": familiar(a.o.tag), "org.opencontainers.image.ref.name": tag}
	index, err := json.Marshal(map[string]any{"schemaVersion": 2, "mediaType": mediaIndex, "manifests": []descriptor{image}})
	if err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	docker, err := json.Marshal(a.docker)
	if err != nil {
		return "", fmt.Errorf("image: %w", err)
	}
	files := []file{
		{name: "oci-layout", content: []byte(`{"imageLayoutVersion":"1.0.0"}`)},
		{name: "index.json", content: index},
		{name: "manifest.json", content: docker},
	}
	for digest, content := range a.blobs {
		files = append(files, file{name: blobPath(digest), content: content})
	}
	slices.SortStableFunc(files[3:], func(x, y file) int { return strings.Compare(x.name, y.name) })
	for i := range files {
		files[i].mode = 0o644
	}
	content, err := layer(files, a.o.created)
	if err != nil {
		return "", err
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil { //nolint:gosec // no secrets
		return "", fmt.Errorf("image: %w", err)
	}
	if err := os.WriteFile(name, content, 0o644); err != nil { //nolint:gosec // as above
		return "", fmt.Errorf("image: %w", err)
	}
	return image.Digest, nil
}

// familiar is the full name of an image as Kubernetes asks a node for it.
func familiar(image string) string {
	first, _, several := strings.Cut(image, "/")
	switch {
	case !several:
		return "docker.io/library/" + image
	case !strings.ContainsAny(first, ".:") && first != "localhost":
		return "docker.io/" + image
	}
	return image
}

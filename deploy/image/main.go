package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"time"
)

// options are the command line.
type options struct {
	out, rootfs     string
	tag             string
	version, commit string
	created         time.Time
	platforms       []platform
}

// platform is an operating system and an architecture as Go and OCI name them.
type platform struct{ os, arch string }

func (p platform) String() string { return p.os + "/" + p.arch }

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt) //nolint:forbidigo // the root of all
	defer stop()
	if err := run(ctx, os.Args[1:], os.Stdout, os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(os.Stderr, "image:", err)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) error {
	o, err := parse(args, stderr)
	if err != nil {
		return err
	}
	work, err := os.MkdirTemp("", "fanfare-image-")
	if err != nil {
		return fmt.Errorf("work directory: %w", err)
	}
	defer os.RemoveAll(work) //nolint:errcheck // a temporary directory
	if o.rootfs != "" {
		binary, err := build(ctx, o, o.platforms[0], work, stderr)
		if err != nil {
			return err
		}
		return writeRoot(o.rootfs, append(base(), binary))
	}
	a := newArchive(o)
	for _, p := range o.platforms {
		binary, err := build(ctx, o, p, work, stderr)
		if err != nil {
			return err
		}
		if err := a.add(p, base(), []file{binary}); err != nil {
			return err
		}
	}
	digest, err := a.write(o.out)
	if err != nil {
		return err
	}
	fmt.Fprintf(stdout, "%s %s\n", digest, o.out)
	return nil
}

func parse(args []string, stderr io.Writer) (options, error) {
	var o options
	f := flag.NewFlagSet("image", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&o.out, "o", "bin/fanfare-image.tar", "archive to write")
	f.StringVar(&o.rootfs, "rootfs", "", "directory to write the files of the first platform to, instead of an archive")
	f.StringVar(&o.tag, "tag", "fanfare:dev", "name and tag of the image")
	f.StringVar(&o.version, "version", "", "version that the binary tells")
	f.StringVar(&o.commit, "commit", "", "commit that the binary tells")
	created := f.Int64("created", 0, "time of everything in the image, in Unix seconds: that of the commit")
	platforms := f.String("platforms", "linux/amd64,linux/arm64", "platforms, comma-separated")
	if err := f.Parse(args); err != nil {
		return o, err //nolint:wrapcheck // it has been printed
	}
	if f.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", f.Arg(0))
	}
	o.created = time.Unix(*created, 0).UTC()
	for text := range strings.SplitSeq(*platforms, ",") {
		system, arch, ok := strings.Cut(text, "/")
		if !ok || system != "linux" || arch == "" {
			return o, fmt.Errorf("platform %q is not like linux/amd64", text)
		}
		o.platforms = append(o.platforms, platform{system, arch})
	}
	if name, tag := splitTag(o.tag); name == "" || tag == "" {
		return o, fmt.Errorf("image %q is not a name with a tag", o.tag)
	}
	return o, nil
}

// splitTag parts a name from its tag; the name may hold the port of a registry.
func splitTag(image string) (name, tag string) {
	i := strings.LastIndexByte(image, ':')
	if i < 0 || strings.Contains(image[i:], "/") {
		return image, ""
	}
	return image[:i], image[i+1:]
}

// build makes the binary for a platform.
func build(ctx context.Context, o options, p platform, work string, stderr io.Writer) (file, error) {
	out := filepath.Join(work, p.arch)
	// An empty build id: it would be the one thing that depends on the cache of packages.
	ldflags := fmt.Sprintf("-s -w -buildid= -X main.version=%s -X main.commit=%s", o.version, o.commit)
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", ldflags, "-o", out, "./cmd/fanfare") //nolint:gosec // our own command line
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS="+p.os, "GOARCH="+p.arch, "GOFLAGS=")
	cmd.Stderr = stderr
	if err := cmd.Run(); err != nil {
		return file{}, fmt.Errorf("go build for %s: %w", p, err)
	}
	content, err := os.ReadFile(out)
	if err != nil {
		return file{}, fmt.Errorf("binary for %s: %w", p, err)
	}
	return file{name: "fanfare", mode: 0o755, content: content}, nil
}

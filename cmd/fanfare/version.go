package main

import (
	"fmt"
	"runtime"

	"github.com/spf13/cobra"

	"fanfare/internal/ops"
)

// Set by the linker: -X main.version=1.2.3 -X main.commit=abc.
var version, commit string //nolint:gochecknoglobals // the linker sets nothing else

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "version",
		Short: "Print version, commit and Go version",
		Args:  cobra.NoArgs,
		RunE: p.action(func(*cobra.Command, []string) error {
			b := ops.ReadBuild(version, commit)
			_, err := fmt.Fprintf(p.stdout, "fanfare %s\ncommit  %s\ngo      %s %s/%s\n", b.Version, b.Commit, b.GoVersion, runtime.GOOS, runtime.GOARCH)
			if err != nil {
				return fmt.Errorf("print: %w", err)
			}
			return nil
		}),
	}
}

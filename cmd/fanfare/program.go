package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"fanfare/internal/config"
)

// Exit codes.
const (
	exitOK      = 0
	exitRuntime = 1
	exitUsage   = 2 // a wrong command line or configuration
	exitRefused = 3 // the server said no
)

// program is one run of the command line. Tests make their own with other streams and signals.
type program struct {
	args           []string
	env            []string
	stdin          io.Reader // nil = nothing to read
	stdout, stderr io.Writer
	signals        <-chan os.Signal

	// started is set when a command's own code runs: an error before that is about the command line.
	started bool
}

// usageError is an error that its user mends at the command line.
type usageError struct{ err error }

func (e usageError) Error() string { return e.err.Error() }
func (e usageError) Unwrap() error { return e.err }

// run carries out the command line and returns the exit code.
func (p *program) run(ctx context.Context) int {
	root := p.root()
	root.SetArgs(p.args)
	root.SetOut(p.stdout)
	root.SetErr(p.stderr)
	ran, err := root.ExecuteContextC(ctx)
	return p.report(ran, err)
}

func (p *program) root() *cobra.Command {
	root := &cobra.Command{
		Use:   "fanfare",
		Short: "Realtime channels for browsers, on your own machines",
		Long: `Fanfare is a self-hosted realtime channel server. Xano's own JavaScript SDK connects to it unmodified.

Every key of the configuration can be given as an environment variable, FANFARE_ and its path in upper case.`,
		Example: `  fanfare dev                            a server to try things on, nothing to configure
  fanfare serve --config fanfare.yaml    a gateway
  fanfare check fanfare.yaml             what is wrong in a file`,
		SilenceUsage:      true,
		SilenceErrors:     true,
		CompletionOptions: cobra.CompletionOptions{HiddenDefaultCmd: true},
	}
	root.AddCommand(
		p.devCommand(),
		p.serveCommand(),
		p.brokerCommand(),
		p.setupCommand(),
		p.migrateCommand(),
		p.backupCommand(),
		p.checkCommand(),
		p.readyCommand(),
		p.versionCommand(),
	)
	root.AddCommand(p.toolCommands()...)
	return root
}

// report prints err, one line for each thing that is wrong, and gives the exit code.
func (p *program) report(ran *cobra.Command, err error) int {
	if err == nil {
		return exitOK
	}
	if _, no := errors.AsType[denied](err); no {
		return exitRefused // the answer itself has been printed
	}
	if problems, ok := errors.AsType[config.Problems](err); ok {
		// As compilers print them, so that editors find the place.
		p.printErr(problems.Error())
		return exitUsage
	}
	// Cobra lists the commands that a misspelt one may mean below the error.
	text, guesses, guessed := strings.Cut(err.Error(), "\n\nDid you mean this?\n")
	if guessed {
		text += " (did you mean " + strings.Join(strings.Fields(guesses), " or ") + "?)"
	}
	for line := range strings.SplitSeq(text, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			p.printErr("fanfare: " + line)
		}
	}
	if _, usage := errors.AsType[usageError](err); usage || !p.started {
		p.printErr(fmt.Sprintf("fanfare: see '%s --help'", ran.CommandPath()))
		return exitUsage
	}
	if _, refused := errors.AsType[*refusal](err); refused {
		return exitRefused
	}
	return exitRuntime
}

func (p *program) printErr(line string) { _, _ = fmt.Fprintln(p.stderr, line) }

// action wraps the code of a command.
func (p *program) action(run func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		p.started = true
		return run(cmd, args)
	}
}

// configFlags gives cmd --config and the flags of common keys.
func configFlags(cmd *cobra.Command) {
	cmd.Flags().String("config", "", "configuration file (YAML); also "+config.EnvFile)
	for _, f := range config.Flags() {
		cmd.Flags().String(f.Name, "", f.Doc)
	}
}

// load reads the configuration for a command that has configFlags. base holds its defaults; nil = the usual ones.
func (p *program) load(cmd *cobra.Command, base *config.Config) (config.Config, error) {
	src := config.Source{Env: p.env, Flags: map[string]string{}, Base: base}
	flags := cmd.Flags()
	file, err := flags.GetString("config")
	if err != nil {
		return config.Config{}, fmt.Errorf("flag config: %w", err)
	}
	src.File = file
	for _, f := range config.Flags() {
		if flag := flags.Lookup(f.Name); flag.Changed {
			src.Flags[f.Path] = flag.Value.String()
		}
	}
	return config.Load(src)
}

// logger writes to standard error as the configuration says.
func (p *program) logger(c config.Log) *slog.Logger {
	levels := map[string]slog.Level{"debug": slog.LevelDebug, "warn": slog.LevelWarn, "error": slog.LevelError}
	opts := &slog.HandlerOptions{Level: levels[c.Level]} // info is the zero level
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(p.stderr, opts))
	}
	return slog.New(slog.NewTextHandler(p.stderr, opts))
}

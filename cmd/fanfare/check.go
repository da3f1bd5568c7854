package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"
	"go.yaml.in/yaml/v3"

	"fanfare/internal/config"
	"fanfare/internal/policy"
	"fanfare/internal/settings"
)

func (p *program) checkCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check [FILE...]",
		Short: "Say what is wrong in a configuration or settings file, and where",
		Long: `Checks configuration files the way serve reads them, the environment included, and the settings file that they
name. A file with servers at its top level is checked as a settings file. Starts nothing. Ends with 2 when something
is wrong.`,
		RunE: p.action(func(cmd *cobra.Command, files []string) error {
			file, err := cmd.Flags().GetString("config")
			if err != nil {
				return fmt.Errorf("flag config: %w", err)
			}
			if file != "" {
				files = append([]string{file}, files...)
			}
			if len(files) == 0 {
				files = []string{""} // the environment alone, or the file that it names
			}
			var problems config.Problems
			for _, f := range files {
				problems = append(problems, p.check(f)...)
			}
			if len(problems) > 0 {
				return problems
			}
			return nil
		}),
	}
	cmd.Flags().String("config", "", "configuration file (YAML), as for serve")
	return cmd
}

// check checks one file and prints a line when it is right.
func (p *program) check(file string) config.Problems {
	if isSettings(file) {
		return p.checkSettings(file, config.Default().Limits)
	}
	cfg, err := config.Load(config.Source{File: file, Env: p.env})
	if problems, ok := errors.AsType[config.Problems](err); ok {
		return problems
	}
	for _, w := range cfg.Warnings {
		p.printErr("warning: " + w)
	}
	var problems config.Problems
	if cfg.SettingsFile != "" {
		problems = p.checkSettings(cfg.SettingsFile, cfg.Limits)
	}
	if len(problems) == 0 {
		p.say(file, "configuration is valid")
	}
	return problems
}

// checkSettings checks realtime servers and channel rules.
func (p *program) checkSettings(file string, limits config.Limits) config.Problems {
	content, err := os.ReadFile(file)
	if err != nil {
		return config.Problems{{Place: file, Text: reason(err)}}
	}
	servers, err := settings.Parse(content, policy.Limits{ChannelBytes: limits.ChannelBytes, ChannelSegments: limits.ChannelSegments})
	if wrong, ok := errors.AsType[settings.Problems](err); ok {
		var problems config.Problems
		for _, field := range wrong {
			place := file
			if field.Line > 0 {
				place = fmt.Sprintf("%s:%d", file, field.Line)
			}
			problems = append(problems, config.Problem{Place: place, Key: field.Field, Text: field.Problem})
		}
		return problems
	}
	if err != nil {
		return config.Problems{{Place: file, Text: err.Error()}}
	}
	rules := 0
	for _, s := range servers {
		rules += len(s.Channels)
	}
	p.say(file, fmt.Sprintf("settings are valid: servers %d, channel rules %d", len(servers), rules))
	return nil
}

func (p *program) say(file, text string) {
	if file != "" {
		text = file + ": " + text
	}
	_, _ = fmt.Fprintln(p.stdout, text)
}

// isSettings tells whether a file has servers at its top level. One that cannot be read or parsed is taken for a
// configuration: reading it as such says what is wrong with it.
func isSettings(file string) bool {
	content, err := os.ReadFile(file)
	if err != nil {
		return false
	}
	var top map[string]any
	if yaml.Unmarshal(content, &top) != nil && json.Unmarshal(content, &top) != nil { // YAML refuses the tabs of JSON
		return false
	}
	_, ok := top["servers"]
	return ok
}

// reason is what the system says without the name of the file, which stands before it already.
func reason(err error) string {
	if path, ok := errors.AsType[*os.PathError](err); ok {
		return path.Err.Error()
	}
	return err.Error()
}

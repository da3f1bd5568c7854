package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"fanfare/internal/auth"
	"fanfare/internal/config"
	"fanfare/protocol"
)

func (p *program) tokenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "token",
		Short: "Make and look at the tokens that clients sign in with",
		Example: `  fanfare token mint --dbo-id 17 --row-id 3 --extras '{"name":"Jo"}' --ttl 1h
  pbpaste | fanfare token inspect`,
		Args:                  cobra.NoArgs,
		DisableFlagsInUseLine: true,
		// Without one, cobra would not look at the arguments.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.mintCommand(), p.inspectCommand())
	return cmd
}

func (p *program) mintCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mint",
		Short: "Make a token",
		Long: `Makes a token that a server with the same configuration accepts, and prints it. The secret comes from
auth.jwt_secret (FANFARE_AUTH_JWT_SECRET) or auth.jwe_key (FANFARE_AUTH_JWE_KEY) or a file, and the names of the claims
from auth.claims. Nothing is asked of the server.`,
		Example: `  fanfare token mint --dbo-id 17 --row-id 3 --extras '{"name":"Jo"}' --ttl 1h
  fanfare token mint --row-id 9f0c4d1e-5b7a-4c0e-9a52-3f6f1f2b7c11 --alg A256KW --jwe-key-file key`,
		Args: cobra.NoArgs,
		RunE: p.action(p.mint),
	}
	cmd.Flags().String("config", "", "configuration file (YAML), for auth; also "+config.EnvFile)
	identityFlags(cmd)
	flags := cmd.Flags()
	flags.String("alg", "", "HS256, HS384, HS512, dir or A256KW (default HS256 with a JWT secret, else A256KW)")
	flags.String("secret-file", "", "file with the JWT secret (- = standard input)")
	flags.String("jwe-key-file", "", "file with the JWE key (- = standard input)")
	flags.String("issuer", "", "iss")
	flags.String("audience", "", "aud")
	_ = cmd.RegisterFlagCompletionFunc("alg", cobra.FixedCompletions([]string{"HS256", "HS384", "HS512", "dir", "A256KW"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

// identityFlags say who a token is for.
func identityFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.Int64("dbo-id", 0, "table of the user")
	flags.String("row-id", "", "row of the user: a number or any text")
	flags.String("extras", "", "what others see about the user, a JSON object")
	flags.Duration("ttl", time.Hour, "how long the token is good for (0 = for ever)")
}

func (p *program) mint(cmd *cobra.Command, _ []string) error {
	cfg, err := p.toolConfig(cmd)
	if err != nil {
		return err
	}
	token, err := p.mintToken(cmd, cfg)
	if err != nil {
		return err
	}
	out := p.printer()
	out.line("%s", token)
	return out.flush()
}

var errNoSecret = errors.New("no secret: set FANFARE_AUTH_JWT_SECRET or FANFARE_AUTH_JWE_KEY, or name a file")

// mintToken makes a token from the identity flags.
func (p *program) mintToken(cmd *cobra.Command, cfg config.Config) (string, error) {
	o := auth.MintOptions{
		Algorithm: text(cmd, "alg"), Secret: cfg.Auth.JWTSecret.Reveal(), Key: cfg.Auth.JWEKey.Reveal(),
		Claims: claimNames(cfg), RowID: protocol.RowIDFromString(text(cmd, "row-id")),
		Issuer: text(cmd, "issuer"), Audience: text(cmd, "audience"),
	}
	var err error
	for _, file := range []struct {
		flag string
		to   *string
	}{{"secret-file", &o.Secret}, {"jwe-key-file", &o.Key}} {
		if name := text(cmd, file.flag); name != "" {
			if *file.to, err = p.secretFile(name); err != nil {
				return "", err
			}
		}
	}
	if text(cmd, "secret-file") == "" && text(cmd, "jwe-key-file") != "" && o.Algorithm == "" {
		o.Secret = "" // the file that was named decides
	}
	if o.Secret == "" && o.Key == "" {
		return "", usageError{errNoSecret}
	}
	if o.DboID, err = cmd.Flags().GetInt64("dbo-id"); err != nil {
		return "", fmt.Errorf("flag dbo-id: %w", err)
	}
	if o.Lifetime, err = cmd.Flags().GetDuration("ttl"); err != nil {
		return "", fmt.Errorf("flag ttl: %w", err)
	}
	if o.Lifetime < 0 {
		return "", usageError{errors.New("--ttl must not be negative")}
	}
	if extras := text(cmd, "extras"); extras != "" {
		if !json.Valid([]byte(extras)) || !strings.HasPrefix(strings.TrimSpace(extras), "{") {
			return "", usageError{errors.New("--extras must be a JSON object")}
		}
		o.Extras = json.RawMessage(extras)
	}
	token, err := auth.Mint(o)
	if err != nil {
		return "", usageError{err}
	}
	return token, nil
}

func claimNames(cfg config.Config) auth.Claims {
	c := cfg.Auth.Claims
	return auth.Claims{DboID: c.DboID, RowID: c.RowID, Extras: c.Extras}
}

func (p *program) inspectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "inspect [FILE]",
		Short: "Show what is in a token",
		Long: `Reads a token from a file or from standard input and shows its header and claims. With --verify it is checked as the
server would, with the secrets of the configuration; then the command ends with 3 when the token is refused.`,
		Example: `  pbpaste | fanfare token inspect
  fanfare token inspect token.txt --verify`,
		Args: cobra.MaximumNArgs(1),
		RunE: p.action(p.inspect),
	}
	cmd.Flags().String("config", "", "configuration file (YAML), for auth; also "+config.EnvFile)
	cmd.Flags().Bool("verify", false, "check it as the server would")
	jsonFlag(cmd)
	return cmd
}

// inspection is what inspect prints as JSON.
type inspection struct {
	auth.Inspection
	Valid    *bool         `json:"valid,omitempty"`
	Problem  string        `json:"problem,omitempty"`
	Identity *identityJSON `json:"identity,omitempty"`
}

type identityJSON struct {
	DboID  int64           `json:"dbo_id"`
	RowID  protocol.RowID  `json:"row_id"`
	Extras json.RawMessage `json:"extras,omitempty"`
}

func (p *program) inspect(cmd *cobra.Command, args []string) error {
	name := "-"
	if len(args) > 0 {
		name = args[0]
	}
	token, err := p.secretFile(name)
	if err != nil {
		return err
	}
	seen, err := auth.Inspect(token)
	if err != nil {
		return &refusal{Message: err.Error()}
	}
	doc := inspection{Inspection: seen}
	if set(cmd, "verify") {
		if err := p.verify(cmd, token, &doc); err != nil {
			return err
		}
	}
	out := p.printer()
	if set(cmd, "json") {
		out.json(doc)
	} else {
		doc.print(out)
	}
	if err := out.flush(); err != nil {
		return err
	}
	if doc.Valid != nil && !*doc.Valid {
		return denied{}
	}
	return nil
}

// verify checks the token with the secrets of the configuration.
func (p *program) verify(cmd *cobra.Command, token string, doc *inspection) error {
	cfg, err := p.toolConfig(cmd)
	if err != nil {
		return err
	}
	verifier, err := auth.New(auth.Options{
		JWTSecret: cfg.Auth.JWTSecret.Reveal(), JWEKey: cfg.Auth.JWEKey.Reveal(), JWKSURL: cfg.Auth.JWKSURL, Claims: claimNames(cfg),
	})
	if err != nil {
		return fmt.Errorf("auth: %w", err)
	}
	ctx, stop := p.interruptible(cmd.Context())
	defer stop()
	// The verifier fetches public keys only while it runs.
	running, cancel := context.WithCancel(ctx)
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = verifier.Run(running) // what it fails at, Authenticate tells
	}()
	identity, err := verifier.Authenticate(ctx, token)
	cancel()
	<-done
	valid := err == nil
	doc.Valid = &valid
	if err != nil {
		doc.Problem = err.Error()
		return nil
	}
	doc.Identity = &identityJSON{DboID: identity.DboID, RowID: identity.RowID, Extras: identity.Extras}
	return nil
}

func (d *inspection) print(out *printer) {
	out.line("%s, %d bytes", d.Kind, d.Bytes)
	members := func(title string, object map[string]json.RawMessage) {
		if len(object) == 0 {
			return
		}
		out.line("%s", title)
		var names []string
		for name := range object {
			names = append(names, name)
		}
		slices.Sort(names)
		for _, name := range names {
			out.line("  %-10s %s", plain(name), compact(object[name]))
		}
	}
	members("header", d.Header)
	members("claims", d.Claims)
	if d.Kind == "encrypted" {
		out.line("the claims are encrypted")
	}
	now := time.Now()
	if d.Expires != nil {
		word := "expires"
		if d.Expires.Before(now) {
			word = "EXPIRED"
		}
		out.line("%s %s", word, d.Expires.Format(time.RFC3339))
	}
	if d.NotBefore != nil && d.NotBefore.After(now) {
		out.line("NOT VALID before %s", d.NotBefore.Format(time.RFC3339))
	}
	switch {
	case d.Valid == nil:
		out.line("nothing was verified (--verify does)")
	case *d.Valid:
		out.line("valid, for %s", who(d.Identity.DboID, d.Identity.RowID))
	default:
		out.line("REFUSED: %s", plain(d.Problem))
	}
}

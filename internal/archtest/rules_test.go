package archtest

// room is what a package may import besides the standard library.
type room struct {
	// ours are the packages of this module it may import; everything = any.
	ours []string
	// never are prefixes of foreign import paths it must not import.
	never []string
	// stdlib: no foreign import at all.
	stdlib bool
}

const (
	natsIO = "github.com/nats-io/"
	gws    = "github.com/lxzan/gws"
)

// everything is for the packages that put the others together.
var everything = []string{"*"}

// rooms lists every package. What each one owns stands in its package comment; why the rooms are cut like this,
// in docs/decisions/0001-layout.md.
var rooms = map[string]room{
	"protocol": {stdlib: true},

	"gateway":      {ours: []string{"protocol", "internal/policy", "internal/tracing", "internal/uring"}, never: []string{natsIO}},
	"broker":       {ours: []string{"protocol", "internal/subject", "internal/envelope"}, never: []string{gws}},
	"broker/natsd": {never: []string{gws}},
	"history":      {ours: []string{"protocol", "internal/subject", "internal/envelope", "internal/persist"}, never: []string{gws}},
	"presence":     {ours: []string{"protocol", "internal/subject", "internal/persist"}, never: []string{gws}},
	"lifecycle":    {ours: []string{"protocol", "internal/persist"}, never: []string{gws}},
	"client":       {ours: []string{"protocol"}, never: []string{natsIO}},

	"internal/uring":      {never: []string{natsIO, gws}},
	"internal/subject":    {ours: []string{"protocol"}, stdlib: true},
	"internal/envelope":   {ours: []string{"protocol"}, stdlib: true},
	"internal/policy":     {ours: []string{"protocol"}, never: []string{natsIO, gws}},
	"internal/settings":   {ours: []string{"protocol", "internal/policy", "internal/persist", "internal/yamlline"}, never: []string{gws}},
	"internal/auth":       {ours: []string{"protocol", "internal/policy"}, never: []string{natsIO, gws}},
	"internal/trigger":    {ours: []string{"protocol", "internal/policy"}, never: []string{natsIO, gws}},
	"internal/xanoscript": {ours: []string{"protocol", "internal/policy"}, stdlib: true},
	"internal/api":        {ours: []string{"protocol", "internal/policy", "web/client"}, never: []string{natsIO, gws}},

	"internal/bench":        {ours: []string{"protocol"}, never: []string{natsIO, gws}},
	"internal/bench/growth": {ours: []string{"internal/freeport"}, stdlib: true},

	"internal/consoleapi": {ours: []string{"protocol"}, never: []string{natsIO, gws}},

	"internal/forwarded": {stdlib: true},
	"internal/freeport":  {stdlib: true},
	"internal/config":    {ours: []string{"internal/forwarded", "internal/yamlline"}, never: []string{natsIO, gws}},
	"internal/ops":       {never: []string{natsIO, gws}},
	"internal/pages":     {stdlib: true},
	"internal/persist":   {never: []string{gws}},
	"internal/tlsfile":   {never: []string{natsIO, gws}},
	"internal/tracing":   {ours: []string{"protocol"}, never: []string{natsIO, gws}},
	"internal/watch":     {never: []string{natsIO, gws}},
	"internal/yamlline":  {never: []string{natsIO, gws}},

	"internal/node": {ours: everything},
	"cmd/fanfare":   {ours: everything},

	"test/chart":    {},
	"test/k8s/load": {ours: []string{"client", "internal/e2e"}, never: []string{natsIO, gws}},
	"deploy/image":  {never: []string{natsIO, gws}},

	"internal/backendtest": {},
	"internal/archtest":    {},
	"internal/e2e":         {},
	"internal/natstest":    {ours: []string{"internal/freeport"}, never: []string{gws}},
	"internal/labtest":     {ours: []string{"internal/freeport"}, stdlib: true},
	"internal/proxytest":   {},
	"web/client":           {ours: []string{"internal/pages"}, stdlib: true},
	"web/demo":             {ours: []string{"internal/pages"}, stdlib: true},
	"web/console":          {ours: []string{"internal/pages"}, stdlib: true},
}

const (
	maxLines     = 700
	maxTestLines = 1000
)

// banned maps a call to where it may stand all the same: paths, or directories that end in "/".
var banned = map[string][]string{
	"time.Sleep":              {}, // wait for a condition or a timer that the context can end
	"fmt.Print":               {},
	"fmt.Printf":              {},
	"fmt.Println":             {},
	"os.Exit":                 {"cmd/fanfare/main.go", "deploy/image/main.go", "internal/bench/growth/main.go", "test/k8s/load/main.go"},
	"os.Getenv":               {}, // the environment is read once, in main
	"os.LookupEnv":            {},
	"os.Environ":              {"cmd/fanfare/main.go", "deploy/image/main.go"},
	"slog.Default":            {}, // loggers are handed in
	"slog.SetDefault":         {},
	"slog.Debug":              {},
	"slog.Info":               {},
	"slog.Warn":               {},
	"slog.Error":              {},
	"signal.Notify":           {"cmd/fanfare/main.go"},
	"panic":                   {}, // errors are returned
	"print":                   {},
	"println":                 {},
	"init":                    {}, // nothing happens because a package is imported
	"import log":              {}, // log/slog
	"prometheus.MustRegister": {}, // New returns the error
}

// bannedInTests is the same for tests. A test that cannot run fails. It waits for a condition, asked for in a loop, or
// for the clock of a synctest bubble, and never just long enough.
var bannedInTests = map[string][]string{
	"time.Sleep": {},
	"t.Skip":     {},
	"t.Skipf":    {},
	"t.SkipNow":  {},
	"b.Skip":     {},
}

package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// value reads one key into its field of a Config and writes it back as text for the reference.
type value interface {
	// set takes the texts of one value (a list has several) and says what is wrong with them.
	set(texts []string) error
	// text is the present value; a secret's is redacted.
	text() string
	// kind is what the reference calls the type.
	kind() string
}

// list is implemented by values that take more than one text.
type list interface{ list() }

type textValue struct {
	p     *string
	what  string
	check func(string) error
}

func (v textValue) set(texts []string) error {
	s := strings.TrimSpace(texts[0])
	if v.check != nil && s != "" {
		if err := v.check(s); err != nil {
			return err
		}
	}
	*v.p = s
	return nil
}
func (v textValue) text() string { return *v.p }
func (v textValue) kind() string { return v.what }

type secretValue struct {
	p     *Secret
	check func(string) error
}

func (v secretValue) set(texts []string) error {
	// Not trimmed: a signing secret may end in anything.
	if v.check != nil && texts[0] != "" {
		if err := v.check(texts[0]); err != nil {
			return err
		}
	}
	*v.p = NewSecret(texts[0])
	return nil
}
func (v secretValue) text() string { return v.p.String() }
func (v secretValue) kind() string { return "secret" }

type boolValue struct{ p *bool }

func (v boolValue) set(texts []string) error {
	switch strings.ToLower(strings.TrimSpace(texts[0])) {
	case "true", "1", "yes", "on":
		*v.p = true
	case "false", "0", "no", "off":
		*v.p = false
	default:
		return fmt.Errorf("%q is neither true nor false", texts[0])
	}
	return nil
}
func (v boolValue) text() string { return strconv.FormatBool(*v.p) }
func (v boolValue) kind() string { return "true or false" }

type intValue struct {
	p        *int
	min, max int
	zero     string // what 0 means, when 0 is allowed below min
}

func (v intValue) set(texts []string) error {
	n, err := strconv.Atoi(strings.TrimSpace(texts[0]))
	if err != nil {
		return fmt.Errorf("%q is not a whole number", texts[0])
	}
	if err := within(int64(n), int64(v.min), int64(v.max), v.zero != "", plain); err != nil {
		return err
	}
	*v.p = n
	return nil
}
func (v intValue) text() string { return strconv.Itoa(*v.p) }
func (v intValue) kind() string {
	return rangeText("number", plain(int64(v.min)), plain(int64(v.max)), "0 = "+v.zero, v.zero != "")
}

type ratioValue struct{ p *float64 }

func (v ratioValue) set(texts []string) error {
	n, err := strconv.ParseFloat(strings.TrimSpace(texts[0]), 64)
	if err != nil || !(n >= 0 && n <= 1) { // not a number is neither
		return fmt.Errorf("%q is not a number from 0 to 1", texts[0])
	}
	*v.p = n
	return nil
}
func (v ratioValue) text() string { return strconv.FormatFloat(*v.p, 'g', -1, 64) }
func (v ratioValue) kind() string { return "number from 0 to 1" }

type sizeValue struct {
	p        *int
	min, max int
}

func (v sizeValue) set(texts []string) error {
	n, err := parseSize(strings.TrimSpace(texts[0]))
	if err != nil {
		return err
	}
	if err := within(n, int64(v.min), int64(v.max), false, formatSize); err != nil {
		return err
	}
	*v.p = int(n)
	return nil
}
func (v sizeValue) text() string { return formatSize(int64(*v.p)) }
func (v sizeValue) kind() string {
	return rangeText("bytes", formatSize(int64(v.min)), formatSize(int64(v.max)), "", false)
}

type durationValue struct {
	p        *time.Duration
	min, max time.Duration
	zero     string
}

func (v durationValue) set(texts []string) error {
	d, err := parseDuration(strings.TrimSpace(texts[0]))
	if err != nil {
		return err
	}
	format := func(n int64) string { return formatDuration(time.Duration(n)) }
	if err := within(int64(d), int64(v.min), int64(v.max), v.zero != "", format); err != nil {
		return err
	}
	*v.p = d
	return nil
}

func (v durationValue) text() string {
	if *v.p == 0 {
		return "0"
	}
	return formatDuration(*v.p)
}

func (v durationValue) kind() string {
	return rangeText("duration", formatDuration(v.min), formatDuration(v.max), "0 = "+v.zero, v.zero != "")
}

type syncValue struct{ p *Sync }

const minSync, maxSync = 10 * time.Millisecond, time.Minute

func (v syncValue) set(texts []string) error {
	s := strings.TrimSpace(texts[0])
	if s == syncAlways {
		*v.p = 0
		return nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return fmt.Errorf("%q is neither %q nor a duration such as 1s", s, syncAlways)
	}
	format := func(n int64) string { return formatDuration(time.Duration(n)) }
	if err := within(int64(d), int64(minSync), int64(maxSync), false, format); err != nil {
		return err
	}
	*v.p = Sync(d)
	return nil
}
func (v syncValue) text() string { return v.p.String() }
func (v syncValue) kind() string {
	return rangeText("`always` or a duration", formatDuration(minSync), formatDuration(maxSync), "", false)
}

type listValue struct {
	p     *[]string
	what  string
	check func(string) error
}

func (listValue) list() {}
func (v listValue) set(texts []string) error {
	out := []string{}
	for _, s := range texts {
		if err := v.check(s); err != nil {
			return err
		}
		out = append(out, s)
	}
	*v.p = out
	return nil
}
func (v listValue) text() string { return strings.Join(*v.p, ",") }
func (v listValue) kind() string { return "list of " + v.what }

type addressesValue struct {
	p     *[]Address
	check func(string) error
}

func (addressesValue) list() {}
func (v addressesValue) set(texts []string) error {
	var out []Address
	for _, s := range texts {
		if err := v.check(s); err != nil {
			return err
		}
		out = append(out, NewAddress(s))
	}
	*v.p = out
	return nil
}

func (v addressesValue) text() string {
	out := make([]string, len(*v.p))
	for i, a := range *v.p {
		out[i] = a.String()
	}
	return strings.Join(out, ",")
}
func (v addressesValue) kind() string { return "list of URLs" }

// secretsValue is a list of secrets that are all valid at once.
type secretsValue struct{ p *[]Secret }

func (secretsValue) list() {}
func (v secretsValue) set(texts []string) error {
	out := make([]Secret, len(texts))
	for i, s := range texts {
		if err := checkNotEmpty(s); err != nil {
			return fmt.Errorf("entry %d %w", i+1, err)
		}
		out[i] = NewSecret(s)
	}
	*v.p = out
	return nil
}

func (v secretsValue) text() string {
	if len(*v.p) == 0 {
		return ""
	}
	return redacted
}
func (v secretsValue) kind() string { return "list of secrets" }

type keysValue struct{ p *[]APIKey }

func (keysValue) list() {}
func (v keysValue) set(texts []string) error {
	var out []APIKey
	for i, s := range texts {
		k, err := parseKey(s)
		if err != nil {
			return fmt.Errorf("key %d %w", i+1, err)
		}
		out = append(out, k)
	}
	*v.p = out
	return nil
}

// parseKey reads key, key:scope or key:scope@N. Its errors do not repeat the entry.
func parseKey(entry string) (APIKey, error) {
	text, suffix, scoped := entry, "", false
	if i := strings.LastIndexByte(entry, ':'); i >= 0 {
		text, suffix, scoped = entry[:i], entry[i+1:], true
	}
	k := APIKey{Key: NewSecret(text)}
	if scoped {
		name, number, bound := strings.Cut(suffix, "@")
		switch Scope(name) {
		case "all":
		case ScopePublish, ScopeRead, ScopeAdmin:
			k.Scope = Scope(name)
		case ScopeAll:
			return APIKey{}, errors.New("has nothing behind its colon (all, publish, read or admin may follow)")
		default:
			return APIKey{}, errors.New("has an unknown scope (all, publish, read or admin may follow the colon)")
		}
		if bound {
			n, err := strconv.ParseInt(number, 10, 64)
			if err != nil || n < 1 {
				return APIKey{}, errors.New("has no number from 1 behind its @ (the realtime server it is for)")
			}
			k.Server = n
		}
	}
	if err := checkBearer(text); err != nil {
		return APIKey{}, err
	}
	return k, nil
}

func (v keysValue) text() string {
	if len(*v.p) == 0 {
		return ""
	}
	return redacted
}
func (v keysValue) kind() string { return "list of secrets" }

func within(n, low, high int64, zero bool, format func(int64) string) error {
	if n == 0 && zero {
		return nil
	}
	if n < low || n > high {
		return fmt.Errorf("%s is outside %s to %s", format(n), format(low), format(high))
	}
	return nil
}

func plain(n int64) string { return strconv.FormatInt(n, 10) }

func rangeText(what, low, high, zero string, hasZero bool) string {
	s := fmt.Sprintf("%s, %s to %s", what, low, high)
	if hasZero {
		s += ", " + zero
	}
	return s
}

func parseDuration(s string) (time.Duration, error) {
	if s == "0" {
		return 0, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 30s or 5ms", s)
	}
	return d, nil
}

// formatDuration is Duration.String without the zero units at the end: 1h, not 1h0m0s.
func formatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// parseSize reads 65536, 512KiB, 64kB, 1MiB or 1MB.
func parseSize(s string) (int64, error) {
	number := strings.TrimRight(s, "BKMGikbmg ")
	factors := map[string]int64{
		"": 1, "b": 1, "kib": 1 << 10, "mib": 1 << 20, "gib": 1 << 30,
		"k": 1 << 10, "m": 1 << 20, "g": 1 << 30, "kb": 1e3, "mb": 1e6, "gb": 1e9,
	}
	factor, known := factors[strings.ToLower(strings.TrimSpace(s[len(number):]))]
	n, err := strconv.ParseInt(number, 10, 64)
	if !known || err != nil || n > math.MaxInt64/factor || n < math.MinInt64/factor {
		return 0, fmt.Errorf("%q is not a size such as 65536 or 512KiB", s)
	}
	return n * factor, nil
}

// formatSize is the largest unit that divides n.
func formatSize(n int64) string {
	for _, unit := range []struct {
		name string
		size int64
	}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}} {
		if n != 0 && n%unit.size == 0 {
			return strconv.FormatInt(n/unit.size, 10) + unit.name
		}
	}
	return strconv.FormatInt(n, 10)
}

func checkListen(s string) error {
	_, port, err := net.SplitHostPort(s)
	if err != nil {
		return fmt.Errorf("%q is not an address such as :8000 or 127.0.0.1:8000", s)
	}
	if n, err := strconv.Atoi(port); err != nil || n < 0 || n > 65535 {
		return fmt.Errorf("%q has no port from 0 to 65535", s)
	}
	return nil
}

// checkFile refuses a file that is not there or cannot be read, so that a start fails at once and not later.
func checkFile(s string) error {
	f, err := os.Open(s)
	if err != nil {
		return fmt.Errorf("%s: %w", s, cause(err))
	}
	defer f.Close() //nolint:errcheck // only opened to see whether it can be
	info, err := f.Stat()
	if err != nil {
		return fmt.Errorf("%s: %w", s, cause(err))
	}
	if info.IsDir() {
		return fmt.Errorf("%s: is a directory", s)
	}
	return nil
}

// cause is what the operating system says, without the operation and the path around it.
func cause(err error) error {
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		return pathErr.Err
	}
	return err
}

func checkURL(schemes ...string) func(string) error {
	return func(s string) error {
		u, err := url.Parse(s)
		if err != nil || u.Host == "" || !slices.Contains(schemes, u.Scheme) {
			// The text stays out of the message: it may hold a password.
			return fmt.Errorf("not a URL that begins with %s", strings.Join(schemes, ":// or ")+"://")
		}
		return nil
	}
}

func checkOrigin(s string) error {
	if s == "*" {
		return nil
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme == "" || u.Host == "" || (u.Path != "" && u.Path != "/") {
		return fmt.Errorf("%q is neither * nor an origin such as https://app.example", s)
	}
	return nil
}

// checkBearer keeps out what an Authorization header cannot carry.
func checkBearer(s string) error {
	for _, r := range s {
		if r <= ' ' || r > '~' {
			return errors.New("has a character that cannot stand in an HTTP header")
		}
	}
	if s == "" {
		return errors.New("is empty")
	}
	return nil
}

func checkNotEmpty(s string) error {
	if s == "" {
		return errors.New("is empty")
	}
	return nil
}

func checkJWEKey(s string) error {
	key, err := decodeKey(s)
	if err != nil {
		return errors.New("neither base64url nor base64")
	}
	if len(key) != 32 {
		return fmt.Errorf("%d bytes after decoding, 32 are needed", len(key))
	}
	return nil
}

var claimName = regexp.MustCompile(`^[^\s]{1,128}$`)

func checkClaim(s string) error {
	if !claimName.MatchString(s) {
		return fmt.Errorf("%q is not the name of a claim", s)
	}
	return nil
}

var brokerName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$`)

func checkBrokerName(s string) error {
	if !brokerName.MatchString(s) {
		return fmt.Errorf("%q is not a name of letters, digits, dots, dashes and underscores", s)
	}
	return nil
}

func oneOf(words ...string) func(string) error {
	return func(s string) error {
		if !slices.Contains(words, s) {
			return fmt.Errorf("%q is none of %s", s, strings.Join(words, ", "))
		}
		return nil
	}
}

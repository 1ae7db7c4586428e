// Package config reads demarc.yaml. Every setting has a default that is right on a developer's machine, so the file is
// optional; docs/config.md describes it for people, and a test keeps page and code the same.
package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/safeyaml"
)

// File is the name of the configuration in the folder of the service.
const File = "demarc.yaml"

// MaxFile is the greatest size of a configuration, in bytes.
const MaxFile = 256 << 10

// Config is the whole configuration. Defaults returns what stands where the file says nothing.
type Config struct {
	Service    string            `yaml:"service"` // name of the service; empty: the recorder takes the folder's
	Observe    Observe           `yaml:"observe"`
	Privacy    Privacy           `yaml:"privacy"`
	Keep       Keep              `yaml:"keep"`
	Staleness  map[string]string `yaml:"staleness"`  // key family to budget; "default" is 0s
	Checks     check.List        `yaml:"checks"`     // conditions of demarc check
	Checklists map[string][]Item `yaml:"checklists"` // name of a checklist to items that are added to demarc's own, or are all of it
	Boundaries string            `yaml:"boundaries"` // file, relative to the configuration; empty: none
	Security   Security          `yaml:"security"`

	path string
}

// Limits of checklists.
const (
	MaxChecklists = 50
	MaxItems      = 100 // of one checklist
)

// Item is one line of a checklist of demarc change. One with the id of an item of demarc's own takes its place.
type Item struct {
	ID     string `yaml:"id"`     // lower-case letters, digits and hyphens
	Item   string `yaml:"item"`   // what is to be done
	Run    string `yaml:"run"`    // the command that does it, or
	Step   string `yaml:"step"`   // the step of the record that does
	Before string `yaml:"before"` // id of the item above which it stands; empty: at the end
}

// Observe says what else the recorder looks at.
type Observe struct {
	Functions []string  `yaml:"functions"` // "module:function"
	Principal Principal `yaml:"principal"` // where the caller's identity stands if no framework tells
}

// Principal names a request header or a cookie; at most one of them.
type Principal struct {
	Header string `yaml:"header"`
	Cookie string `yaml:"cookie"`
}

// Privacy says what of keys and targets is kept.
type Privacy struct {
	Keys string `yaml:"keys"` // clear or hashed; empty: clear for run, hashed for collect
}

// Keep bounds a capture.
type Keep struct {
	Size string `yaml:"size"` // 2GB
	Age  string `yaml:"age"`  // 7d
}

// Security is everything that can be reached from outside.
type Security struct {
	Listen string `yaml:"listen"` // of the HTTP server: 127.0.0.1:0, a free port of this machine
	Token  string `yaml:"token"`  // auto: drawn at random for each run; or env:NAME, file:PATH
	Limits Limits `yaml:"limits"`
	// Files hold the cache and security settings of the service, relative to the configuration: demarc audit flags those elsewhere.
	Files []string `yaml:"files"`
}

// MaxSecurityFiles is how many files Security may name.
const MaxSecurityFiles = 200

// Limits of what a run may use.
type Limits struct {
	MaxRate *float64 `yaml:"max_rate"` // events a second and process above which sampling begins; 0: never
}

// Defaults returns the configuration that holds without a file.
func Defaults() Config {
	var c Config
	c.fill()
	return c
}

// fill puts the defaults where nothing is said, which is also what an empty block ("keep:") comes to.
func (c *Config) fill() {
	for _, d := range []struct {
		p     *string
		value string
	}{
		{&c.Keep.Size, "2GB"}, {&c.Keep.Age, "7d"}, {&c.Security.Listen, "127.0.0.1:0"}, {&c.Security.Token, "auto"},
	} {
		if *d.p == "" {
			*d.p = d.value
		}
	}
	if c.Staleness == nil {
		c.Staleness = map[string]string{}
	}
	if c.Staleness["default"] == "" {
		c.Staleness["default"] = "0s"
	}
	if c.Security.Limits.MaxRate == nil {
		rate := 5000.0
		c.Security.Limits.MaxRate = &rate
	}
}

// Load reads the configuration in path. Where path is empty, it is demarc.yaml in the current folder, which may be
// absent. op names the command for errors.
func Load(op, path string) (Config, error) {
	optional := path == ""
	if optional {
		path = File
	}
	f, err := os.Open(path)
	if optional && errors.Is(err, fs.ErrNotExist) {
		return Defaults(), nil
	}
	fail := func(cause error, try string) error {
		return &fault.Error{
			Op: op, What: "cannot read the configuration " + path, Cause: cause,
			Expected: "YAML as docs/config.md describes it", Retry: fault.RetryUseless, Try: try, Code: fault.ExitUsage,
		}
	}
	if err != nil {
		var pe *fs.PathError
		if errors.As(err, &pe) {
			err = pe.Err
		}
		return Config{}, fail(err, "another --config, or none")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		err = fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	if err != nil {
		return Config{}, fail(err, "")
	}
	c, err := Parse(data)
	if err != nil {
		return Config{}, fail(err, "correct the line marked with >")
	}
	c.path = path
	return c, nil
}

// Parse reads a configuration over the defaults. An error shows the line.
func Parse(data []byte) (Config, error) {
	var c Config
	if err := safeyaml.Unmarshal(data, &c, yaml.Strict()); err != nil {
		return Config{}, err
	}
	c.fill()
	for _, check := range []struct {
		path string
		err  error
	}{
		{"$.service", c.checkService()},
		{"$.observe.functions", c.checkFunctions()},
		{"$.observe.principal", c.checkPrincipal()},
		{"$.privacy.keys", c.checkKeys()},
		{"$.keep.size", second(Size(c.Keep.Size))},
		{"$.keep.age", second(Age(c.Keep.Age))},
		{"$.staleness", c.checkStaleness()},
		{"$.checklists", c.checkChecklists()},
		{"$.security.listen", c.checkListen()},
		{"$.security.token", c.checkToken()},
		{"$.security.limits.max_rate", c.checkRate()},
		{"$.security.files", c.checkSecurityFiles()},
	} {
		if check.err != nil {
			return Config{}, errors.New(check.err.Error() + shown(data, check.path))
		}
	}
	return c, nil
}

func second[T any](_ T, err error) error { return err }

// shown returns the lines of the file around a setting, on lines of their own.
func shown(data []byte, path string) string {
	p, err := yaml.PathString(path)
	if err != nil {
		return ""
	}
	lines, err := p.AnnotateSource(data, false)
	if err != nil {
		return ""
	}
	return "\n" + strings.TrimRight(string(lines), "\n ")
}

func (c *Config) checkService() error {
	if len(c.Service) > 100 || strings.ContainsAny(c.Service, "/\\\x00\n") {
		return errors.New("service: a name of at most 100 bytes without slashes and line ends was expected")
	}
	return nil
}

var functionName = regexp.MustCompile(`^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$`)

func (c *Config) checkFunctions() error {
	if len(c.Observe.Functions) > 1000 {
		return errors.New("observe.functions: at most 1000 are observed")
	}
	for _, f := range c.Observe.Functions {
		if !functionName.MatchString(f) {
			return fmt.Errorf("observe.functions: %q is not of the form module:function", f)
		}
	}
	return nil
}

func (c *Config) checkPrincipal() error {
	if c.Observe.Principal.Header != "" && c.Observe.Principal.Cookie != "" {
		return errors.New("observe.principal: either a header or a cookie was expected, not both")
	}
	return nil
}

func (c *Config) checkKeys() error {
	switch c.Privacy.Keys {
	case "", "clear", "hashed":
		return nil
	}
	return fmt.Errorf("privacy.keys: clear or hashed was expected, not %q", c.Privacy.Keys)
}

func (c *Config) checkStaleness() error {
	for family, budget := range c.Staleness {
		if _, err := Age(budget); err != nil {
			return fmt.Errorf("staleness of %q: %w", family, err)
		}
	}
	return nil
}

var (
	checklistName = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,49}$`)
	controls      = regexp.MustCompile(`[\x00-\x08\x0a-\x1f\x7f]`)
)

func (c *Config) checkChecklists() error {
	if len(c.Checklists) > MaxChecklists {
		return fmt.Errorf("checklists: %d of them, at most %d are read", len(c.Checklists), MaxChecklists)
	}
	for _, name := range slices.Sorted(maps.Keys(c.Checklists)) {
		items := c.Checklists[name]
		if !checklistName.MatchString(name) || len(items) > MaxItems {
			return fmt.Errorf("checklists: a name of lower-case letters, digits and hyphens with at most %d items was expected, not %q with %d",
				MaxItems, name, len(items))
		}
		seen := map[string]bool{}
		for i, x := range items {
			at := fmt.Sprintf("checklists.%s[%d]", name, i)
			switch {
			case !checklistName.MatchString(x.ID) || seen[x.ID]:
				return fmt.Errorf("%s.id: lower-case letters, digits and hyphens that no other item has were expected, not %q", at, x.ID)
			case strings.TrimSpace(x.Item) == "" || len(x.Item) > 1000 || controls.MatchString(x.Item):
				return fmt.Errorf("%s.item: one line that says what is to be done was expected", at)
			case x.Run != "" && x.Step != "":
				return fmt.Errorf("%s: either run or step was expected, not both", at)
			case len(x.Run) > 64<<10 || strings.Contains(x.Run, "\x00"):
				return fmt.Errorf("%s.run: a command of at most 64 kB was expected", at)
			}
			seen[x.ID] = true
		}
	}
	return nil
}

func (c *Config) checkListen() error {
	_, port, err := net.SplitHostPort(c.Security.Listen)
	if err == nil {
		_, err = strconv.ParseUint(port, 10, 16)
	}
	if err != nil {
		return fmt.Errorf("security.listen: an address such as 127.0.0.1:7171 was expected, not %q", c.Security.Listen)
	}
	return nil
}

func (c *Config) checkToken() error {
	t := c.Security.Token
	if t == "auto" || len(t) > 4 && strings.HasPrefix(t, "env:") || len(t) > 5 && strings.HasPrefix(t, "file:") {
		return nil
	}
	return errors.New("security.token: auto, env:NAME or file:PATH was expected; a token itself does not belong into this file")
}

func (c *Config) checkRate() error {
	if r := *c.Security.Limits.MaxRate; !(r >= 0) || r > 1e9 {
		return errors.New("security.limits.max_rate: a number of events a second, or 0 for no limit, was expected")
	}
	return nil
}

func (c *Config) checkSecurityFiles() error {
	if len(c.Security.Files) > MaxSecurityFiles {
		return fmt.Errorf("security.files: %d of them, at most %d are read", len(c.Security.Files), MaxSecurityFiles)
	}
	for _, name := range c.Security.Files {
		if !filepath.IsLocal(name) || len(name) > 1000 || controls.MatchString(name) {
			return fmt.Errorf("security.files: a file below the folder of this one was expected, such as shop/settings.py, not %q", name)
		}
	}
	return nil
}

// ReadToken returns the token that the configuration names; drawn is called for "auto".
func (s Security) ReadToken(drawn func() string) (string, error) {
	var t string
	kind, where, _ := strings.Cut(s.Token, ":")
	switch kind {
	case "env":
		if t = os.Getenv(where); t == "" {
			return "", fmt.Errorf("the variable %s, which security.token names, is not set", where)
		}
	case "file":
		data, err := os.ReadFile(where)
		if err != nil {
			return "", err
		}
		t = strings.TrimSpace(string(data))
	default:
		return drawn(), nil
	}
	if len(t) < 16 {
		return "", errors.New("the token is shorter than 16 characters")
	}
	return t, nil
}

// Size reads a number of bytes: 500MB, 2GB, 1GiB, 1048576. It returns at least 1 MB.
func Size(s string) (int64, error) {
	units := []struct {
		suffix string
		bytes  float64
	}{
		{"kib", 1 << 10}, {"mib", 1 << 20}, {"gib", 1 << 30}, {"tib", 1 << 40},
		{"kb", 1e3}, {"mb", 1e6}, {"gb", 1e9}, {"tb", 1e12}, {"b", 1}, {"", 1},
	}
	low := strings.ToLower(strings.TrimSpace(s))
	for _, u := range units {
		number, ok := strings.CutSuffix(low, u.suffix)
		if !ok {
			continue
		}
		v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
		if err != nil || !(v*u.bytes >= 1e6 && v*u.bytes <= 1e15) {
			break
		}
		return int64(v * u.bytes), nil
	}
	return 0, fmt.Errorf("a size such as 500MB or 2GB, at least 1MB, was expected, not %q", s)
}

// Age reads a length of time: 90s, 15m, 12h, 7d, 2w, or Go's form 1h30m.
func Age(s string) (time.Duration, error) {
	low := strings.ToLower(strings.TrimSpace(s))
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if number, ok := strings.CutSuffix(low, suffix); ok {
			if v, err := strconv.ParseFloat(number, 64); err == nil && v >= 0 && v < 1e5 {
				return time.Duration(v * float64(unit)), nil
			}
		}
	}
	d, err := time.ParseDuration(low)
	if err != nil || d < 0 {
		return 0, fmt.Errorf("a length of time such as 90s, 12h or 7d was expected, not %q", s)
	}
	return d, nil
}

// Package boundary is the file boundaries.yaml: the one place where a service's caches are declared, boundary by boundary,
// with what makes the key, how long an entry lives and which write drops it. `demarc choose -o` writes it, people edit it,
// `demarc check --boundaries` holds the running caches to it. docs/check.md describes it.
package boundary

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"

	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/safeyaml"
)

// Name of the file where nobody says another.
const Name = "boundaries.yaml"

// Version is the version of the file that this demarc reads and writes.
const Version = 1

// Limits of a file.
const (
	MaxFile       = 1 << 20 // bytes
	MaxBoundaries = 1000
	MaxKeyParts   = 50
	MaxTables     = 100
	MaxColumns    = 100  // sets of columns of a table
	MaxText       = 2000 // bytes of one text
)

// Levels at which a cache can stand.
const (
	Response = "response"
	Function = "function"
	Query    = "query"
)

// Ways in which entries are dropped before their lifetime ends. Fenced: a read that began before the write's commit may not
// store its answer after it.
const (
	None        = "none"
	Row         = "row"
	Table       = "table"
	RowFenced   = "row-fenced"
	TableFenced = "table-fenced"
)

// File is the whole array.
type File struct {
	Version    int        `yaml:"version"`
	Boundaries []Boundary `yaml:"boundaries"`
}

// Boundary is one place where the service remembers instead of computing.
type Boundary struct {
	Name         string    `yaml:"name"`                    // "GET /articles/{slug}", "shop.pricing:price_for", or a statement; unique per level
	Level        string    `yaml:"level"`                   // Response, Function or Query
	Key          []string  `yaml:"key,flow"`                // inputs that decide the answer: see KeyPart; empty: one entry for all
	TTL          TTL       `yaml:"ttl"`                     // lifetime; zero ("none"): entries live until they are dropped
	Invalidation string    `yaml:"invalidation"`            // None, Row, Table, RowFenced or TableFenced
	InvalidateOn []Drop    `yaml:"invalidate_on,omitempty"` // the writes that drop; empty for None
	Family       string    `yaml:"family,omitempty"`        // key family in the running cache ("article:{}"), where known
	Expected     *Expected `yaml:"expected,omitempty"`      // what the replay said
	Command      string    `yaml:"command,omitempty"`       // that printed it
	Comment      string    `yaml:"-"`                       // written above the entry, not read back
}

// Drop is a write that drops entries.
type Drop struct {
	Table string `yaml:"table" json:"table"`
	By    string `yaml:"by" json:"by"` // Row: the entries that rest on the written row; Table: all of the boundary
	// Columns, for Row, are the sets of columns whose values tell which rows an entry rests on, each joined by commas; none: not known.
	Columns []string `yaml:"columns,omitempty" json:"columns,omitempty"`
}

// MarshalYAML keeps a drop on one line.
func (d Drop) MarshalYAML() (any, error) {
	list := yaml.MapSlice{{Key: "table", Value: d.Table}, {Key: "by", Value: d.By}}
	if len(d.Columns) > 0 {
		list = append(list, yaml.MapItem{Key: "columns", Value: d.Columns})
	}
	return list, nil
}

// Expected are the figures of a forecast over the requests that it replayed.
type Expected struct {
	HitRatio     float64 `yaml:"hit_ratio"` // 0..1
	SavedMs      float64 `yaml:"saved_ms"`
	SavedQueries int64   `yaml:"saved_queries"`
	StaleServes  int64   `yaml:"stale_serves"`
	Requests     int64   `yaml:"requests"`
}

// TTL is a lifetime, written as 60s, 5m, 1.5h, 100ms, 7d or none.
type TTL time.Duration

// UnmarshalYAML reads a lifetime.
func (t *TTL) UnmarshalYAML(node ast.Node) error {
	var s string
	if err := yaml.NodeToValue(node, &s); err != nil {
		return err
	}
	if s == None {
		*t = 0
		return nil
	}
	d, err := config.Age(s)
	if err != nil || d <= 0 {
		return &yaml.SyntaxError{
			Message: fmt.Sprintf("ttl: a lifetime such as 60s or 5m, or none, was expected, not %q", s), Token: node.GetToken(),
		}
	}
	*t = TTL(d)
	return nil
}

// MarshalYAML writes a lifetime.
func (t TTL) MarshalYAML() (any, error) { return t.String(), nil }

// String writes a lifetime in one unit: the longest that divides it.
func (t TTL) String() string {
	d := time.Duration(t)
	if d <= 0 {
		return None
	}
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}, {time.Second, "s"}, {time.Millisecond, "ms"}} {
		if d%u.unit == 0 && (d >= 2*u.unit || u.unit <= time.Second) {
			return fmt.Sprintf("%d%s", d/u.unit, u.name)
		}
	}
	return d.String()
}

// keyPart is what may stand in a key.
var keyPart = regexp.MustCompile(`^(principal|method|path|(path|query|header|cookie|arg|param)\.[^\s\pC]+)$`)

// KeyPart says whether a text names an input: path.NAME, query.NAME, header.NAME, cookie.NAME, arg.NAME (of a function),
// param.N (of a statement), method or principal.
func KeyPart(s string) bool { return len(s) <= 200 && keyPart.MatchString(s) }

// Load reads a file. op names the command for errors, which are those of the command line (exit code 2).
func Load(op, path string) (*File, error) {
	fail := func(cause error, try string) error {
		var pe *fs.PathError
		if errors.As(cause, &pe) {
			cause = pe.Err
		}
		return &fault.Error{
			Op: op, What: "cannot read the boundaries " + path, Cause: cause, Expected: "YAML as docs/check.md describes it",
			Retry: fault.RetryUseless, Try: try, Code: fault.ExitUsage,
		}
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, fail(err, "demarc choose -o "+Name+" writes one")
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err != nil {
		return nil, fail(err, "")
	}
	file, err := Parse(data)
	if err != nil {
		return nil, fail(err, "correct the line marked with >")
	}
	return file, nil
}

// Parse reads and validates the text of a file. An error shows the line.
func Parse(data []byte) (*File, error) {
	if len(data) > MaxFile {
		return nil, fmt.Errorf("it is larger than %d bytes", MaxFile)
	}
	var f File
	// The version first, and loosely: a newer file may hold what this demarc does not know.
	var head struct {
		Version int `yaml:"version"`
	}
	if err := safeyaml.Unmarshal(data, &head); err == nil && head.Version > Version {
		return nil, fmt.Errorf("its version is %d; this demarc reads up to %d%s", head.Version, Version, shown(data, "$.version"))
	}
	if err := safeyaml.Unmarshal(data, &f, yaml.Strict()); err != nil {
		return nil, err
	}
	if path, err := f.check(); err != nil {
		return nil, errors.New(err.Error() + shown(data, path))
	}
	return &f, nil
}

// Validate says what is wrong with an array before it is written.
func (f *File) Validate() error {
	_, err := f.check()
	return err
}

// check returns the first thing that is wrong, and where it stands.
func (f *File) check() (string, error) {
	if f.Version != Version {
		return "$.version", fmt.Errorf("version: %d was expected, not %d", Version, f.Version)
	}
	if len(f.Boundaries) > MaxBoundaries {
		return "$.boundaries", fmt.Errorf("boundaries: %d of them, at most %d are read", len(f.Boundaries), MaxBoundaries)
	}
	seen := map[[2]string]bool{}
	for i, b := range f.Boundaries {
		at := fmt.Sprintf("$.boundaries[%d]", i)
		if field, err := b.check(); err != nil {
			return at + field, fmt.Errorf("boundaries[%d]%s: %w", i, field, err)
		}
		id := [2]string{b.Level, b.Name}
		if seen[id] {
			return at + ".name", fmt.Errorf("boundaries[%d].name: %q stands there twice at level %s", i, b.Name, b.Level)
		}
		seen[id] = true
	}
	return "", nil
}

func (b Boundary) check() (string, error) {
	for field, text := range map[string]string{".name": b.Name, ".family": b.Family, ".command": b.Command} {
		if len(text) > MaxText || strings.ContainsRune(text, 0) {
			return field, fmt.Errorf("at most %d bytes without NUL were expected", MaxText)
		}
	}
	if b.Name == "" {
		return "", errors.New("name: a route, a function or a statement was expected")
	}
	if !slices.Contains([]string{Response, Function, Query}, b.Level) {
		return ".level", fmt.Errorf("response, function or query was expected, not %q", b.Level)
	}
	if len(b.Key) > MaxKeyParts {
		return ".key", fmt.Errorf("%d parts, at most %d are read", len(b.Key), MaxKeyParts)
	}
	for i, k := range b.Key {
		if !KeyPart(k) {
			return ".key", fmt.Errorf("path.NAME, query.NAME, header.NAME, cookie.NAME, arg.NAME, param.N, method or principal was expected, not %q", k)
		}
		if slices.Contains(b.Key[:i], k) {
			return ".key", fmt.Errorf("%q stands there twice", k)
		}
	}
	if b.TTL < 0 {
		return ".ttl", errors.New("a lifetime such as 60s, or none, was expected")
	}
	switch b.Invalidation {
	case None:
		if len(b.InvalidateOn) > 0 {
			return ".invalidate_on", errors.New("invalidation is none, so no write drops entries")
		}
		if b.TTL == 0 {
			return ".invalidation", errors.New("entries with neither a lifetime nor a write that drops them would stay for ever")
		}
	case Row, Table, RowFenced, TableFenced:
		if len(b.InvalidateOn) == 0 {
			return ".invalidation", fmt.Errorf("invalidation is %s, but invalidate_on names no table", b.Invalidation)
		}
	default:
		return ".invalidation", fmt.Errorf("none, row, table, row-fenced or table-fenced was expected, not %q", b.Invalidation)
	}
	if len(b.InvalidateOn) > MaxTables {
		return ".invalidate_on", fmt.Errorf("%d tables, at most %d are read", len(b.InvalidateOn), MaxTables)
	}
	for i, d := range b.InvalidateOn {
		at := fmt.Sprintf(".invalidate_on[%d]", i)
		if d.Table == "" || len(d.Table) > MaxText {
			return at, errors.New("the name of a table was expected")
		}
		if d.By != Row && d.By != Table {
			return at, fmt.Errorf("by: row or table was expected, not %q", d.By)
		}
		if d.By == Row && (b.Invalidation == Table || b.Invalidation == TableFenced) {
			return at, fmt.Errorf("by: table was expected, as invalidation is %s", b.Invalidation)
		}
		if d.By != Row && len(d.Columns) > 0 || len(d.Columns) > MaxColumns {
			return at, fmt.Errorf("columns: at most %d, and only with by: row, were expected", MaxColumns)
		}
	}
	if e := b.Expected; e != nil && !(e.HitRatio >= 0 && e.HitRatio <= 1 && e.SavedMs >= 0 && e.SavedQueries >= 0 && e.StaleServes >= 0 && e.Requests >= 0) {
		return ".expected", errors.New("a hit_ratio from 0 to 1 and counts from 0 on were expected")
	}
	return "", nil
}

// shown returns the lines of the file around a place, on lines of their own.
func shown(data []byte, path string) string {
	for path != "" && path != "$" {
		if p, err := yaml.PathString(path); err == nil {
			if lines, err := p.AnnotateSource(data, false); err == nil {
				return "\n" + strings.TrimRight(string(lines), "\n ")
			}
		}
		path = path[:max(0, strings.LastIndexAny(path, ".["))] // the field is missing: show what it belongs to
	}
	return ""
}

// Find returns the boundary of that name, at whatever level.
func (f *File) Find(name string) (Boundary, bool) {
	for _, b := range f.Boundaries {
		if b.Name == name {
			return b, true
		}
	}
	return Boundary{}, false
}

var notWord = regexp.MustCompile(`[^a-z0-9]+`)

// Words are the names that boundaries have in printed code and in the keys that it stores under, PREFIX:WORD:HASH, so that their key
// families differ: letters, digits and _ of the name; numbered where two would be the same.
func Words(list []Boundary) []string {
	words := make([]string, 0, len(list))
	for _, b := range list {
		word := strings.Trim(notWord.ReplaceAllString(strings.ToLower(b.Name), "_"), "_")
		own := word
		for n := 2; slices.Contains(words, own); n++ {
			own = fmt.Sprintf("%s_%d", word, n)
		}
		words = append(words, own)
	}
	return words
}

// Marshal writes an array as text, each boundary under its comment. head is written as a comment at the top.
func (f *File) Marshal(head string) ([]byte, error) {
	if err := f.Validate(); err != nil {
		return nil, err
	}
	var b strings.Builder
	comment(&b, "", head)
	fmt.Fprintf(&b, "version: %d\nboundaries:", f.Version)
	if len(f.Boundaries) == 0 {
		b.WriteString(" []")
	}
	b.WriteString("\n")
	for _, e := range f.Boundaries {
		if e.Key == nil {
			e.Key = []string{}
		}
		text, err := yaml.MarshalWithOptions([]Boundary{e}, yaml.IndentSequence(true))
		if err != nil {
			return nil, err
		}
		comment(&b, "  ", e.Comment)
		for line := range strings.Lines(strings.TrimRight(string(text), "\n")) {
			if !strings.HasPrefix(line, "  ") {
				b.WriteString("  ")
			}
			b.WriteString(line)
		}
		b.WriteString("\n")
	}
	return []byte(b.String()), nil
}

func comment(b *strings.Builder, indent, text string) {
	if text == "" {
		return
	}
	for line := range strings.SplitSeq(strings.TrimRight(text, "\n"), "\n") {
		b.WriteString(strings.TrimRight(indent+"# "+strings.ReplaceAll(line, "\r", ""), " ") + "\n")
	}
}

// Write writes an array into a file, whole or not at all.
func (f *File) Write(path, head string) error {
	data, err := f.Marshal(head)
	if err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.Write(data)
	if err == nil {
		err = tmp.Chmod(0o644)
	}
	if err == nil {
		err = tmp.Sync()
	}
	if cerr := tmp.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	return err
}

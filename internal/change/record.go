// Package change holds the records of changes to a service: what was slow or wrong, what was done about it, with which
// commands, and what came of it.
//
// A record is two things that never touch each other, so that people and demarc do not overwrite one another, and the
// work of two people merges in git:
//
//	changes/2026-11-22-article-list.yaml      the record (Record): written once by `demarc change new`, then by people
//	changes/2026-11-22-article-list/…         its results (Run): one file for each run, written by demarc and never changed
//	changes/2026-11-22-article-list.md, .svg  the final note and its picture
package change

import (
	"bytes"
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

	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/safeyaml"
)

// Version is the version of the records that this demarc reads and writes.
const Version = 1

// Folder is where a service's records lie, relative to the folder that demarc is called in.
const Folder = "changes"

// Limits of what is read. A record beyond them is refused, and nothing of it is lost.
const (
	MaxRecord = 256 << 10 // bytes of a record
	MaxText   = 16 << 10  // bytes of one text in it
	MaxList   = 500       // entries of one list in it
)

// Record is one change. Everything but Version and Topic may be missing while a record is a draft; Missing tells what
// a step still needs.
type Record struct {
	Version int      `yaml:"version"`
	Topic   string   `yaml:"topic"`             // what the change is about, one line
	Owner   string   `yaml:"owner,omitempty"`   // who answers for it: a name, or a name and an address as git has them
	Reason  string   `yaml:"reason,omitempty"`  // why it is done
	Context string   `yaml:"context,omitempty"` // what one must know to understand it
	Stack   []string `yaml:"stack,omitempty"`   // what the service is built of: "fastapi 0.115", "redis"

	Baseline Baseline   `yaml:"baseline,omitempty"`
	Finding  string     `yaml:"finding,omitempty"`  // id of the finding of demarc stale that the change answers
	Boundary string     `yaml:"boundary,omitempty"` // name of the boundary of boundaries.yaml that the change introduces
	Cause    string     `yaml:"cause,omitempty"`    // why it was slow or wrong
	Change   string     `yaml:"change,omitempty"`   // the smallest change that helps
	Expected check.List `yaml:"expected,omitempty"` // checks that must hold after the change

	Commands     Commands     `yaml:"commands,omitempty"`
	Environments Environments `yaml:"environments,omitempty"`
	Config       []ConfigItem `yaml:"config,omitempty"` // what must be equal on staging and production

	Base     string            `yaml:"base,omitempty"`     // git revision before the change; files are those of BASE..HEAD
	Files    []string          `yaml:"files,omitempty"`    // files that the change touches, relative to the repository
	Security []SecuritySetting `yaml:"security,omitempty"` // security settings that the change touches

	Assumptions []string `yaml:"assumptions,omitempty"` // what must stay true for the change to be right
	Rollback    string   `yaml:"rollback,omitempty"`    // how it is taken back, and what remains afterwards
	NotClaimed  []string `yaml:"not_claimed,omitempty"` // what the change is not said to do
	Checklist   []Item   `yaml:"checklist,omitempty"`

	path string
	data []byte
}

// Baseline is the state before the change: where the problem shows, and its figures.
type Baseline struct {
	Route     string   `yaml:"route,omitempty"`      // as reports name it: GET /articles/{slug}
	Input     string   `yaml:"input,omitempty"`      // the expected input: GET /articles?limit=20
	SlowQuery string   `yaml:"slow_query,omitempty"` // the statement that is slow, or
	Failing   string   `yaml:"failing,omitempty"`    // the command that fails
	Noticed   string   `yaml:"noticed,omitempty"`    // where the user notices the problem
	Capture   string   `yaml:"capture,omitempty"`    // folder of the capture, relative to where demarc is called
	Figures   []Figure `yaml:"figures,omitempty"`
}

// Figure is one measured number. Command is what printed it; a figure without one cannot be repeated.
type Figure struct {
	Metric  string  `yaml:"metric" json:"metric"`                       // p95_ms, queries_per_request, …
	Of      string  `yaml:"of,omitempty" json:"of"`                     // route or key family; empty: the whole service
	Value   float64 `yaml:"value" json:"value"`                         // in the unit that the metric's name says
	N       int64   `yaml:"samples,omitempty" json:"samples,omitempty"` // that it rests on, where known
	Command string  `yaml:"command" json:"command"`
}

// Commands are the commands of a change; those that stand under an environment replace these there.
type Commands struct {
	Backup   *Command `yaml:"backup,omitempty"`
	Restore  *Command `yaml:"restore,omitempty"`
	Deploy   *Command `yaml:"deploy,omitempty"`
	Health   *Command `yaml:"health,omitempty"`
	Verify   *Command `yaml:"verify,omitempty"`
	Rollback *Command `yaml:"rollback,omitempty"`
}

// CommandNames are the names of Commands, in the order in which they are used.
var CommandNames = []string{"backup", "restore", "deploy", "health", "verify", "rollback"}

// Get returns the command of a name of CommandNames, or nil.
func (c Commands) Get(name string) *Command {
	switch name {
	case "backup":
		return c.Backup
	case "restore":
		return c.Restore
	case "deploy":
		return c.Deploy
	case "health":
		return c.Health
	case "verify":
		return c.Verify
	case "rollback":
		return c.Rollback
	}
	return nil
}

// Set puts a command under a name of CommandNames.
func (c *Commands) Set(name string, command *Command) {
	switch name {
	case "backup":
		c.Backup = command
	case "restore":
		c.Restore = command
	case "deploy":
		c.Deploy = command
	case "health":
		c.Health = command
	case "verify":
		c.Verify = command
	case "rollback":
		c.Rollback = command
	}
}

// Command is a command for the shell. In a record it is a text, or a map where it needs more than that.
type Command struct {
	Run      string            `yaml:"run"`
	Timeout  string            `yaml:"timeout,omitempty"`  // 90s, 15m; empty: command.DefaultTimeout
	Dir      string            `yaml:"dir,omitempty"`      // folder to run it in; empty: where demarc is called
	Pass     []string          `yaml:"pass,omitempty"`     // names of variables that are handed on from the caller
	Env      map[string]string `yaml:"env,omitempty"`      // variables with values, which are no secrets
	Secrets  map[string]string `yaml:"secrets,omitempty"`  // variable to reference: env:NAME or file:PATH, never a value
	Artifact string            `yaml:"artifact,omitempty"` // of backup: the file or folder that it writes, which must not be empty
}

// Spec returns the command as package command runs it. A valid record's commands give no error.
func (c *Command) Spec() (command.Spec, error) {
	s := command.Spec{Line: c.Run, Dir: c.Dir, Pass: c.Pass, Env: c.Env, Secrets: c.Secrets}
	if c.Timeout == "" {
		return s, nil
	}
	var err error
	if s.Timeout, err = config.Age(c.Timeout); err == nil && (s.Timeout < time.Second || s.Timeout > command.MaxTimeout) {
		err = fmt.Errorf("a time limit from 1s to %s was expected, not %q", command.MaxTimeout, c.Timeout)
	}
	return s, err
}

// UnmarshalYAML accepts a text for {run: text}.
func (c *Command) UnmarshalYAML(unmarshal func(any) error) error {
	var text string
	if err := unmarshal(&text); err == nil {
		*c = Command{Run: text}
		return nil
	}
	type plain Command
	return unmarshal((*plain)(c))
}

// MarshalYAML writes a command that is only a text as that text.
func (c Command) MarshalYAML() (any, error) {
	if c.Timeout == "" && c.Dir == "" && c.Pass == nil && c.Env == nil && c.Secrets == nil && c.Artifact == "" {
		return c.Run, nil
	}
	type plain Command
	return plain(c), nil
}

// Environments are where the change is tried and where it is made.
type Environments struct {
	Staging    *Environment `yaml:"staging,omitempty"`
	Production *Environment `yaml:"production,omitempty"`
}

// Get returns an environment by its name, or nil where the record does not describe it.
func (e Environments) Get(name string) *Environment {
	switch name {
	case "staging":
		return e.Staging
	case "production":
		return e.Production
	}
	return nil
}

// Environment is how one environment differs from the record's general commands.
type Environment struct {
	Commands Commands          `yaml:"commands,omitempty"`
	URL      string            `yaml:"url,omitempty"`     // of the service, for health checks
	Capture  string            `yaml:"capture,omitempty"` // folder of the capture that its checks read
	Redis    string            `yaml:"redis,omitempty"`   // reference of the address: env:NAME or file:PATH, or a redis:// URL without a password
	Dir      string            `yaml:"dir,omitempty"`     // folder that the files of Config are relative to
	EnvFile  string            `yaml:"env_file,omitempty"`
	Pass     []string          `yaml:"pass,omitempty"`    // for all of its commands, as in Command
	Env      map[string]string `yaml:"env,omitempty"`     // for all of its commands, as in Command
	Secrets  map[string]string `yaml:"secrets,omitempty"` // for all of its commands, as in Command
}

// Command returns the command of a name of CommandNames for an environment, with the environment's variables, or nil
// where the record has none.
func (r *Record) Command(environment, name string) *Command {
	c := r.Commands.Get(name)
	e := r.Environments.Get(environment)
	if e == nil {
		return c
	}
	if own := e.Commands.Get(name); own != nil {
		c = own
	}
	if c == nil {
		return nil
	}
	joined := *c
	joined.Pass = slices.Concat(e.Pass, c.Pass)
	joined.Env = merged(e.Env, c.Env)
	joined.Secrets = merged(e.Secrets, c.Secrets)
	return &joined
}

func merged(general, own map[string]string) map[string]string {
	if len(general) == 0 {
		return own
	}
	m := make(map[string]string, len(general)+len(own))
	for _, from := range []map[string]string{general, own} {
		for k, v := range from {
			m[k] = v
		}
	}
	return m
}

// ConfigItem names one thing that must be equal on staging and production; exactly one of File, Env, Command and Redis
// is set.
type ConfigItem struct {
	File    string `yaml:"file,omitempty"`    // a file below the environment's folder
	Env     string `yaml:"env,omitempty"`     // a variable
	Command string `yaml:"command,omitempty"` // what this command prints: a version
	Redis   string `yaml:"redis,omitempty"`   // a setting of the live Redis (maxmemory-policy), or "ttl PATTERN"
	Secret  bool   `yaml:"secret,omitempty"`  // compared by keyed hash, never shown or copied
}

// SecuritySetting is a setting that decides who may do what, and where it stands.
type SecuritySetting struct {
	File    string `yaml:"file"`
	Setting string `yaml:"setting"`
	Line    int    `yaml:"line,omitempty"` // in the file after the change; 0: not known
	Note    string `yaml:"note,omitempty"`
}

// Item is one line of the checklist. It is done by Run, or by the step of the record that Step names.
type Item struct {
	ID   string   `yaml:"id"`             // lower-case letters, digits and hyphens; unique in the record
	Item string   `yaml:"item"`           // what is to be done
	Run  *Command `yaml:"run,omitempty"`  // the command that does it, or
	Step string   `yaml:"step,omitempty"` // a name of CommandNames, or one of rehearse, config, watch, note
}

// ExpectedLines returns the checks as text, one each.
func (r *Record) ExpectedLines() []string {
	lines := make([]string, len(r.Expected))
	for i, c := range r.Expected {
		lines[i] = c.String()
	}
	return lines
}

// Path returns where the record was read from or saved to.
func (r *Record) Path() string { return r.path }

// Name returns the name of the record: <date>-<slug>.
func (r *Record) Name() string { return strings.TrimSuffix(filepath.Base(r.path), ".yaml") }

// Dir returns the folder of the record's results, which may not be there yet.
func (r *Record) Dir() string { return strings.TrimSuffix(r.path, ".yaml") }

// NotePath returns where the record's final note is written.
func (r *Record) NotePath() string { return strings.TrimSuffix(r.path, ".yaml") + ".md" }

// Item returns the item of the checklist with an id, or nil.
func (r *Record) Item(id string) *Item {
	if i := slices.IndexFunc(r.Checklist, func(it Item) bool { return it.ID == id }); i >= 0 {
		return &r.Checklist[i]
	}
	return nil
}

// Load reads a record and validates it. arg is a path, or the name of a record in Folder, or an end of that name which
// only one record has; empty: the only record, or the newest. An error shows the line.
func Load(arg string) (*Record, error) {
	path, err := find(Folder, arg)
	if err != nil {
		return nil, err
	}
	data, err := readBounded(path, MaxRecord)
	if err != nil {
		return nil, unreadable(path, err, "")
	}
	r, err := Parse(data)
	if err != nil {
		return nil, unreadable(path, err, "correct the line marked with >")
	}
	r.path = path
	return r, nil
}

func unreadable(path string, cause error, try string) error {
	return &fault.Error{
		What: "cannot read the change record " + path, Cause: cause,
		Expected: "YAML as docs/change.md describes it", Retry: fault.RetryUseless, Try: try, Code: fault.ExitUsage,
	}
}

// Parse reads a record and validates it. The error shows the line and what was expected there.
func Parse(data []byte) (*Record, error) {
	var r Record
	if len(bytes.TrimSpace(data)) == 0 {
		return nil, errors.New("the file is empty")
	}
	if err := safeyaml.Unmarshal(data, &r, yaml.Strict()); err != nil {
		return nil, err
	}
	if err := r.validate(data); err != nil {
		return nil, err
	}
	r.data = data
	return &r, nil
}

// find returns the path of the record that arg names (see Load).
func find(folder, arg string) (string, error) {
	if strings.ContainsRune(arg, os.PathSeparator) || strings.HasSuffix(arg, ".yaml") {
		return arg, nil
	}
	names, err := Names(folder)
	if err != nil {
		return "", err
	}
	var found []string
	for _, n := range names {
		if n == arg {
			return filepath.Join(folder, n+".yaml"), nil
		}
		if arg == "" || strings.HasSuffix(n, "-"+arg) || strings.HasPrefix(n, arg) {
			found = append(found, n)
		}
	}
	if len(found) == 1 || arg == "" && len(found) > 0 {
		return filepath.Join(folder, found[len(found)-1]+".yaml"), nil
	}
	f := &fault.Error{
		What: fmt.Sprintf("there is no change record %q in %s", arg, folder), Retry: fault.RetryUseless,
		Expected: "one of: " + strings.Join(names[max(0, len(names)-10):], ", "), Try: "demarc change list", Code: fault.ExitUsage,
	}
	switch {
	case len(names) == 0:
		f.What, f.Expected, f.Try = "there is no change record in "+folder, "one that was made before", "demarc change new"
	case len(found) > 1:
		f.What, f.Expected = fmt.Sprintf("%q may be any of %d change records", arg, len(found)), "one of: "+strings.Join(found, ", ")
	}
	return "", f
}

var recordName = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}-[a-z0-9][a-z0-9-]*$`)

// Names returns the names of the records in a folder, oldest first; none where there is no folder.
func Names(folder string) ([]string, error) {
	entries, err := os.ReadDir(folder)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, &fault.Error{What: "cannot list the change records", Cause: err, Retry: fault.RetrySafe}
	}
	var names []string
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ".yaml"); ok && !e.IsDir() && recordName.MatchString(name) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

// readBounded returns a file of at most limit bytes.
func readBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, bare(err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(data)) > limit {
		err = fmt.Errorf("it is larger than %d bytes", limit)
	}
	return data, err
}

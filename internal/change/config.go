package change

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/fault"
)

// Limits of what is compared.
const (
	maxSetting  = 1 << 20 // bytes of a file, a variable or what a command prints
	shownDiff   = 20      // lines of a file's difference that are shown
	shownValue  = 200     // bytes of a value that are shown
	maxDiffLine = 4000    // lines of a file beyond which only its size and hash are compared for people
)

// ConfigOptions are what the comparison is told beside Options.
type ConfigOptions struct {
	Copy    []string                            // names of settings to copy, as Setting.Name has them
	To      string                              // environment to copy to
	Confirm func(question string) (bool, error) // asked before anything is copied
	Hash    func(text string) string            // the project's keyed hash, for secrets
}

// Setting is one thing that must be equal on staging and production.
type Setting struct {
	Name       string `json:"name"` // "file conduit/settings.py", "env CACHE_TTL", "command python --version", "redis maxmemory-policy"
	Kind       string `json:"kind"` // file, env, command, redis
	Secret     bool   `json:"secret"`
	State      string `json:"state"`      // passed: equal; failed: different, or one side cannot be read; undecided
	Staging    string `json:"staging"`    // the value; of a secret its keyed hash; of a file its hash
	Production string `json:"production"` // the same
	Detail     string `json:"detail,omitempty"`
	Copied     string `json:"copied,omitempty"` // the environment that it was copied to

	item ConfigItem
}

// CompareConfig compares what a record says must be equal on staging and production, and copies what it is told to, after
// the question was answered with yes. The comparison, as it is after the copying, is added to the record's results.
func CompareConfig(ctx context.Context, record *Record, o Options, c ConfigOptions) (*Run, []Setting, error) {
	if len(record.Config) == 0 {
		return nil, nil, &fault.Error{Op: o.Op, What: "nothing of " + record.Name() + " is to be compared", Cause: errors.New("config: is empty"),
			Expected: "files, variables, commands or settings of Redis under config:", Retry: fault.RetryUseless, Try: "add them to " + record.Path(), Code: fault.ExitUsage}
	}
	if o.DryRun {
		for _, item := range record.Config {
			fmt.Fprintln(o.Talk, settingName(item))
		}
		return nil, nil, nil
	}
	run := NewRun(KindConfig, o.Now())
	run.By, run.Commit = whoAndWhere(ctx)
	settings, err := compareAll(ctx, record, o, c)
	if err != nil {
		return nil, nil, err
	}
	if len(c.Copy) > 0 {
		if settings, err = copySettings(ctx, record, o, c, settings); err != nil {
			return nil, settings, err
		}
	}
	var differ, undecided []string
	for _, s := range settings {
		step := Step{Name: s.Name, State: s.State, At: run.At, Detail: s.Detail}
		if s.State != StatePassed {
			step.Detail = strings.TrimSuffix(fmt.Sprintf("staging %s, production %s; %s", s.Staging, s.Production, s.Detail), "; ")
		}
		run.Steps = append(run.Steps, step)
		switch s.State {
		case StateFailed:
			differ = append(differ, s.Name)
		case StateUndecided:
			undecided = append(undecided, s.Name)
		}
	}
	run.State, run.Duration = StatePassed, duration(o.Now().Sub(run.At))
	var f *fault.Error
	switch {
	case len(differ) > 0:
		run.State, run.Detail = StateFailed, "different: "+strings.Join(differ, ", ")
		f = &fault.Error{Op: o.Op, What: "staging and production differ", Cause: errors.New(strings.Join(differ, ", ")),
			Expected: "what the record lists under config: equal on both", Retry: fault.RetrySafe, Try: o.Op + " --copy NAME, for what is no secret", Code: fault.ExitCheck}
	case len(undecided) > 0:
		run.State, run.Detail = StateUndecided, "not decided: "+strings.Join(undecided, ", ")
		f = &fault.Error{Op: o.Op, What: "too little is known to compare staging and production", Cause: errors.New(strings.Join(undecided, ", ")),
			Retry: fault.RetrySafe, Try: "the same again after some traffic", Code: fault.ExitTooFew}
	}
	if err := record.SaveRun(run); err != nil {
		return run, settings, err
	}
	if f != nil {
		return run, settings, f
	}
	return run, settings, nil
}

func settingName(item ConfigItem) string {
	switch {
	case item.File != "":
		return "file " + item.File
	case item.Env != "":
		return "env " + item.Env
	case item.Command != "":
		return "command " + item.Command
	}
	return "redis " + item.Redis
}

// looksSecret matches names of settings whose values are not shown, whether or not the record says so.
var looksSecret = regexp.MustCompile(`(?i)secret|token|passw|pwd|api_?key|private|credential`)

// side is one environment's answer.
type side struct {
	value   string
	missing bool // it is not there
	err     error
	doubt   string // why value says little

	longest time.Duration // of lifetimes: the longest rest
	forever string        // of lifetimes: none, some or all of the keys have no end
}

func compareAll(ctx context.Context, record *Record, o Options, c ConfigOptions) ([]Setting, error) {
	var list []Setting
	for _, item := range record.Config {
		s, err := compareOne(ctx, record, item, o, c)
		if err != nil {
			return nil, err
		}
		list = append(list, s)
	}
	return list, nil
}

// compareOne asks both sides. The error is that of the context.
func compareOne(ctx context.Context, record *Record, item ConfigItem, o Options, c ConfigOptions) (Setting, error) {
	s := Setting{Name: settingName(item), item: item, Secret: item.Secret || item.Env != "" && looksSecret.MatchString(item.Env)}
	s.Kind, _, _ = strings.Cut(s.Name, " ")
	sides := map[string]side{}
	for _, name := range []string{staging, production} {
		var a side
		e := record.Environments.Get(name)
		switch {
		case e == nil:
			a.err = fmt.Errorf("the record does not describe %s", name)
		case s.Kind == "file":
			a = fileOf(e, item.File)
		case s.Kind == "env":
			a = s.variable(e, item.Env)
		case s.Kind == "command":
			a = printed(ctx, record, name, e, item.Command)
		default:
			a = redisOf(ctx, e, item.Redis)
		}
		if err := ctx.Err(); err != nil {
			return s, err
		}
		sides[name] = a
	}
	p, q := sides[staging], sides[production]
	s.Staging, s.Production = s.shown(p, c), s.shown(q, c)
	switch {
	case p.err != nil || q.err != nil || p.missing != q.missing:
		s.State = StateFailed
	case p.value == q.value, p.forever != "" && alike(p, q):
		s.State = StatePassed
		if p.missing {
			s.Detail = "on neither"
		}
	default:
		s.State = StateFailed
		if s.Kind == "file" && !s.Secret {
			s.Detail = difference(p.value, q.value)
		}
	}
	if p.err == nil && q.err == nil {
		if doubt := strings.Trim(p.doubt+"; "+q.doubt, "; "); doubt != "" {
			s.State, s.Detail = StateUndecided, doubt
		}
	}
	return s, nil
}

// shown is a side's answer for people: of secrets and files a hash.
func (s *Setting) shown(a side, c ConfigOptions) string {
	switch {
	case a.err != nil:
		return "cannot be read: " + a.err.Error()
	case a.missing:
		return "not there"
	case s.Secret:
		return "keyed hash " + c.Hash(a.value)
	case s.Kind == "file":
		return fmt.Sprintf("%d bytes, %s", len(a.value), digest([]byte(a.value)))
	}
	v := strings.ToValidUTF8(strings.TrimSpace(a.value), "�")
	if len(v) > shownValue {
		v = strings.ToValidUTF8(v[:shownValue], "") + "…"
	}
	return v
}

func fileOf(e *Environment, name string) side {
	data, err := readBounded(filepath.Join(e.Dir, name), maxSetting)
	if errors.Is(err, os.ErrNotExist) {
		return side{missing: true}
	}
	return side{value: string(data), err: err}
}

// variable looks where an environment says what its variables are: the record, its file of variables, its secrets.
func (s *Setting) variable(e *Environment, name string) side {
	if v, ok := e.Env[name]; ok {
		return side{value: v}
	}
	if ref, ok := e.Secrets[name]; ok {
		s.Secret = true
		v, err := command.ReadSecret(e.Dir, ref)
		return side{value: v, err: err}
	}
	if e.EnvFile == "" {
		return side{missing: true}
	}
	data, err := readBounded(filepath.Join(e.Dir, e.EnvFile), maxSetting)
	if err != nil {
		return side{err: fmt.Errorf("%s: %w", e.EnvFile, err)}
	}
	for _, line := range envLines(data) {
		if line.name == name {
			return side{value: line.value}
		}
	}
	return side{missing: true}
}

// envLine is an assignment in a file of variables: NAME=VALUE, with "export " before it and quotes around the value or not.
type envLine struct {
	name, value string
	from, to    int // bytes of the value in the file, quotes included
}

var assignment = regexp.MustCompile(`(?m)^[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_]*)=(.*)$`)

// envLines returns the assignments; where a name stands several times, the last one counts and comes first.
func envLines(data []byte) []envLine {
	var lines []envLine
	for _, m := range assignment.FindAllSubmatchIndex(data, -1) {
		raw := strings.TrimRight(string(data[m[4]:m[5]]), " \t\r")
		l := envLine{name: string(data[m[2]:m[3]]), value: raw, from: m[4], to: m[4] + len(raw)}
		if n := len(raw); n >= 2 && (raw[0] == '"' || raw[0] == '\'') && raw[n-1] == raw[0] {
			l.value = raw[1 : n-1]
		}
		lines = append(lines, l)
	}
	slices.Reverse(lines)
	return lines
}

// printed is what a command prints with the variables of an environment. One that fails is an answer that cannot be read.
func printed(ctx context.Context, record *Record, name string, e *Environment, line string) side {
	vars := merged(map[string]string{"DEMARC_ENVIRONMENT": name, "DEMARC_CHANGE": record.Name()}, e.Env)
	if e.URL != "" {
		vars = merged(vars, map[string]string{"DEMARC_URL": e.URL})
	}
	res, err := command.Run(ctx, command.Spec{Line: line, Dir: e.Dir, Pass: e.Pass, Env: maps.Clone(vars), Secrets: e.Secrets, Timeout: time.Minute, Tail: 64 << 10})
	if err == nil && !res.OK() {
		err = errors.New(res.Outcome() + explained(res) + ": " + oneLine(res.Tail))
	}
	return side{value: res.Tail, err: err}
}

// difference shows the lines in which two texts differ, staging with -, production with +, at most shownDiff of them.
func difference(a, b string) string {
	p, q := strings.Split(a, "\n"), strings.Split(b, "\n")
	if len(p) > maxDiffLine || len(q) > maxDiffLine || bytes.ContainsRune([]byte(a+b), 0) {
		return ""
	}
	// What both begin and end with says nothing.
	for len(p) > 0 && len(q) > 0 && p[0] == q[0] {
		p, q = p[1:], q[1:]
	}
	for len(p) > 0 && len(q) > 0 && p[len(p)-1] == q[len(q)-1] {
		p, q = p[:len(p)-1], q[:len(q)-1]
	}
	var out []string
	for _, l := range p {
		if !slices.Contains(q, l) {
			out = append(out, "- "+hidden(l))
		}
	}
	for _, l := range q {
		if !slices.Contains(p, l) {
			out = append(out, "+ "+hidden(l))
		}
	}
	if len(out) == 0 {
		return "the same lines in another order"
	}
	if len(out) > shownDiff {
		out = append(out[:shownDiff], fmt.Sprintf("… %d more lines", len(out)-shownDiff))
	}
	return strings.Join(out, "\n")
}

var secretLine = regexp.MustCompile(`(?i)^(.*(?:secret|token|passw|pwd|api_?key|private|credential)[^:=]*[:=]).+$`)

// hidden is a line of a file without the value that a name calls a secret.
func hidden(line string) string {
	line = strings.ToValidUTF8(secretLine.ReplaceAllString(line, "$1 …"), "�")
	if len(line) > shownValue {
		line = strings.ToValidUTF8(line[:shownValue], "") + "…"
	}
	return line
}

// copySettings copies the named settings and compares anew.
func copySettings(ctx context.Context, record *Record, o Options, c ConfigOptions, settings []Setting) ([]Setting, error) {
	to := record.Environments.Get(c.To)
	var chosen []int
	for _, name := range c.Copy {
		i := slices.IndexFunc(settings, func(s Setting) bool { return s.Name == name || strings.TrimPrefix(s.Name, s.Kind+" ") == name })
		if i < 0 {
			names := make([]string, len(settings))
			for k, s := range settings {
				names[k] = s.Name
			}
			return settings, &fault.Error{Op: o.Op, What: "cannot copy " + name, Cause: errors.New("the record lists no such setting"),
				Expected: "one of " + strings.Join(names, ", "), Retry: fault.RetryUseless, Code: fault.ExitUsage}
		}
		if why := settings[i].uncopyable(to, c.To); why != "" {
			return settings, &fault.Error{Op: o.Op, What: "will not copy " + settings[i].Name, Cause: errors.New(why),
				Expected: "a setting that is no secret, and that is read from a place demarc can write to", Retry: fault.RetryUseless, Try: "copy it by hand", Code: fault.ExitUsage}
		}
		if settings[i].State != StatePassed {
			chosen = append(chosen, i)
		}
	}
	for _, i := range chosen {
		s := &settings[i]
		fmt.Fprintf(o.Talk, "%s\n  staging:    %s\n  production: %s\n", s.Name, s.Staging, s.Production)
		if s.Detail != "" {
			fmt.Fprintln(o.Talk, "  "+strings.ReplaceAll(s.Detail, "\n", "\n  "))
		}
	}
	if len(chosen) == 0 {
		fmt.Fprintln(o.Talk, "demarc: nothing to copy: they are equal")
		return settings, nil
	}
	yes, err := c.Confirm(fmt.Sprintf("copy %d of these to %s?", len(chosen), c.To))
	if err != nil || !yes {
		return settings, err
	}
	for _, i := range chosen {
		if err := copyOne(ctx, record, c.To, settings[i].item); err != nil {
			return settings, &fault.Error{Op: o.Op, What: "cannot copy " + settings[i].Name + " to " + c.To, Cause: err, Expected: "permission to write there",
				Retry: fault.RetrySafe}
		}
	}
	after, err := compareAll(ctx, record, o, c)
	for _, i := range chosen {
		if err == nil {
			after[i].Copied = c.To
		}
	}
	return after, err
}

// uncopyable says why a setting cannot be copied; empty: it can.
func (s *Setting) uncopyable(to *Environment, name string) string {
	switch {
	case s.Secret:
		return "it is a secret"
	case s.Kind == "command":
		return "it is what a command prints"
	case to == nil:
		return "the record does not describe " + name
	case s.Kind == "env" && to.EnvFile == "":
		return "the record names no env_file of " + name
	case s.Kind == "redis" && strings.HasPrefix(s.item.Redis, ttlOf):
		return "lifetimes are set by the service"
	}
	return ""
}

func copyOne(ctx context.Context, record *Record, name string, item ConfigItem) error {
	to, from := record.Environments.Get(name), record.Environments.Get(staging)
	if name == staging {
		from = record.Environments.Get(production)
	}
	switch {
	case item.File != "":
		a := fileOf(from, item.File)
		if a.err != nil || a.missing {
			return cmpErr(a.err, "it is not there to be copied")
		}
		path := filepath.Join(to.Dir, item.File)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		return replaceFile(path, []byte(a.value))
	case item.Env != "":
		a := (&Setting{}).variable(from, item.Env)
		if a.err != nil || a.missing {
			return cmpErr(a.err, "it is not there to be copied")
		}
		return setVariable(filepath.Join(to.Dir, to.EnvFile), item.Env, a.value)
	}
	a := redisOf(ctx, from, item.Redis)
	if a.err != nil {
		return a.err
	}
	return setRedis(ctx, to, item.Redis, a.value)
}

func cmpErr(err error, otherwise string) error {
	if err != nil {
		return err
	}
	return errors.New(otherwise)
}

// setVariable changes one assignment in a file of variables, or adds it.
func setVariable(path, name, value string) error {
	data, err := readBounded(path, maxSetting)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if strings.ContainsAny(value, " \t#$`\\\"'") {
		if strings.ContainsAny(value, "'\n") {
			return errors.New("its value has quotes or line ends, which files of variables write in different ways")
		}
		value = "'" + value + "'"
	}
	for _, l := range envLines(data) {
		if l.name == name {
			return replaceFile(path, slices.Concat(data[:l.from], []byte(value), data[l.to:]))
		}
	}
	if n := len(data); n > 0 && data[n-1] != '\n' {
		data = append(data, '\n')
	}
	return replaceFile(path, append(data, name+"="+value+"\n"...))
}

// replaceFile is WriteFile that keeps the mode of a file that is there.
func replaceFile(path string, data []byte) error {
	info, err := os.Stat(path)
	if werr := WriteFile(path, data); werr != nil || err != nil {
		return werr
	}
	return os.Chmod(path, info.Mode().Perm())
}

// PrintSettings writes a comparison for people.
func PrintSettings(w io.Writer, settings []Setting) {
	for _, s := range settings {
		word := map[string]string{StatePassed: "equal", StateFailed: "DIFFERENT", StateUndecided: "undecided"}[s.State]
		fmt.Fprintf(w, "%-10s %s", word, s.Name)
		if s.Copied != "" {
			fmt.Fprintf(w, " (copied to %s)", s.Copied)
		}
		fmt.Fprintln(w)
		if s.State != StatePassed {
			fmt.Fprintf(w, "           staging:    %s\n           production: %s\n", s.Staging, s.Production)
		}
		if s.Detail != "" {
			fmt.Fprintln(w, "           "+strings.ReplaceAll(s.Detail, "\n", "\n           "))
		}
	}
}

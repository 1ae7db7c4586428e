package change

import (
	"errors"
	"fmt"
	"math"
	"path"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/command"
)

var (
	variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,127}$`)
	itemID       = regexp.MustCompile(`^[a-z0-9][a-z0-9-]{0,63}$`)
	reference    = regexp.MustCompile(`^(env:[A-Za-z_][A-Za-z0-9_]*|file:.+)$`)
	// credentials in an address: scheme://user:password@host, where the password is not a variable of the shell.
	credentials = regexp.MustCompile(`[A-Za-z][A-Za-z0-9+.-]*://[^/\s:@'"]*:[^/\s@$'"{]+@`)
	passwords   = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://[^/\s:@'"]*:)[^/\s@$'"{]+@`)
	secretName  = regexp.MustCompile(`(?i)(passw|secret|token|credential|private_?key|api_?key)`)
)

// ItemSteps are what Item.Step may name, beside commands that can be run by themselves.
var ItemSteps = []string{"backup", "health", "verify", "rehearse", "config", "watch", "note"}

// wrong is what is wrong with one place of a record.
type wrong struct {
	path string // $.commands.deploy.timeout
	text string // what was expected
}

// validate says what is wrong with a record beyond its form; data is its text, of which the error shows the line.
func (r *Record) validate(data []byte) error {
	if w := r.wrong(); w != nil {
		return errors.New(strings.TrimPrefix(w.path, "$.") + ": " + w.text + shown(data, w.path))
	}
	return nil
}

// wrong returns the first thing that is wrong, or nil.
func (r *Record) wrong() *wrong {
	if r.Version != Version {
		return &wrong{"$.version", fmt.Sprintf("%d was expected, the version that this demarc reads", Version)}
	}
	if strings.TrimSpace(r.Topic) == "" || strings.ContainsAny(r.Topic, "\r\n") || len(r.Topic) > 200 {
		return &wrong{"$.topic", "one line of at most 200 bytes was expected, that says what the change is about"}
	}
	if w := texts(reflect.ValueOf(r).Elem(), "$"); w != nil {
		return w
	}
	for i, f := range r.Baseline.Figures {
		at := fmt.Sprintf("$.baseline.figures[%d]", i)
		switch {
		case f.Metric == "":
			return &wrong{at, "the name of a metric was expected, such as metric: p95_ms"}
		case math.IsNaN(f.Value) || math.IsInf(f.Value, 0):
			return &wrong{at + ".value", "a number was expected"}
		case f.Command == "":
			return &wrong{at, "command: was expected, the command that printed the figure"}
		}
	}
	if w := r.Commands.wrong("$.commands"); w != nil {
		return w
	}
	for _, name := range []string{"staging", "production"} {
		if w := r.Environments.Get(name).wrong("$.environments." + name); w != nil {
			return w
		}
	}
	for i, c := range r.Config {
		if w := c.wrong(fmt.Sprintf("$.config[%d]", i)); w != nil {
			return w
		}
	}
	for i, f := range r.Files {
		if !inside(f) {
			return &wrong{fmt.Sprintf("$.files[%d]", i), "a path inside the repository was expected, relative to its top"}
		}
	}
	for i, s := range r.Security {
		at := fmt.Sprintf("$.security[%d]", i)
		switch {
		case !inside(s.File):
			return &wrong{at, "file: with a path inside the repository was expected"}
		case s.Setting == "":
			return &wrong{at, "setting: was expected, the name of the setting without its value"}
		case s.Line < 0:
			return &wrong{at + ".line", "a line number was expected"}
		}
	}
	seen := map[string]bool{}
	for i := range r.Checklist {
		at := fmt.Sprintf("$.checklist[%d]", i)
		if w := r.Checklist[i].wrong(at); w != nil {
			return w
		}
		if id := r.Checklist[i].ID; seen[id] {
			return &wrong{at + ".id", fmt.Sprintf("an id was expected that no other item has; %s stands there twice", id)}
		}
		seen[r.Checklist[i].ID] = true
	}
	return nil
}

func inside(file string) bool {
	return file != "" && !path.IsAbs(file) && file != ".." && !strings.HasPrefix(path.Clean(file), "../") && !strings.Contains(file, "\x00")
}

func (c Commands) wrong(at string) *wrong {
	for _, name := range CommandNames {
		cmd := c.Get(name)
		if cmd == nil {
			continue
		}
		if w := cmd.wrong(at + "." + name); w != nil {
			return w
		}
		if cmd.Artifact != "" && name != "backup" {
			return &wrong{at + "." + name + ".artifact", "only backup has an artifact"}
		}
	}
	return nil
}

func (c *Command) wrong(at string) *wrong {
	if strings.TrimSpace(c.Run) == "" {
		return &wrong{at, "a command for the shell was expected, as text or as run: in a map"}
	}
	if len(c.Run) > command.MaxLine || strings.Contains(c.Run, "\x00") {
		return &wrong{at, fmt.Sprintf("a command of at most %d bytes was expected; put more into a script", command.MaxLine)}
	}
	if credentials.MatchString(c.Run) {
		return &wrong{at, "an address without a password was expected; name the secret under secrets: and use it as $NAME"}
	}
	if _, err := c.Spec(); err != nil {
		return &wrong{at + ".timeout", err.Error()}
	}
	return variables(at, c.Pass, c.Env, c.Secrets)
}

// variables checks the variables that a command or an environment names.
func variables(at string, pass []string, env, secrets map[string]string) *wrong {
	for i, name := range pass {
		if !variableName.MatchString(name) {
			return &wrong{fmt.Sprintf("%s.pass[%d]", at, i), "the name of a variable was expected"}
		}
	}
	for _, name := range sortedKeys(env) {
		switch {
		case !variableName.MatchString(name):
			return &wrong{at + ".env", fmt.Sprintf("the name of a variable was expected, not %q", name)}
		case secretName.MatchString(name) && env[name] != "" || credentials.MatchString(env[name]):
			return &wrong{at + ".env." + name, fmt.Sprintf("no secret was expected; under secrets: stands %s: env:%s or file:PATH", name, name)}
		}
	}
	for _, name := range sortedKeys(secrets) {
		switch {
		case !variableName.MatchString(name):
			return &wrong{at + ".secrets", fmt.Sprintf("the name of a variable was expected, not %q", name)}
		case !reference.MatchString(secrets[name]): // the text may be a secret: it is not repeated
			return &wrong{at + ".secrets", name + ": a reference was expected, env:NAME or file:PATH; a secret itself does not belong into this file"}
		}
	}
	return nil
}

func (e *Environment) wrong(at string) *wrong {
	if e == nil {
		return nil
	}
	if w := e.Commands.wrong(at + ".commands"); w != nil {
		return w
	}
	for _, field := range []struct{ name, text string }{{"url", e.URL}, {"redis", e.Redis}} {
		if credentials.MatchString(field.text) {
			return &wrong{at + "." + field.name, "an address without a password was expected, or env:NAME or file:PATH"}
		}
	}
	return variables(at, e.Pass, e.Env, e.Secrets)
}

func (c ConfigItem) wrong(at string) *wrong {
	n := 0
	for _, s := range []string{c.File, c.Env, c.Command, c.Redis} {
		if s != "" {
			n++
		}
	}
	if n != 1 {
		return &wrong{at, "one of file:, env:, command: and redis: was expected"}
	}
	if c.Env != "" && !variableName.MatchString(c.Env) {
		return &wrong{at + ".env", "the name of a variable was expected"}
	}
	return nil
}

func (i *Item) wrong(at string) *wrong {
	switch {
	case !itemID.MatchString(i.ID):
		return &wrong{at, "id: with lower-case letters, digits and hyphens was expected"}
	case strings.TrimSpace(i.Item) == "":
		return &wrong{at, "item: was expected, what is to be done"}
	case i.Run != nil && i.Step != "":
		return &wrong{at, "either run: or step: was expected, not both"}
	case i.Step != "" && !slices.Contains(ItemSteps, i.Step):
		return &wrong{at + ".step", "one of " + strings.Join(ItemSteps, ", ") + " was expected"}
	case i.Run != nil:
		return i.Run.wrong(at + ".run")
	}
	return nil
}

// texts checks every text and list of a record against the limits.
func texts(v reflect.Value, at string) *wrong {
	switch v.Kind() {
	case reflect.String:
		limit := MaxText
		if strings.HasSuffix(at, ".run") {
			limit = command.MaxLine
		}
		if v.Len() > limit {
			return &wrong{at, fmt.Sprintf("at most %d bytes were expected, not %d", limit, v.Len())}
		}
		if strings.ContainsFunc(v.String(), func(c rune) bool { return c < ' ' && c != '\n' && c != '\t' || c == 0x7f }) {
			return &wrong{at, "text without control characters was expected"}
		}
	case reflect.Slice, reflect.Map:
		if v.Len() > MaxList {
			return &wrong{at, fmt.Sprintf("at most %d entries were expected, not %d", MaxList, v.Len())}
		}
		if v.Kind() == reflect.Map {
			for _, k := range v.MapKeys() {
				if w := texts(v.MapIndex(k), at); w != nil {
					return w
				}
			}
			return nil
		}
		for i := range v.Len() {
			if w := texts(v.Index(i), fmt.Sprintf("%s[%d]", at, i)); w != nil {
				return w
			}
		}
	case reflect.Pointer:
		if !v.IsNil() {
			return texts(v.Elem(), at)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name, _, _ := strings.Cut(v.Type().Field(i).Tag.Get("yaml"), ",")
			if name == "" {
				continue // not of the file
			}
			if w := texts(v.Field(i), at+"."+name); w != nil {
				return w
			}
		}
	}
	return nil
}

// shown returns the lines of the file around a place, on lines of their own. A place that is not in the file, because
// something is missing there, shows the one above it.
func shown(data []byte, at string) string {
	for at != "$" {
		if p, err := yaml.PathString(at); err == nil {
			if lines, err := p.AnnotateSource(data, false); err == nil && len(lines) > 0 {
				return "\n" + strings.TrimRight(string(lines), "\n ")
			}
		}
		i := strings.LastIndexAny(at, ".[")
		if i < 1 {
			break
		}
		at = at[:i]
	}
	return ""
}

func sortedKeys(m map[string]string) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

package change

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"
	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/config"
)

// Templates are the names of the checklists that New knows.
var Templates = []string{"boundary", "invalidation"}

// Checklist returns the items of a template, in the order in which they are done. The commands are those that fit the
// service as far as stack and record tell; an item for which none is known stands without one. own are the checklists of the
// configuration: their items are added to a template of demarc, or are a template of their own.
func Checklist(template string, own map[string][]config.Item, r *Record, stack Stack, name string) ([]Item, error) {
	items := builtin(template, r, stack, name)
	for _, x := range own[template] {
		item := Item{ID: x.ID, Item: x.Item, Step: x.Step}
		if x.Run != "" {
			item.Run = &Command{Run: x.Run}
		}
		if w := item.wrong("checklists." + template + ": " + x.ID); w != nil {
			return nil, fmt.Errorf("%s: %s", w.path, w.text)
		}
		at := func(id string) int { return slices.IndexFunc(items, func(i Item) bool { return i.ID == id }) }
		switch there, before := at(x.ID), at(x.Before); {
		case x.Before != "" && (before < 0 || x.Before == x.ID):
			return nil, fmt.Errorf("checklists.%s: %s stands before %q, which no item above it is called", template, x.ID, x.Before)
		case there >= 0 && x.Before == "":
			items[there] = item
		case there >= 0:
			items = slices.Delete(items, there, there+1)
			items = slices.Insert(items, at(x.Before), item)
		case before >= 0:
			items = slices.Insert(items, before, item)
		default:
			items = append(items, item)
		}
	}
	if template == "" || len(items) > 0 || own[template] != nil {
		return items, nil
	}
	return nil, fmt.Errorf("there is no checklist %q; one of %s was expected", template, strings.Join(TemplateNames(own), ", "))
}

// TemplateNames lists demarc's own templates and those of a configuration.
func TemplateNames(own map[string][]config.Item) []string {
	names := slices.Clone(Templates)
	for _, name := range slices.Sorted(maps.Keys(own)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// builtin returns the items of one of Templates, none for any other name.
func builtin(template string, r *Record, stack Stack, name string) []Item {
	quoted := ShellQuote(name)
	switch template {
	case "boundary":
		return []Item{
			{ID: "capture", Item: "capture the current behaviour", Run: captureCommand(r)},
			{ID: "backup", Item: "create a safe backup", Step: "backup"},
			{ID: "test", Item: "test the smallest change", Step: "rehearse"},
			{ID: "watch", Item: "watch logs after release", Step: "watch"},
			{ID: "note", Item: "write the final note", Step: "note"},
		}
	case "invalidation":
		return []Item{
			{ID: "lint", Item: "run linting", Run: stack.Lint},
			{ID: "unit-tests", Item: "run unit tests", Run: stack.Tests},
			{ID: "integration", Item: "run one integration check", Step: "verify"},
			{ID: "staging-config", Item: "verify staging config", Step: "config"},
			{ID: "tag", Item: "tag the release", Run: &Command{Run: "git tag -a " + quoted + " -m " + ShellQuote(r.Topic)}},
		}
	}
	return nil
}

// captureCommand shows the behaviour before the change: what the capture says, or the command that fails.
func captureCommand(r *Record) *Command {
	switch {
	case r.Baseline.Capture != "":
		return &Command{Run: "demarc report " + ShellQuote(r.Baseline.Capture)}
	case r.Baseline.Failing != "": // that it fails is what is to be captured
		return &Command{Run: "! { " + r.Baseline.Failing + "; }"}
	}
	return nil
}

// Stack is what a service's folder tells of what it is built of.
type Stack struct {
	Parts []string // "python >=3.10", "fastapi ==0.115.6"
	Lint  *Command // nil: no linter was found
	Tests *Command // nil: no test runner was found
}

// maxProject is how much of a project's file is read, in bytes.
const maxProject = 1 << 20

// known are the packages that say what a web service is built of; others are details.
var known = []string{
	"fastapi", "starlette", "django", "djangorestframework", "flask", "litestar", "uvicorn", "gunicorn", "sqlalchemy", "sqlmodel", "asyncpg",
	"psycopg", "psycopg2", "psycopg2-binary", "redis", "django-redis", "cachetools", "pymemcache", "celery", "rq",
}

var requirement = regexp.MustCompile(`^([A-Za-z0-9][A-Za-z0-9._-]*)(?:\[[^\]]*\])?\s*((?:[<>=!~]=?|===)[^;#"']*)?`)

// ReadStack reads pyproject.toml and requirements.txt of a folder; what is not there is left out.
func ReadStack(dir string) Stack {
	var s Stack
	versions := map[string]string{}
	note := func(text string) {
		if m := requirement.FindStringSubmatch(strings.TrimSpace(text)); m != nil {
			name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-"))
			if _, there := versions[name]; !there && len(versions) < MaxList {
				versions[name] = strings.Join(strings.Fields(m[2]), "")
			}
		}
	}
	var project pyproject
	if data, err := readBounded(filepath.Join(dir, "pyproject.toml"), maxProject); err == nil {
		_ = toml.Unmarshal(data, &project) // a file that is wrong tells nothing; its own tools say what is wrong
	}
	project.requirements(note)
	requirements, _ := readBounded(filepath.Join(dir, "requirements.txt"), maxProject)
	for line := range strings.SplitSeq(string(requirements), "\n") {
		note(line)
	}
	python := project.Project.Python
	if python != "" {
		s.Parts = append(s.Parts, "python "+python)
	}
	for _, name := range known {
		if v, ok := versions[name]; ok {
			s.Parts = append(s.Parts, strings.TrimSpace(name+" "+v))
		}
	}
	uses := func(tool string) bool {
		if _, ok := versions[tool]; ok {
			return true
		}
		_, ok := project.Tool[tool]
		return ok
	}
	if uses("ruff") || exists(filepath.Join(dir, "ruff.toml")) {
		s.Lint = &Command{Run: "ruff check ."}
	}
	if uses("pytest") || exists(filepath.Join(dir, "pytest.ini")) {
		s.Tests = &Command{Run: "pytest -q"}
	}
	return s
}

// pyproject is what is read of a pyproject.toml.
type pyproject struct {
	Project struct {
		Python       string              `toml:"requires-python"`
		Dependencies []string            `toml:"dependencies"`
		Optional     map[string][]string `toml:"optional-dependencies"`
	} `toml:"project"`
	Groups map[string][]any          `toml:"dependency-groups"`
	Tool   map[string]map[string]any `toml:"tool"`
}

// requirements calls note for every requirement, the service's own before the optional ones.
func (p *pyproject) requirements(note func(string)) {
	for _, r := range p.Project.Dependencies {
		note(r)
	}
	if deps, ok := p.Tool["poetry"]["dependencies"].(map[string]any); ok {
		for name, version := range deps {
			if v, ok := version.(string); ok && name != "python" {
				note(name + " " + strings.ReplaceAll(v, "^", ">="))
			} else if name != "python" {
				note(name)
			}
		}
	}
	for _, list := range p.Project.Optional {
		for _, r := range list {
			note(r)
		}
	}
	for _, list := range p.Groups {
		for _, r := range list {
			if text, ok := r.(string); ok {
				note(text)
			}
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// Slug makes the last part of a record's name from its topic: lower-case letters, digits and hyphens, at most 60 bytes.
func Slug(topic string) string {
	var b strings.Builder
	for _, c := range strings.ToLower(topic) {
		switch {
		case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
			b.WriteRune(c)
		case b.Len() > 0 && !strings.HasSuffix(b.String(), "-"):
			b.WriteByte('-')
		}
		if b.Len() >= 60 {
			break
		}
	}
	return cmp.Or(strings.Trim(b.String(), "-"), "change")
}

// Create writes a new record into a folder under its date and topic. A record that is there is never overwritten: a
// number is added to the name.
func Create(folder string, r *Record, at time.Time, checklist func(name string) ([]Item, error)) error {
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	stem := at.Format("2006-01-02") + "-" + Slug(r.Topic)
	for n := 1; n < 1000; n++ {
		name := stem
		if n > 1 {
			name = fmt.Sprintf("%s-%d", stem, n)
		}
		if exists(filepath.Join(folder, name)) || exists(filepath.Join(folder, name+".md")) {
			continue // results or a note of a record that is gone
		}
		var err error
		if checklist != nil {
			if r.Checklist, err = checklist(name); err != nil {
				return err
			}
		}
		data, err := render(r)
		if err != nil {
			return err
		}
		parsed, err := Parse(data)
		if err != nil {
			return err
		}
		r.data, r.Version, r.path = parsed.data, parsed.Version, filepath.Join(folder, name+".yaml")
		if err = createFile(r.path, data); !errors.Is(err, fs.ErrExist) {
			return err
		}
	}
	return fmt.Errorf("%s has too many records of this day and topic", folder)
}

// section is a top-level key of a new record: with a comment that says what it is for, and an example where it is empty.
type section struct{ key, comment, example string }

var sections = []section{
	{"version", "", ""},
	{"topic", "", ""},
	{"owner", "who answers for it", "Ada Lovelace <ada@example.org>"},
	{"reason", "why it is done", "the list is the first page that everybody sees"},
	{"context", "what one must know to understand it", "articles are read a hundred times for each time that they are written"},
	{"stack", "", "[fastapi, sqlalchemy, redis]"},
	{"baseline", "the state before the change: where it shows, and what was measured with which command", "\n  route: GET /articles\n  input: /articles?limit=20\n  slow_query: SELECT …          # or failing: the command that fails\n  noticed: where the user notices the problem\n  capture: .demarc/captures/…"},
	{"finding", "", ""},
	{"boundary", "", ""},
	{"cause", "why it was slow or wrong", "each article's tags are read with a statement of their own"},
	{"change", "the smallest change that helps", "read the tags of a page with one statement"},
	{"expected", "checks: what must hold after the change (docs/check.md)", "\n  - p95_ms of \"GET /articles\" < 100\n  - run: pytest -q tests/integration"},
	{"commands", "for the shell; a text, or {run, timeout, dir, pass, env, secrets}, backup also {artifact}",
		"\n  backup: {run: pg_dump -Fc shop > backup.dump, artifact: backup.dump}\n  restore: pg_restore -d shop_scratch backup.dump\n  deploy: docker compose up -d --build web\n  health: curl -fsS http://127.0.0.1:8000/health\n  verify: pytest -q tests/integration\n  rollback: git checkout BASE -- shop && docker compose up -d --build web"},
	{"environments", "where staging and production differ from the commands above", "\n  staging: {commands: {deploy: …}, capture: …}\n  production: {secrets: {DB_PASSWORD: env:SHOP_DB_PASSWORD}}"},
	{"config", "what must be equal on staging and production", "\n  - file: shop/settings.py\n  - env: CACHE_TTL\n  - command: python --version\n  - redis: maxmemory-policy"},
	{"base", "the revision before the change; files are what differs from it", "main"},
	{"files", "files touched, from git diff; demarc change files brings this up to date", ""},
	{"security", "security settings touched, by file, without their values", "\n  - {file: shop/settings.py, setting: CORS_ALLOWED_ORIGINS}"},
	{"assumptions", "what must stay true for the change to be right", "[tags are written only through the API]"},
	{"rollback", "how it is taken back, and what remains afterwards", "the commands above; nothing remains, no data is changed"},
	{"not_claimed", "what the change is not said to do", "[that writes are faster]"},
	{"checklist", "items of your own go wherever they belong; each has run: or step: " + strings.Join(ItemSteps, ", "), "\n  - {id: lint, item: run linting, run: ruff check .}"},
}

// render writes a new record: what is known in its place, and what is not as a comment that shows how it looks.
func render(r *Record) ([]byte, error) {
	r.Version = Version
	all, err := yaml.MarshalWithOptions(r, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return nil, err
	}
	var known yaml.MapSlice
	if err := yaml.UnmarshalWithOptions(all, &known, yaml.UseOrderedMap()); err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString("# A change record of demarc (docs/change.md). It is written by people: demarc made it and does not change it,\n" +
		"# but for `demarc change files` and `demarc audit --record`. What was run for it lies in the folder of the same name.\n")
	for _, s := range sections {
		i := slices.IndexFunc(known, func(item yaml.MapItem) bool { return item.Key == s.key })
		if i < 0 && s.example == "" {
			continue
		}
		if s.key != "version" && s.key != "topic" {
			b.WriteByte('\n')
		}
		if s.comment != "" {
			b.WriteString("# " + s.comment + "\n")
		}
		if i < 0 {
			b.WriteString("# " + s.key + ": " + strings.ReplaceAll(strings.TrimPrefix(s.example, " "), "\n", "\n# ") + "\n")
			continue
		}
		text, err := yaml.MarshalWithOptions(yaml.MapSlice{known[i]}, yaml.Indent(2), yaml.IndentSequence(true))
		if err != nil {
			return nil, err
		}
		b.Write(text)
	}
	return bytes.ReplaceAll(b.Bytes(), []byte(": \n"), []byte(":\n")), nil
}

var shellPlain = regexp.MustCompile(`^[A-Za-z0-9_./:=@%+-]+$`)

// ShellQuote writes a text as one word of a shell's command line.
func ShellQuote(s string) string {
	if shellPlain.MatchString(s) {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

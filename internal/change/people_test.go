package change

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
)

// git runs a command of git in a folder, apart from the settings of this machine.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("git", args...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "GIT_CONFIG_NOSYSTEM=1")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return strings.TrimSpace(string(out))
}

// repository makes a repository with one commit.
func repository(t *testing.T, dir string) {
	t.Helper()
	t.Setenv("GIT_CONFIG_GLOBAL", "/dev/null")
	t.Setenv("GIT_CONFIG_NOSYSTEM", "1")
	git(t, dir, "init", "-q", "-b", "main")
	git(t, dir, "config", "user.name", "Ada")
	git(t, dir, "config", "user.email", "ada@example.org")
	write(t, filepath.Join(dir, "shop.py"), "SECRET_KEY = 'k'\nDEBUG = True\nprint()\n", 0o644)
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "shop")
}

// Two people work on the same record: both do items of its checklist and rehearse, one corrects the record, the other
// begins one of his own. Git merges all of it by itself.
func TestRecordsOfTwoPeopleMerge(t *testing.T) {
	ctx := context.Background()
	root := t.TempDir()
	origin, ada, bob := filepath.Join(root, "origin"), filepath.Join(root, "ada"), filepath.Join(root, "bob")
	if err := os.Mkdir(origin, 0o755); err != nil {
		t.Fatal(err)
	}
	repository(t, origin)
	items := []Item{{ID: "lint", Item: "run linting", Run: &Command{Run: "echo clean"}}, {ID: "unit", Item: "run unit tests", Run: &Command{Run: "echo passed"}}}
	record := &Record{Topic: "Faster list", Owner: "Ada", Checklist: items}
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	if err := Create(filepath.Join(origin, Folder), record, at, nil); err != nil {
		t.Fatal(err)
	}
	git(t, origin, "add", ".")
	git(t, origin, "commit", "-q", "-m", "record")
	for _, p := range []struct{ dir, name string }{{ada, "Ada"}, {bob, "Bob"}} {
		git(t, root, "clone", "-q", origin, p.dir)
		git(t, p.dir, "config", "user.name", p.name)
		git(t, p.dir, "config", "user.email", strings.ToLower(p.name)+"@example.org")
		git(t, p.dir, "config", "pull.rebase", "false")
	}
	work := func(dir string, other func(r *Record)) {
		t.Helper()
		t.Chdir(dir)
		r, err := Load("faster-list")
		if err != nil {
			t.Fatal(err)
		}
		for i := range r.Checklist {
			if _, err := r.Do(ctx, &r.Checklist[i], ItemOptions{Environment: "staging", State: ".demarc", Now: time.Now}); err != nil {
				t.Fatal(fault.Text(err))
			}
		}
		rehearsal := NewRun(KindRehearse, time.Now())
		rehearsal.State = StatePassed
		if err := r.SaveRun(rehearsal); err != nil {
			t.Fatal(err)
		}
		other(r)
		git(t, dir, "add", "changes")
		git(t, dir, "commit", "-q", "-m", "work")
	}
	work(ada, func(r *Record) {
		write(t, r.Path(), strings.Replace(read(t, r.Path()), "owner: Ada", "owner: Ada and Bob # both", 1), 0o644)
	})
	work(bob, func(*Record) {
		if err := Create(Folder, &Record{Topic: "Faster list"}, at, nil); err != nil {
			t.Fatal(err)
		}
	})
	git(t, ada, "pull", "-q", bob, "main")
	t.Chdir(ada)
	names, err := Names(Folder)
	if err != nil || !slices.Equal(names, []string{"2026-11-22-faster-list", "2026-11-22-faster-list-2"}) {
		t.Fatal(names, err)
	}
	r, err := Load("2026-11-22-faster-list")
	if err != nil {
		t.Fatal(err)
	}
	runs, err := r.Runs()
	if err != nil {
		t.Fatal(err)
	}
	by := map[string]int{}
	for _, run := range runs {
		by[run.Kind+" "+run.By]++
	}
	if len(runs) != 6 || r.Owner != "Ada and Bob" {
		t.Errorf("%d runs (%v), owner %s", len(runs), by, r.Owner)
	}
	for _, who := range []string{"Ada", "Bob"} {
		n := 0
		for k, count := range by {
			if strings.HasPrefix(k, "item "+who) {
				n += count
			}
		}
		if n != 2 {
			t.Errorf("%d items by %s: %v", n, who, by)
		}
	}
	if s := r.Status(runs); s.State != Rehearsed || s.Done() != 2 {
		t.Errorf("%+v", s)
	}
}

func TestFilesTouched(t *testing.T) {
	ctx := context.Background()
	dir := t.TempDir()
	t.Setenv("PATH", os.Getenv("PATH"))
	t.Setenv("GIT_CEILING_DIRECTORIES", filepath.Dir(dir))
	t.Chdir(dir)
	var f *fault.Error
	if _, err := OpenRepository(ctx, "."); !errors.As(err, &f) || !strings.Contains(f.Text(), "git init") {
		t.Errorf("outside of a repository: %v", err)
	}
	repository(t, dir)
	base := git(t, dir, "rev-parse", "HEAD")
	git(t, dir, "checkout", "-q", "-b", "faster")
	write(t, "shop.py", "DEBUG = False\n# debugging is off\nprint()\nCORS_ALLOWED_ORIGINS = ['https://x.example']\nresponse.headers[\"Cache-Control\"] = 'private'\n", 0o644)
	write(t, "ümlaut und leer.txt", "1\n", 0o644)
	write(t, "changes/2026-11-22-faster.yaml", "version: 1\ntopic: x # DEBUG = 1\n", 0o644)
	write(t, "changes/2026-11-22-faster/20261122T023000Z-item-b798.yaml", "DEBUG = 1\n", 0o644)
	git(t, dir, "add", ".")
	git(t, dir, "commit", "-q", "-m", "faster")
	repo, err := OpenRepository(ctx, "changes")
	if err != nil {
		t.Fatal(err)
	}
	if got := repo.Base(ctx); got != base {
		t.Errorf("the base is %s instead of %s", got, base)
	}
	if got := repo.User(ctx); got != "Ada <ada@example.org>" {
		t.Errorf("the user is %s", got)
	}
	files, settings, err := repo.Touched(ctx, base, "HEAD")
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"shop.py", "ümlaut und leer.txt"}; !slices.Equal(files, want) {
		t.Errorf("%q instead of %q", files, want)
	}
	var got []string
	for _, s := range settings {
		got = append(got, s.String())
	}
	if want := []string{"shop.py SECRET_KEY (taken out)", "shop.py:1 DEBUG", "shop.py:4 CORS_ALLOWED_ORIGINS", "shop.py:5 Cache-Control"}; !slices.Equal(got, want) {
		t.Errorf("%q instead of %q", got, want)
	}
	if _, dirty, err := repo.Head(ctx); dirty || err != nil {
		t.Errorf("dirty %v, %v", dirty, err)
	}
	write(t, "changes/2026-11-22-faster.yaml", "version: 1\ntopic: y\n", 0o644)
	if c := repo.Commit(ctx); strings.HasSuffix(c, "+dirty") {
		t.Error("a record that was edited makes no other revision of the service")
	}
	write(t, "shop.py", "1\n", 0o644)
	if c := repo.Commit(ctx); !strings.HasSuffix(c, "+dirty") {
		t.Errorf("commit %s of a folder with changes", c)
	}
	for _, bad := range []string{"no-such-revision", "--output=x", "main --", ""} {
		if _, _, err := repo.Touched(ctx, bad, "HEAD"); !errors.As(err, &f) || !strings.Contains(f.Text(), "base:") {
			t.Errorf("base %q: %v", bad, err)
		}
	}
	t.Setenv("PATH", t.TempDir())
	if _, err := OpenRepository(ctx, "."); !errors.As(err, &f) || !strings.Contains(f.Text(), "no git in PATH") {
		t.Errorf("without git: %v", err)
	}
}

// Only the lines of files and security change; comments, order, spaces and line ends of all else stay.
func TestSetFilesKeepsTheRest(t *testing.T) {
	before := "# head\nversion: 1 # one\n\ntopic:   'x'\nbase: main # where it began\n\n# comment of files\nfiles:\n  - old.py # going\n\n  - older.py\n# a comment\nassumptions:\n- \"files:\"\n- |\n  files:\n    - not.py\nowner: me"
	path := filepath.Join(t.TempDir(), "2026-11-22-x.yaml")
	write(t, path, before, 0o644)
	r, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := r.SetFiles([]string{"a b.py", "c: d.py"}, []SecuritySetting{{File: "a b.py", Setting: "DEBUG", Line: 3}}); err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(before, "files:\n  - old.py # going\n\n  - older.py\n", "files:\n  - a b.py\n  - \"c: d.py\"\n\nsecurity:\n  - file: a b.py\n    setting: DEBUG\n    line: 3\n", 1) + "\n"
	if got := read(t, path); got != want {
		t.Errorf("got\n%s\ninstead of\n%s", got, want)
	}
	if err := r.SetFiles(nil, nil); err != nil {
		t.Fatal(err)
	}
	if got := read(t, path); strings.Contains(got, "security:") || strings.Contains(got, "a b.py") || !strings.Contains(got, "# a comment") {
		t.Errorf("without files:\n%s", got)
	}
	write(t, path, strings.Replace(before, "owner: me", "owner: you", 1), 0o644)
	if err := r.SetFiles([]string{"x"}, nil); err == nil || !strings.Contains(read(t, path), "owner: you") {
		t.Errorf("somebody else's change was overwritten: %v", err)
	}
}

func TestCreateNeverOverwrites(t *testing.T) {
	folder := filepath.Join(t.TempDir(), Folder)
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	var paths []string
	for range 3 {
		r := &Record{Topic: "Grüße: an \"alle\" # & 'jeden'", Reason: "several\nlines\n", Commands: Commands{Deploy: &Command{Run: "true"}, Backup: &Command{Run: "b", Artifact: "c"}}}
		if err := Create(folder, r, at, func(name string) ([]Item, error) { return Checklist("invalidation", nil, r, Stack{}, name) }); err != nil {
			t.Fatal(err)
		}
		again, err := Load(r.Path())
		if err != nil {
			t.Fatal(err)
		}
		if again.Topic != r.Topic || again.Reason != r.Reason || again.Commands.Deploy.Run != "true" || again.Commands.Backup.Artifact != "c" {
			t.Errorf("%+v", again)
		}
		if run := again.Item("tag").Run.Run; !strings.Contains(run, again.Name()) {
			t.Errorf("the tag is not called after the record: %s", run)
		}
		paths = append(paths, filepath.Base(r.Path()))
	}
	if want := []string{"2026-11-22-gr-e-an-alle-jeden.yaml", "2026-11-22-gr-e-an-alle-jeden-2.yaml", "2026-11-22-gr-e-an-alle-jeden-3.yaml"}; !slices.Equal(paths, want) {
		t.Errorf("%q", paths)
	}
	entries, err := os.ReadDir(folder)
	if err != nil || len(entries) != 3 {
		t.Errorf("%d files lie there, %v", len(entries), err)
	}
	if err := Create(folder, &Record{Topic: "x", Owner: "\x1b[31m"}, at, nil); err == nil {
		t.Error("a record that cannot be read was written")
	}
}

func TestChecklists(t *testing.T) {
	r := &Record{Topic: "it's", Baseline: Baseline{Capture: ".demarc/a b"}}
	write(t, filepath.Join(t.TempDir(), "x"), "", 0o644)
	dir := t.TempDir()
	write(t, filepath.Join(dir, "pyproject.toml"), `[project]
requires-python = ">=3.10"
dependencies = ["FastAPI[all]>=0.110,<1", "redis ~= 5.0; python_version > '3'", "left-pad"]
[dependency-groups]
dev = ["pytest>=8", {include-group = "x"}]
[tool.ruff]
line-length = 100
`, 0o644)
	stack := ReadStack(dir)
	if want := []string{"python >=3.10", "fastapi >=0.110,<1", "redis ~=5.0"}; !slices.Equal(stack.Parts, want) {
		t.Errorf("%q instead of %q", stack.Parts, want)
	}
	var got []string
	for _, template := range Templates {
		items, err := Checklist(template, nil, r, stack, "2026-11-22-its")
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range items {
			line := i.Item + " = " + i.Step
			if i.Run != nil {
				line += i.Run.Run
			}
			got = append(got, line)
		}
	}
	want := []string{
		"capture the current behaviour = demarc report '.demarc/a b'", "create a safe backup = backup", "test the smallest change = rehearse",
		"watch logs after release = watch", "write the final note = note",
		"run linting = ruff check .", "run unit tests = pytest -q", "run one integration check = verify", "verify staging config = config",
		`tag the release = git tag -a 2026-11-22-its -m 'it'\''s'`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\ninstead of\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	if s := ReadStack(t.TempDir()); s.Lint != nil || s.Tests != nil || s.Parts != nil {
		t.Errorf("an empty folder has %+v", s)
	}
	if _, err := Checklist("other", nil, r, stack, "x"); err == nil {
		t.Error("there is no such checklist")
	}
}

func TestDoItems(t *testing.T) {
	t.Setenv("CALLERS_SECRET", "sesame-4711")
	r := folder(t, `version: 1
topic: items
commands:
  backup: cp version "$DEMARC_BACKUP"
environments:
  production: {commands: {backup: 'true'}}
checklist:
  - {id: good, item: works, run: {run: 'echo "secret $S"; echo "$DEMARC_CHANGE"', secrets: {S: env:CALLERS_SECRET}}}
  - {id: bad, item: fails, run: "echo first; echo 'the reason' >&2; exit 7"}
  - {id: slow, item: hangs, run: {run: sleep 60, timeout: 1s}}
  - {id: asks, item: needs a terminal, run: 'read answer || { echo nobody answered; exit 4; }'}
  - {id: backup, item: create a safe backup, step: backup}
  - {id: none, item: by hand}
`)
	do := func(id, environment string) (*Run, error) {
		t.Helper()
		return r.Do(context.Background(), r.Item(id), ItemOptions{Environment: environment, State: ".demarc", Now: time.Now})
	}
	run, err := do("good", "staging")
	if err != nil {
		t.Fatal(fault.Text(err))
	}
	s := run.Step("good")
	if s.Output != "secret ***\n2026-11-22-it" || *s.ExitCode != 0 || s.Duration == "" || s.At.IsZero() || !strings.Contains(s.Command, "$S") {
		t.Errorf("%+v", s)
	}
	if log := read(t, filepath.Join(r.Dir(), s.Log)); strings.Contains(log, "sesame") || !strings.Contains(log, "2026-11-22-it") {
		t.Errorf("the log holds %q", log)
	}
	for _, c := range []struct{ id, environment, cause string }{
		{"bad", "staging", "exit 7"}, {"slow", "staging", "not done after 1"}, {"asks", "staging", "nobody answered"},
		{"backup", "production", "is not there"}, {"none", "staging", "has no command"},
	} {
		_, err := do(c.id, c.environment)
		if err == nil || !strings.Contains(fault.Text(err), c.cause) {
			t.Errorf("%s: %s was expected, not %v", c.id, c.cause, err)
		}
	}
	if _, err := do("backup", "staging"); err != nil {
		t.Fatal(fault.Text(err))
	}
	runs, err := r.Runs()
	if err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, i := range r.Status(runs).Items {
		states[i.ID] = i.State
		if i.ID == "bad" && (i.ExitCode == nil || *i.ExitCode != 7 || i.Output != "first\nthe reason") {
			t.Errorf("%+v", i)
		}
		if i.ID == "backup" && !strings.Contains(i.Detail, "no rehearsal") {
			t.Errorf("%+v", i)
		}
	}
	for id, want := range map[string]string{"good": ItemDone, "bad": ItemFailed, "slow": ItemFailed, "asks": ItemFailed, "backup": ItemOpen, "none": ItemOpen} {
		if states[id] != want {
			t.Errorf("%s is %s, %s was expected", id, states[id], want)
		}
	}
	r.Item("good").Run.Run += " # changed"
	if i := r.Status(runs).Items[0]; i.State != ItemOpen || !strings.Contains(i.Detail, "changed") {
		t.Errorf("%+v", i)
	}
}

// A rollback that failed is said until one has succeeded.
func TestFailedRollbackIsSaid(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	failed, passed := NewRun(KindRollback, at), NewRun(KindRollback, at)
	failed.Environment, failed.State = "production", StateFailed
	passed.Environment, passed.State = "production", StatePassed
	r := &Record{path: filepath.Join(t.TempDir(), "2026-11-22-x.yaml")}
	if s := r.Status([]*Run{failed}); !slices.Contains(s.Remarks, "the rollback of 2026-11-22 00:00Z FAILED on production") {
		t.Errorf("%q", s.Remarks)
	}
	if s := r.Status([]*Run{failed, passed}); len(s.Remarks) != 0 {
		t.Errorf("%q", s.Remarks)
	}
}

func TestStates(t *testing.T) {
	at := time.Date(2026, 11, 22, 0, 0, 0, 0, time.UTC)
	run := func(kind, state string, steps ...string) *Run {
		r := NewRun(kind, at)
		r.State = state
		for _, s := range steps {
			name, state, _ := strings.Cut(s, "=")
			if state == "" {
				state = StatePassed
			}
			r.Steps = append(r.Steps, Step{Name: name, State: state})
		}
		return r
	}
	rehearsed, onStaging := run(KindRehearse, StatePassed), run(KindRollback, StatePassed)
	onStaging.Environment = staging
	for _, c := range []struct {
		runs       []*Run
		state      string
		unfinished bool
	}{
		{nil, Draft, false},
		{[]*Run{run(KindRehearse, StateFailed)}, Draft, false},
		{[]*Run{rehearsed}, Rehearsed, false},
		{[]*Run{run(KindRehearse, StateUndecided), onStaging}, Rehearsed, false},
		{[]*Run{onStaging}, Draft, false},
		{[]*Run{run(KindShip, StatePassed, "deploy"), run(KindRollback, StatePassed), rehearsed}, Rehearsed, false},
		{[]*Run{rehearsed, run(KindShip, StateFailed, "backup=failed")}, Rehearsed, false},
		{[]*Run{rehearsed, run(KindShip, StateRunning, "deploy")}, Shipped, true},
		{[]*Run{rehearsed, run(KindShip, StateFailed, "deploy", "watch=failed")}, Shipped, true},
		{[]*Run{rehearsed, run(KindShip, StatePassed, "deploy", "watch")}, Watched, true},
		{[]*Run{rehearsed, run(KindShip, StateFailed, "deploy", "health=failed", "rollback")}, RolledBack, false},
		{[]*Run{rehearsed, run(KindShip, StatePassed, "deploy", "watch"), run(KindRollback, StatePassed, "rollback")}, RolledBack, false},
		{[]*Run{rehearsed, run(KindShip, StatePassed, "deploy", "watch"), run(KindRollback, StateFailed)}, Watched, true},
		{[]*Run{run(KindShip, StatePassed, "deploy"), run(KindRollback, StatePassed), run(KindShip, StatePassed, "deploy")}, Shipped, true},
	} {
		r := &Record{path: filepath.Join(t.TempDir(), "2026-11-22-x.yaml")}
		if s := r.Status(c.runs); s.State != c.state || s.Unfinished != c.unfinished {
			t.Errorf("%s, unfinished %v; %s, %v was expected", s.State, s.Unfinished, c.state, c.unfinished)
		}
	}
}

// What the configuration adds stands where it says, replaces what has its id, or is a checklist of its own.
func TestChecklistsOfTheConfiguration(t *testing.T) {
	page, err := os.ReadFile("../../docs/change.md")
	if err != nil {
		t.Fatal(err)
	}
	_, example, _ := strings.Cut(string(page), "```yaml\nchecklists:")
	example, _, _ = strings.Cut(example, "```")
	settings, err := config.Parse([]byte("checklists:" + example))
	if err != nil {
		t.Fatal(err)
	}
	r := &Record{Topic: "x"}
	ids := func(template string, own map[string][]config.Item) string {
		items, err := Checklist(template, own, r, Stack{}, "2026-11-22-x")
		if err != nil {
			return err.Error()
		}
		var list []string
		for _, i := range items {
			id := i.ID
			if i.Run != nil {
				id += "=" + i.Run.Run
			}
			list = append(list, id)
		}
		return strings.Join(list, ", ")
	}
	own := settings.Checklists
	if got := ids("invalidation", own); got != "lint=make lint, types=mypy ., unit-tests, integration, staging-config, tag=git tag -a 2026-11-22-x -m x" {
		t.Errorf("invalidation: %s", got)
	}
	if got := ids("hotfix", own); got != "unit-tests=pytest -q, health" {
		t.Errorf("hotfix: %s", got)
	}
	if got := ids("boundary", own); got != "capture, backup, test, watch, note" {
		t.Errorf("boundary: %s", got)
	}
	if got := strings.Join(TemplateNames(own), " "); got != "boundary invalidation hotfix" {
		t.Errorf("names: %s", got)
	}
	for want, item := range map[string]config.Item{
		"one of backup": {ID: "a", Item: "a", Step: "deploy"}, `stands before "b"`: {ID: "a", Item: "a", Before: "b"},
		`stands before "lint"`: {ID: "lint", Item: "a", Before: "lint"},
	} {
		if got := ids("invalidation", map[string][]config.Item{"invalidation": {item}}); !strings.Contains(got, want) {
			t.Errorf("%+v: %s, %q was expected", item, got, want)
		}
	}
}

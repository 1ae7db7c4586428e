package change

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/redis"
)

const configRecord = `version: 1
topic: the same on both
environments:
  staging: {dir: staging, env_file: .env, env: {WORKERS: "2"}, secrets: {DB_PASSWORD: "file:password"}, redis: env:STAGING_REDIS}
  production: {dir: production, env_file: .env, env: {WORKERS: "2"}, secrets: {DB_PASSWORD: "file:password"}, redis: env:PRODUCTION_REDIS}
config:
  - file: settings.py
  - file: same.py
  - env: CACHE_TTL
  - env: WORKERS
  - env: ABSENT
  - env: DB_PASSWORD
  - env: API_TOKEN
  - command: cat version
  - redis: maxmemory-policy
  - redis: ttl config-test:article:*
  - redis: ttl config-test:few:*
`

// twoSides makes staging and production, which differ in most of what the record lists.
func twoSides(t *testing.T) *Record {
	t.Helper()
	record := folder(t, configRecord)
	for side, text := range map[string][5]string{
		"staging":    {"A = 1\nTTL = 60\nSECRET_KEY = 'geheim-a'\n", "# comment\nexport CACHE_TTL=60\nAPI_TOKEN=geheim-b\n", "geheim-c", "Python 3.11.2", "60"},
		"production": {"A = 1\nTTL = 300\nSECRET_KEY = 'geheim-d'\n", "CACHE_TTL='300'\nAPI_TOKEN=geheim-e\n", "geheim-c", "Python 3.12.1", "3600"},
	} {
		write(t, side+"/settings.py", text[0], 0o640)
		write(t, side+"/same.py", "same\n", 0o644)
		write(t, side+"/.env", text[1], 0o600)
		write(t, side+"/password", text[2]+"\n", 0o600)
		write(t, side+"/version", text[3]+"\n", 0o644)
	}
	return record
}

// liveRedis fills the test's Redis with keys of one lifetime, under names that only these tests use: other packages' tests share it.
func liveRedis(t *testing.T, production string) {
	t.Helper()
	address := os.Getenv("DEMARC_TEST_REDIS")
	if address == "" {
		t.Fatal("DEMARC_TEST_REDIS is not set: run make test, or scripts/with-servers")
	}
	c, err := redis.Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if _, err := c.Do("SET", "config-test:few:1", "x", "EX", "60"); err != nil {
		t.Fatal(err)
	}
	for i := range 30 {
		if _, err := c.Do("SET", fmt.Sprintf("config-test:article:%d", i), "x", "EX", "60"); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv("STAGING_REDIS", address)
	t.Setenv("PRODUCTION_REDIS", production)
	if production == "" {
		t.Setenv("PRODUCTION_REDIS", address)
	}
}

func configOptions(answer bool, names ...string) ConfigOptions {
	return ConfigOptions{Copy: names, To: production, Confirm: func(string) (bool, error) { return answer, nil },
		Hash: func(text string) string { return fmt.Sprintf("h%d", len(text)) }}
}

func settingStates(settings []Setting) map[string]string {
	m := map[string]string{}
	for _, s := range settings {
		m[s.Name] = s.State
	}
	return m
}

func TestCompareConfig(t *testing.T) {
	record := twoSides(t)
	liveRedis(t, "")
	o, _ := options("demarc change config")
	run, settings, err := CompareConfig(t.Context(), record, o, configOptions(true))
	if fault.ExitCode(err) != fault.ExitCheck || run.State != StateFailed {
		t.Fatalf("%v, %+v", err, run)
	}
	want := map[string]string{
		"file settings.py": StateFailed, "file same.py": StatePassed, "env CACHE_TTL": StateFailed, "env WORKERS": StatePassed,
		"env ABSENT": StatePassed, "env DB_PASSWORD": StatePassed, "env API_TOKEN": StateFailed, "command cat version": StateFailed,
		"redis maxmemory-policy": StatePassed, "redis ttl config-test:article:*": StatePassed, "redis ttl config-test:few:*": StateUndecided,
	}
	got := settingStates(settings)
	for name, state := range want {
		if got[name] != state {
			t.Errorf("%s: %s, not %s", name, got[name], state)
		}
	}
	var text strings.Builder
	PrintSettings(&text, settings)
	data, _ := os.ReadFile(record.Dir() + "/" + run.ID + ".yaml")
	for _, where := range []string{text.String(), string(data), err.Error()} {
		if strings.Contains(where, "geheim") {
			t.Errorf("a secret is shown:\n%s", where)
		}
	}
	for _, line := range []string{"- TTL = 60\n", "+ TTL = 300\n", "staging:    Python 3.11.2", "1 keys match config-test:few:*, fewer than 20"} {
		if !strings.Contains(text.String(), line) {
			t.Errorf("%q is not in\n%s", line, &text)
		}
	}
}

func TestConfigThatCannotBeRead(t *testing.T) {
	record := twoSides(t)
	liveRedis(t, "redis://127.0.0.1:1/0")
	o, _ := options("demarc change config")
	_, settings, err := CompareConfig(t.Context(), record, o, configOptions(true))
	if fault.ExitCode(err) != fault.ExitCheck {
		t.Fatal(err)
	}
	for _, s := range settings {
		if s.Kind == "redis" && (s.State != StateFailed || !strings.HasPrefix(s.Production, "cannot be read: dial tcp 127.0.0.1:1: connect: connection refused")) {
			t.Errorf("%+v", s)
		}
	}
}

func TestCopyConfig(t *testing.T) {
	record := twoSides(t)
	liveRedis(t, "")
	o, talk := options("demarc change config")
	before := read(t, "production/settings.py")
	if _, _, err := CompareConfig(t.Context(), record, o, configOptions(false, "settings.py")); fault.ExitCode(err) != fault.ExitCheck {
		t.Fatal(err)
	}
	if !strings.Contains(talk.String(), "+ TTL = 300") || read(t, "production/settings.py") != before {
		t.Errorf("the difference was not shown before, or it was copied without a yes:\n%s", talk)
	}
	_, settings, err := CompareConfig(t.Context(), record, o, configOptions(true, "settings.py", "CACHE_TTL"))
	if fault.ExitCode(err) != fault.ExitCheck { // the secrets and the version still differ
		t.Fatal(err)
	}
	got := settingStates(settings)
	if got["file settings.py"] != StatePassed || got["env CACHE_TTL"] != StatePassed || read(t, "production/.env") != "CACHE_TTL=60\nAPI_TOKEN=geheim-e\n" {
		t.Errorf("%v\n%s", got, read(t, "production/.env"))
	}
	info, err := os.Stat("production/settings.py")
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	for _, name := range []string{"DB_PASSWORD", "API_TOKEN", "cat version", "ttl config-test:article:*", "nothing"} {
		if _, _, err := CompareConfig(t.Context(), record, o, configOptions(true, name)); fault.ExitCode(err) != fault.ExitUsage {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestSetVariable(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, c := range []struct{ before, value, after string }{
		{"", "1", "A=1\n"},
		{"B=2", "1", "B=2\nA=1\n"},
		{"A=0\nB=2\n", "1", "A=1\nB=2\n"},
		{"export A=\"x y\" \nB=2\n", "p q", "export A='p q' \nB=2\n"},
		{"A=0\nA=7\n", "1", "A=0\nA=1\n"},
		{"# A=0\n", "1", "# A=0\nA=1\n"},
	} {
		write(t, ".env", c.before, 0o600)
		if err := setVariable(".env", "A", c.value); err != nil || read(t, ".env") != c.after {
			t.Errorf("%q: %q, %v", c.before, read(t, ".env"), err)
		}
	}
	if err := setVariable(".env", "A", "it's\n"); err == nil {
		t.Error("a value with a quote was written")
	}
}

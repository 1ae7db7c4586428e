package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

const whole = `service: shop
observe:
  functions: ["shop.pricing:price_for"]
  principal: { header: X-Api-Key }
privacy: { keys: hashed }
keep: { size: 500MB, age: 12h }
staleness: { default: 1s, "tags:{}": 60s }
checks:
  - p95_ms of "GET /articles" < 300
  - stale_reads == 0
boundaries: boundaries.yaml
security: { listen: "0.0.0.0:7171", token: env:SHOP_TOKEN, limits: { max_rate: 100 } }
`

func TestWhole(t *testing.T) {
	c, err := Parse([]byte(whole))
	if err != nil {
		t.Fatal(err)
	}
	if c.Service != "shop" || c.Observe.Functions[0] != "shop.pricing:price_for" || c.Observe.Principal.Header != "X-Api-Key" ||
		c.Privacy.Keys != "hashed" || c.Keep != (Keep{"500MB", "12h"}) || c.Staleness["tags:{}"] != "60s" || len(c.Checks) != 2 ||
		c.Checks[0].String() != `p95_ms of "GET /articles" < 300` || c.Boundaries != "boundaries.yaml" || c.Security.Listen != "0.0.0.0:7171" ||
		c.Security.Token != "env:SHOP_TOKEN" || *c.Security.Limits.MaxRate != 100 {
		t.Errorf("%+v", c)
	}
}

func TestWhatIsAbsentHasItsDefault(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "service: shop\n", "keep: { size: 1GB }\n", "keep:\nsecurity:\n"} {
		c, err := Parse([]byte(text))
		if err != nil {
			t.Fatalf("%q: %v", text, err)
		}
		if c.Keep.Age != "7d" || c.Security.Listen != "127.0.0.1:0" || c.Security.Token != "auto" || c.Staleness["default"] != "0s" ||
			*c.Security.Limits.MaxRate != 5000 {
			t.Errorf("%q: %+v", text, c)
		}
	}
}

// Every error names what was expected and shows the line with a mark.
func TestErrorsShowTheLine(t *testing.T) {
	for name, tc := range map[string]struct{ text, line, why string }{
		"unknown setting": {"service: shop\nsevrice: shop\n", ">  2 | sevrice: shop", "unknown field"},
		"unknown below":   {"keep: {size: 2GB, colour: red}\n", ">  1 | keep:", "unknown field"},
		"wrong type":      {"service: shop\nchecks: many\n", ">  2 | checks: many", ""},
		"no yaml":         {"service: [\n", ">  1 | service: [", ""},
		"alias bomb":      {"staleness:\n  a: &a [x, x]\n  b: [*a, *a]\n", ">  2 |   a: &a", "anchors"},
		"tag":             {"service: !!binary aGk=\n", ">  1 | service", "tags"},
		"nesting":         {"checks: " + strings.Repeat("[", 100_000) + "\n", ">  1 | checks: [[", "at most 20 levels"},
		"size":            {"service: a\n\nkeep: { size: huge }\n", ">  3 | keep:", "500MB"},
		"age":             {"keep:\n  age: soon\n", ">  2 |   age: soon", "7d"},
		"keys":            {"privacy: { keys: secret }\n", ">  1 | privacy:", "clear or hashed"},
		"listen":          {"security:\n  listen: here\n", ">  2 |   listen: here", "127.0.0.1:7171"},
		"token":           {"security: { token: hunter2 }\n", ">  1 | security:", "does not belong into this file"},
		"security file":   {"security:\n  files: [shop/settings.py, ../secrets.py]\n", ">  2 |   files: [shop", "below the folder"},
		"function":        {"observe: { functions: [price] }\n", ">  1 | observe:", "module:function"},
		"principal":       {"observe:\n  principal: { header: a, cookie: b }\n", ">  2 |", "not both"},
		"checklist id":    {"checklists:\n  hotfix:\n    - {id: Not An Id, item: x}\n", "hotfix:", "lower-case"},
		"checklist twice": {"checklists: {a: [{id: x, item: x}, {id: x, item: y}]}\n", ">  1 | checklists", "no other item"},
		"checklist both":  {"checklists: {a: [{id: x, item: x, run: y, step: note}]}\n", ">  1 | checklists", "not both"},
		"staleness":       {"staleness: { default: never }\n", ">  1 | staleness:", "default"},
		"rate":            {"security: { limits: { max_rate: -1 } }\n", ">  1 |", "events a second"},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), File)
			if err := os.WriteFile(path, []byte(tc.text), 0o600); err != nil {
				t.Fatal(err)
			}
			_, err := Load("demarc run", path)
			if err == nil {
				t.Fatal("no error")
			}
			text := fault.Text(err)
			if !strings.Contains(text, tc.line) || !strings.Contains(text, tc.why) || !strings.Contains(text, path) ||
				fault.ExitCode(err) != fault.ExitUsage {
				t.Errorf("got:\n%s\nwant in it: %q and %q", text, tc.line, tc.why)
			}
		})
	}
}

func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Load("demarc run", ""); err != nil {
		t.Errorf("an absent demarc.yaml: %v", err)
	}
	if _, err := Load("demarc run", "other.yaml"); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a named file that is absent: %v", err)
	}
	if err := os.WriteFile(File, []byte("service: "+strings.Repeat("x", MaxFile)), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load("demarc run", ""); err == nil || !strings.Contains(err.Error(), "larger than") {
		t.Errorf("a huge file: %v", err)
	}
}

func TestUnits(t *testing.T) {
	for text, want := range map[string]int64{"2GB": 2e9, "500 mb": 500e6, "1GiB": 1 << 30, "1.5GB": 15e8, "1000000": 1e6} {
		if got, err := Size(text); err != nil || got != want {
			t.Errorf("Size(%q) = %d, %v", text, got, err)
		}
	}
	for text, want := range map[string]time.Duration{"7d": 168 * time.Hour, "0s": 0, "1h30m": 90 * time.Minute, "2w": 336 * time.Hour} {
		if got, err := Age(text); err != nil || got != want {
			t.Errorf("Age(%q) = %v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "x", "-1GB", "NaNGB", "1e99GB", "5b"} {
		if got, err := Size(text); err == nil {
			t.Errorf("Size(%q) = %d", text, got)
		}
	}
	for _, text := range []string{"", "7", "-1s", "NaNd", "1e9d"} {
		if got, err := Age(text); err == nil {
			t.Errorf("Age(%q) = %v", text, got)
		}
	}
}

func TestToken(t *testing.T) {
	drawn := func() string { return "drawn" }
	if got, err := (Security{Token: "auto"}).ReadToken(drawn); err != nil || got != "drawn" {
		t.Errorf("auto: %q, %v", got, err)
	}
	t.Setenv("SHOP_TOKEN", "0123456789abcdef")
	if got, err := (Security{Token: "env:SHOP_TOKEN"}).ReadToken(drawn); err != nil || got != "0123456789abcdef" {
		t.Errorf("env: %q, %v", got, err)
	}
	t.Setenv("SHOP_TOKEN", "short")
	if _, err := (Security{Token: "env:SHOP_TOKEN"}).ReadToken(drawn); err == nil || strings.Contains(err.Error(), "short\"") {
		t.Errorf("a short token: %v", err)
	}
	if _, err := (Security{Token: "file:/nonexistent"}).ReadToken(drawn); err == nil {
		t.Error("a token file that is absent")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(whole))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if len(data) > 4096 {
			return
		}
		_, _ = Parse(data)
	})
}

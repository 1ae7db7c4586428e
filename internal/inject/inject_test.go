package inject

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

func TestDockerfilePath(t *testing.T) {
	for _, tc := range []struct{ text, want, fails string }{
		{"FROM python:3.12\n", "", ""},
		{"ENV PYTHONPATH=/app\n", "/app", ""},
		{"env PYTHONPATH /app lib\r\n", "/app lib", ""},
		{`ENV A=1 PYTHONPATH="/a b:/c" D='$A'`, "/a b:/c", ""},
		{"ENV PYTHONPATH=$PYTHONPATH:/app\n", "/app", ""},
		{"ENV PYTHONPATH=/app:${PYTHONPATH}\n", "/app", ""},
		{"ENV PYTHONPATH=/a\nENV PYTHONPATH=${PYTHONPATH:+$PYTHONPATH:}/b\n", "$PYTHONPATH:/b", ""}, // nested: taken as it stands
		{"ARG ROOT=/srv\nENV APP=${ROOT}/app \\\n  # why\n  PYTHONPATH=$ROOT/lib\n", "/srv/lib", ""},
		{"ARG ROOT\nENV PYTHONPATH=${ROOT:-/srv}/lib\n", "/srv/lib", ""},
		{`ENV PYTHONPATH=/a\$b`, "/a$b", ""},
		{"ENV PYTHONPATH=/a\nFROM x\nENV PYTHONPATH=/b\n", "/b", ""},
		{"# ENV PYTHONPATH=/no\nRUN ENV PYTHONPATH=/no\n", "", ""},
		{"ENV PYTHONPATH=$VIRTUAL_ENV/lib\n", "", "VIRTUAL_ENV"},
		{"ENV PYTHONPATH=$HOME_DIR/lib\nENV PYTHONPATH=/app\n", "/app", ""},
	} {
		got, err := dockerfilePath(tc.text)
		if tc.fails != "" {
			if err == nil || !strings.Contains(err.Error(), tc.fails) {
				t.Errorf("%q: got %q, %v; want an error about %s", tc.text, got, err, tc.fails)
			}
		} else if err != nil || got != tc.want {
			t.Errorf("%q: got %q, %v; want %q", tc.text, got, err, tc.want)
		}
	}
}

// What a service's PYTHONPATH is before the recorder's folder comes in front of it, in the spelling of a compose file.
func TestComposePythonPath(t *testing.T) {
	dir := t.TempDir()
	for name, text := range map[string]string{
		"Dockerfile": "ENV PYTHONPATH=/image\n", "bad/Dockerfile": "ENV PYTHONPATH=$X\n",
		"one.env": "A=1\nexport PYTHONPATH=/one # why\n", "two.env": "PYTHONPATH='/two$x'\n", "three.env": "PYTHONPATH=\"/three${X}\"\n", "no.env": "A=1\n",
	} {
		if err := os.MkdirAll(filepath.Join(dir, filepath.Dir(name)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, tc := range []struct{ service, want, note string }{
		{"environment: {PYTHONPATH: /app}", "/app", ""},
		{"environment: [A=1, PYTHONPATH=/app]", "/app", ""},
		{"environment: [PYTHONPATH]", "${PYTHONPATH-}", ""},
		{"environment: {PYTHONPATH: }", "${PYTHONPATH-}", ""},
		{"environment: {PYTHONPATH: \"/app:${LIB}\"}", "/app:${LIB}", ""},
		{"environment: {<<: *env, B: 2}", "/shared", ""},
		{"environment: {<<: [*other, *env]}", "/shared", ""},
		{"<<: *service", "/shared", ""},
		{"environment: {A: 1}\n    extends: base", "/base", ""},
		{"extends: {service: base}", "/base", ""},
		{"extends: {service: x, file: other.yaml}\n    image: x", "", "other.yaml"},
		{"extends: web", "", "--pythonpath"},
		{"env_file: one.env", "/one", ""},
		{"env_file: [one.env, two.env, no.env]", "/two$$x", ""},
		{"env_file: [{path: three.env, required: false}, {path: gone.env}]", "/three${X}", ""},
		{"env_file: one.env\n    environment: {PYTHONPATH: /app}", "/app", ""},
		{"build: .", "/image", ""},
		{"build: {context: ., dockerfile: Dockerfile}", "/image", ""},
		{"build: {dockerfile_inline: \"ENV A=/in PYTHONPATH=$$A/line\"}", "", "error"},
		{"build: {dockerfile_inline: \"ARG A=/in\\nENV PYTHONPATH=$$A/line\"}", "/in/line", ""},
		{"build: ./gone", "", "could not be read"},
		{"build: ./bad", "", "error"},
		{"image: x", "", "--pythonpath"},
		{"", "", "--pythonpath"},
	} {
		file := filepath.Join(dir, "compose.yaml")
		text := "x-env: &env {PYTHONPATH: /shared}\nx-other: &other {C: 3}\nx-service: &service {environment: *env}\nservices:\n" +
			"  base: {environment: {PYTHONPATH: /base}}\n  web:\n    labels: {a: b}\n    " + tc.service + "\n"
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		all, err := readCompose("demarc", file)
		if err != nil {
			t.Fatalf("%s: %v", tc.service, err)
		}
		got, notes, err := Compose{File: file}.pythonPath(all, "web")
		if tc.note == "error" {
			if err == nil {
				t.Errorf("%s: no error", tc.service)
			}
			continue
		}
		if said := strings.Join(notes, "\n"); err != nil || got != tc.want || (tc.note == "") != (said == "") || !strings.Contains(said, tc.note) {
			t.Errorf("%s: got %q, %q, %v; want %q, a note on %q", tc.service, got, notes, err, tc.want, tc.note)
		}
	}
}

func TestComposeNetwork(t *testing.T) {
	file := filepath.Join(t.TempDir(), "deploy", "compose.yaml")
	if err := os.Mkdir(filepath.Dir(file), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		mode, address string
		hosts, note   bool
	}{
		{"bridge", "tcp:host.docker.internal:7172", true, false},
		{"host", "tcp:127.0.0.1:7172", false, false},
		{"none", "tcp:host.docker.internal:7172", false, true},
		{"service:other", "tcp:host.docker.internal:7172", false, true},
	} {
		if err := os.WriteFile(file, []byte("services: {web: {network_mode: \""+tc.mode+"\", environment: {PYTHONPATH: /a}}}"), 0o600); err != nil {
			t.Fatal(err)
		}
		c := Compose{File: file, Address: "tcp:host.docker.internal:7172"}
		o, err := c.Override("demarc", "o.yaml", "demarc collect", Kit{Dir: filepath.Join(filepath.Dir(file), "..", "a $b")})
		if err != nil {
			t.Fatal(err)
		}
		var got struct {
			Services map[string]struct {
				Environment map[string]string
				Volumes     []struct{ Source string }
				ExtraHosts  []string `yaml:"extra_hosts"`
			}
		}
		if err := yaml.Unmarshal([]byte(o.Text), &got); err != nil {
			t.Fatal(err)
		}
		web := got.Services["web"]
		if web.Environment["DEMARC_ADDRESS"] != tc.address || (len(web.ExtraHosts) > 0) != tc.hosts || (len(o.Notes) > 0) != tc.note {
			t.Errorf("%s: %+v %v", tc.mode, web, o.Notes)
		}
		// A path is from the compose file's folder, and a dollar is doubled, for Compose would replace it.
		if web.Volumes[0].Source != "../a $$b/recorder" {
			t.Errorf("source %q", web.Volumes[0].Source)
		}
	}
}

func TestJoin(t *testing.T) {
	for before, want := range map[string]string{"": "/boot", "/a": "/boot:/a", "/boot": "/boot", "/boot:/a": "/boot:/a", "/boots": "/boot:/boots"} {
		if got := join("/boot", before); got != want {
			t.Errorf("%q: %q, want %q", before, got, want)
		}
	}
}

func TestCheckAddress(t *testing.T) {
	for address, good := range map[string]bool{
		"tcp:a:1": true, "tcp:[::1]:7172": true, "unix:/run/s": true, "unix:s": false, "tcp:a": false, "tcp::1": false, "tcp:a:x": false, "a:1": false, "": false,
		"tcp:a:123456": false,
	} {
		if err := CheckAddress(address); (err == nil) != good {
			t.Errorf("%q: %v", address, err)
		}
	}
}

// Prepare is repeatable: what is right stays as it is, what differs is put right.
func TestPrepareAgain(t *testing.T) {
	root := filepath.Join(t.TempDir(), ".demarc")
	rate := 100.0
	k, err := Prepare("demarc", root, Extra{MaxRate: &rate})
	if err != nil || !k.HasConfig {
		t.Fatal(k, err)
	}
	before, err := os.Stat(filepath.Join(k.Dir, "token"))
	if err != nil {
		t.Fatal(err)
	}
	boot := filepath.Join(k.Recorder(), "boot", "sitecustomize.py")
	if err := os.WriteFile(boot, []byte("changed"), 0o600); err != nil {
		t.Fatal(err)
	}
	if k, err = Prepare("demarc", root, Extra{}); err != nil || k.HasConfig {
		t.Fatal(k, err)
	}
	after, err := os.Stat(filepath.Join(k.Dir, "token"))
	if err != nil || !os.SameFile(before, after) {
		t.Errorf("the token was written again: %v", err)
	}
	if text, err := os.ReadFile(boot); err != nil || string(text) == "changed" {
		t.Errorf("the recorder was not put right: %v", err)
	}
	if _, err := os.Stat(filepath.Join(k.Recorder(), "config.json")); err == nil {
		t.Error("a config.json of before is still there")
	}
}

func FuzzDockerfilePath(f *testing.F) {
	f.Add("ARG A=1\nENV PYTHONPATH=\"${A:-x}:$PYTHONPATH\" \\\n B='c'\n")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := dockerfilePath(text)
		if err != nil && got != "" {
			t.Errorf("%q and %v", got, err)
		}
	})
}

// Whatever a compose file holds, the override is YAML for the services that were chosen.
func FuzzCompose(f *testing.F) {
	f.Add("services: {web: {build: ., environment: {PYTHONPATH: \"a: 'b'\"}, env_file: [x]}}")
	f.Add("a: &a {b: *a}\nservices: {<<: *a}")
	f.Fuzz(func(t *testing.T, text string) {
		dir := t.TempDir()
		c := Compose{File: filepath.Join(dir, "c.yaml"), Address: "tcp:a:1"}
		if err := os.WriteFile(c.File, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		o, err := c.Override("demarc", "o.yaml", "demarc collect", Kit{Dir: dir})
		if err != nil {
			return
		}
		var got struct {
			Services map[string]any `yaml:"services"`
		}
		if err := yaml.Unmarshal([]byte(o.Text), &got); err != nil || len(got.Services) != len(o.Services) {
			t.Errorf("%v\n%s", err, o.Text)
		}
	})
}

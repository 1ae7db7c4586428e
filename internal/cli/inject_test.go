package cli

import (
	"context"
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

// freePort is one that nothing listens on, and that nobody else is given for a minute: where a connection has just ended, the system
// hands out no port, but a server may listen.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	client, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	server, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = server.Close() // the side that ends it first keeps the port
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

// ran runs a demarc to its end and wants an exit code.
func ran(t *testing.T, dir string, code int, args ...string) *process {
	t.Helper()
	p := demarc(t, dir, nil, args...)
	if got := p.run(); got != code {
		t.Fatalf("demarc %v: exit code %d, want %d\n%s%s", args, got, code, p.stdout.String(), p.stderr.String())
	}
	return p
}

// container is a folder that stands for the root of a container, with the environment of a process in it.
type container struct {
	root string
	env  []string
}

// mount makes source appear at target. A link does here what a bind mount does there.
func (c *container) mount(t *testing.T, source, target string) {
	t.Helper()
	if _, err := os.Stat(source); err != nil {
		t.Fatal(err) // create_host_path is false: Compose would fail
	}
	to := filepath.Join(c.root, target)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(source, to); err != nil {
		t.Fatal(err)
	}
}

// set gives the process a variable, with paths of the container as they are here.
func (c *container) set(name, value string) {
	value = strings.ReplaceAll(value, "/opt/demarc", filepath.Join(c.root, "/opt/demarc"))
	value = strings.ReplaceAll(value, "host.docker.internal", "127.0.0.1")
	c.env = append(c.env, name+"="+value)
}

// python runs Python in the container and returns its output and whether it succeeded.
func (c *container) python(t *testing.T, args ...string) (string, bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, python(t), args...)
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	out, err := cmd.CombinedOutput()
	return string(out), err == nil
}

// serve starts the service in the container, asks it something, and sees its events arrive at the collector.
func (c *container) serve(t *testing.T, dir string, collector *process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, python(t), write(t, dir, "app.py", "import greeting\n"+service))
	var out buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, c.env...)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	waitFor(t, "start of the service", &out, func() bool { return strings.Contains(out.String(), "\n") })
	port, _, _ := strings.Cut(out.String(), "\n")
	if got := get(t, "http://127.0.0.1:"+port+"/users/kunde4711"); got != "hello" {
		t.Fatalf("the service answered %q", got)
	}
	if h := health(t, collector.runFile().URL, 3); h.Processes != 1 || h.Refused != 0 {
		t.Errorf("health %+v", h)
	}
}

// collector starts demarc collect over dir on a port.
func collector(t *testing.T, dir, port string) *process {
	t.Helper()
	p := demarc(t, dir, nil, "collect", "--listen-recorder", "tcp:127.0.0.1:"+port).start()
	p.until(&p.stderr, "demarc: watching ")
	return p
}

// project is a folder with a module that the service imports by its own PYTHONPATH.
func project(t *testing.T) (dir, lib string) {
	t.Helper()
	dir = t.TempDir()
	lib = filepath.Join(dir, "app", "lib")
	if err := os.MkdirAll(lib, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, lib, "greeting.py", "")
	return dir, lib
}

// withoutSecrets fails where a file that demarc wrote holds the token or the key.
func withoutSecrets(t *testing.T, dir, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"token", "key"} {
		secret, err := os.ReadFile(filepath.Join(dir, ".demarc", name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), strings.TrimSpace(string(secret))) {
			t.Errorf("%s holds the %s", file, name)
		}
	}
	return string(text)
}

// override is the part of an override file that the tests look at.
type override struct {
	Services map[string]struct {
		Environment map[string]string
		Volumes     []struct {
			Type, Source, Target string
			ReadOnly             bool `yaml:"read_only"`
			Bind                 struct {
				CreateHostPath bool `yaml:"create_host_path"`
			}
		}
		ExtraHosts []string `yaml:"extra_hosts"`
	}
}

func TestInjectCompose(t *testing.T) {
	dir, lib := project(t)
	write(t, dir, "compose.yaml", "services:\n  web:\n    build: .\n    environment: {PYTHONPATH: "+lib+"}\n  db: {image: postgres}\n")
	port := freePort(t)
	p := ran(t, dir, 0, "inject", "compose", "--address", "tcp:host.docker.internal:"+port)
	p.says("wrote compose.demarc.yaml (web)", "docker compose -f compose.yaml -f compose.demarc.yaml up -d", "demarc collect --listen-recorder tcp:0.0.0.0:"+port,
		"rm compose.demarc.yaml", "not in it: db")
	var o override
	if err := yaml.UnmarshalWithOptions([]byte(withoutSecrets(t, dir, "compose.demarc.yaml")), &o, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	web, ok := o.Services["web"]
	if !ok || len(o.Services) != 1 || !slices.Equal(web.ExtraHosts, []string{"host.docker.internal:host-gateway"}) {
		t.Fatalf("%+v", o)
	}
	c := container{root: t.TempDir()}
	for _, v := range web.Volumes {
		if v.Type != "bind" || !v.ReadOnly || v.Bind.CreateHostPath || !strings.HasPrefix(v.Source, "./") {
			t.Errorf("volume %+v", v)
		}
		c.mount(t, filepath.Join(dir, v.Source), v.Target)
	}
	for name, value := range web.Environment {
		c.set(name, value)
	}
	if len(web.Volumes) != 3 || web.Environment["DEMARC_KEYS"] != "hashed" || web.Environment["DEMARC_SERVICE"] != "web" {
		t.Errorf("%+v", web)
	}
	// Nobody else may enter the folder; whoever the container's user is may read what is mounted from it.
	for path, mode := range map[string]os.FileMode{"inject": 0o700, "inject/token": 0o444, "inject/key": 0o444, "inject/recorder": 0o755,
		"inject/recorder/boot/sitecustomize.py": 0o644, "token": 0o600, "key": 0o600} {
		if info, err := os.Stat(filepath.Join(dir, ".demarc", path)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, want mode %v", path, info, mode)
		}
	}

	col := collector(t, dir, port)
	c.serve(t, dir, col)
	if said, ok := c.python(t, "-m", "_demarc.check"); !ok || !strings.Contains(said, "ok: a service started here is recorded") {
		t.Errorf("check: %s", said)
	}
	if said := ran(t, dir, 0, "doctor").stdout.String(); !strings.Contains(said, "demarc collect (process ") {
		t.Errorf("doctor: %s", said)
	}

	// With another token the service runs, the collector refuses, and both ends say so.
	token := filepath.Join(dir, ".demarc", "inject", "token")
	if err := os.Remove(token); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(token, []byte("another-token-of-more-than-16"), 0o444); err != nil {
		t.Fatal(err)
	}
	if said, ok := c.python(t, "-m", "_demarc.check"); ok || !strings.Contains(said, "not recorded: the collector refused: wrong token") {
		t.Errorf("check with a wrong token: %s", said)
	}
	said := ran(t, dir, 1, "doctor").stdout.String()
	for _, want := range []string{"refused", "because: wrong token", "containers have another token than .demarc/token", "demarc inject again"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is missing in doctor's:\n%s", want, said)
		}
	}
	ran(t, dir, 0, "inject", "compose", "--address", "tcp:host.docker.internal:"+port)
	if said, ok := c.python(t, "-m", "_demarc.check"); !ok {
		t.Errorf("check after inject was done again: %s", said)
	}
	if err := col.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := col.wait(); code != 0 {
		t.Errorf("collect: exit code %d", code)
	}
	if events := exported(t, col.captures()[0]); !strings.Contains(events, `"service":"web"`) || strings.Contains(events, "kunde4711") {
		t.Errorf("the capture holds\n%s", events)
	}
	// Without the key, and without the collector.
	unkeyed := container{env: append(slices.Clone(c.env), "DEMARC_KEY_FILE=/no/such/key")}
	if said, ok := unkeyed.python(t, "-m", "_demarc.check"); ok || !strings.Contains(said, "not recorded: the settings cannot be read: FileNotFoundError") {
		t.Errorf("check without a key: %s", said)
	}
	if said, ok := c.python(t, "-m", "_demarc.check"); ok || !strings.Contains(said, "nobody answers at tcp:127.0.0.1:"+port) {
		t.Errorf("check without a collector: %s", said)
	}
}

// The settings that only the configuration can say reach a container too.
func TestInjectComposeWithConfiguration(t *testing.T) {
	dir, _ := project(t)
	write(t, dir, "compose.yml", "services: {web: {build: .}}\n")
	write(t, dir, "demarc.yaml", "observe:\n  functions: [\"greeting:hello\"]\n  principal: { header: X-Api-Key }\n")
	ran(t, dir, 0, "inject", "compose", "--pythonpath", "")
	var o override
	if err := yaml.Unmarshal([]byte(withoutSecrets(t, dir, "compose.demarc.yaml")), &o); err != nil {
		t.Fatal(err)
	}
	c := container{root: t.TempDir()}
	for _, v := range o.Services["web"].Volumes {
		c.mount(t, filepath.Join(dir, v.Source), v.Target)
	}
	for name, value := range o.Services["web"].Environment {
		c.set(name, value)
	}
	said, ok := c.python(t, "-c", "from _demarc import core; print(core.state.config.functions, core.state.config.principal)")
	if want := "('greeting:hello',) {'header': 'X-Api-Key'}\n"; !ok || said != want {
		t.Errorf("%s, want %s", said, want)
	}
}

func TestInjectEnv(t *testing.T) {
	dir, lib := project(t)
	port := freePort(t)
	col := collector(t, dir, port)
	address := "tcp:127.0.0.1:" + port

	// A shell reads it, with what PYTHONPATH was before.
	shell := ran(t, dir, 0, "inject", "env", "--address", address, "--service", "it's $HOME")
	if text := shell.stdout.String(); !strings.HasPrefix(text, "# Written by demarc inject env") {
		t.Errorf("%s", text)
	}
	ran(t, dir, 0, "inject", "env", "--address", address, "--service", "it's $HOME", "-o", "demarc.sh")
	withoutSecrets(t, dir, "demarc.sh")
	out, err := exec.CommandContext(t.Context(), "env", "-i", "PATH="+os.Getenv("PATH"), "PYTHONPATH="+lib, "sh", "-ec", ". "+filepath.Join(dir, "demarc.sh")+"; env").Output()
	if err != nil {
		t.Fatal(err)
	}
	c := container{env: strings.Split(strings.TrimSpace(string(out)), "\n")}
	if !slices.Contains(c.env, "DEMARC_SERVICE=it's $HOME") || !strings.Contains(string(out), "boot:"+lib+"\n") {
		t.Errorf("%s", out)
	}
	c.serve(t, dir, col)

	// systemd reads its own form.
	ran(t, dir, 0, "inject", "env", "--systemd", "--address", address, "--service", `a "b" $c \d`, "--pythonpath", lib, "-o", "demarc.env")
	unit := container{}
	for line := range strings.Lines(withoutSecrets(t, dir, "demarc.env")) {
		if name, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(line, "#") {
			unit.set(name, systemdValue(t, value))
		}
	}
	if !slices.Contains(unit.env, `DEMARC_SERVICE=a "b" $c \d`) {
		t.Errorf("%q", unit.env)
	}
	if said, ok := unit.python(t, "-c", "import greeting, _demarc.check as c; print(c.problem())"); !ok || !strings.HasSuffix(said, "None\n") {
		t.Errorf("%s", said)
	}
}

// systemdValue reads a value in double quotes as systemd.exec(5) says: a backslash before " \ ` $ takes it off.
func systemdValue(t *testing.T, s string) string {
	t.Helper()
	if len(s) < 2 || s[0] != '"' || s[len(s)-1] != '"' {
		t.Fatalf("%s is not in double quotes", s)
	}
	var b strings.Builder
	s = s[1 : len(s)-1]
	for i := 0; i < len(s); i++ {
		if s[i] == '\\' && i+1 < len(s) && strings.ContainsRune("\"\\`$", rune(s[i+1])) {
			i++
		}
		b.WriteByte(s[i])
	}
	return b.String()
}

// patch is the part of a deployment's patch that the tests look at.
type patch struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name, Namespace string }
	Spec       struct {
		Template struct {
			Spec struct {
				Containers []struct {
					Name         string
					Env          []struct{ Name, Value string }
					VolumeMounts []struct {
						Name      string
						MountPath string `yaml:"mountPath"`
						ReadOnly  bool   `yaml:"readOnly"`
					} `yaml:"volumeMounts"`
				}
				Volumes []struct {
					Name      string
					Projected struct {
						DefaultMode int `yaml:"defaultMode"`
						Sources     []map[string]struct {
							Name  string
							Items []struct{ Key, Path string }
						}
					}
				}
			}
		}
	}
}

func TestInjectK8s(t *testing.T) {
	dir, lib := project(t)
	write(t, dir, "shop.yaml", `apiVersion: v1
kind: Service
metadata: {name: shop}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: shop}
spec:
  template:
    spec:
      containers:
      - {name: web, image: "shop:1", env: [{name: PYTHONPATH, value: `+lib+`}]}
      - {name: proxy, image: nginx}
`)
	write(t, dir, "demarc.yaml", "observe: { functions: [\"greeting:hello\"] }\n")
	port := freePort(t)
	p := ran(t, dir, 0, "inject", "k8s", "--deployment", "shop", "--container", "web", "--file", "shop.yaml", "-n", "staging",
		"--address", "tcp:host.docker.internal:"+port, "--json")
	var done injected
	if err := json.Unmarshal([]byte(p.stdout.String()), &done); err != nil || done.Schema != "demarc.inject/1" || done.File != "shop.demarc.yaml" {
		t.Fatalf("%s: %v", p.stdout.String(), err)
	}
	var d patch
	if err := yaml.UnmarshalWithOptions([]byte(withoutSecrets(t, dir, "shop.demarc.yaml")), &d, yaml.Strict()); err != nil {
		t.Fatal(err)
	}
	pod := d.Spec.Template.Spec
	if d.Kind != "Deployment" || d.APIVersion != "apps/v1" || d.Metadata.Name != "shop" || d.Metadata.Namespace != "staging" ||
		len(pod.Containers) != 1 || pod.Containers[0].Name != "web" || len(pod.Volumes) != 1 || len(pod.Containers[0].VolumeMounts) != 1 {
		t.Fatalf("%+v", d)
	}
	objects := created(t, dir, done.Steps)
	mount := pod.Containers[0].VolumeMounts[0]
	volume := pod.Volumes[0]
	if mount.Name != volume.Name || !mount.ReadOnly || volume.Projected.DefaultMode != 0o444 {
		t.Errorf("%+v %+v", mount, volume)
	}
	c := container{root: t.TempDir()}
	n := 0
	for _, source := range volume.Projected.Sources {
		for kind, s := range source {
			for _, item := range s.Items {
				n++
				file, ok := objects[strings.ToLower(kind)+" "+s.Name][item.Key]
				if !ok {
					t.Errorf("%s %s has no %s", kind, s.Name, item.Key)
					continue
				}
				c.mount(t, file, filepath.Join(mount.MountPath, item.Path))
			}
		}
	}
	if n < 20 {
		t.Errorf("only %d files are mounted", n)
	}
	for _, v := range pod.Containers[0].Env {
		c.set(v.Name, v.Value)
	}
	c.serve(t, dir, collector(t, dir, port))
	if said, ok := c.python(t, "-m", "_demarc.check"); !ok {
		t.Errorf("check: %s", said)
	}
}

// created follows the printed commands as kubectl does: a folder gives a key for each file in it, key=file one key. It
// returns the files by "configmap name" or "secret name" and key.
func created(t *testing.T, dir string, steps []injectStep) map[string]map[string]string {
	t.Helper()
	objects := map[string]map[string]string{}
	for _, s := range steps {
		words := strings.Fields(s.Command)
		if s.Do != "create" {
			continue
		}
		if len(words) < 6 || !slices.Equal(words[:4], []string{"kubectl", "-n", "staging", "create"}) {
			t.Fatalf("%q", s.Command)
		}
		words = slices.DeleteFunc(words[4:], func(w string) bool { return w == "generic" })
		files := map[string]string{}
		var size int64
		for _, w := range words[2:] {
			from, ok := strings.CutPrefix(w, "--from-file=")
			if !ok {
				t.Fatalf("%q", s.Command)
			}
			key, path, named := strings.Cut(from, "=")
			if !named {
				key, path = filepath.Base(from), from
			}
			path = filepath.Join(dir, path)
			info, err := os.Stat(path)
			if err != nil {
				t.Fatal(err)
			}
			if !info.IsDir() {
				files[key] = path
				size += info.Size()
				continue
			}
			entries, err := os.ReadDir(path)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range entries {
				if info, err := e.Info(); err == nil && info.Mode().IsRegular() {
					files[e.Name()] = filepath.Join(path, e.Name())
					size += info.Size()
				}
			}
		}
		if size > 1<<20 {
			t.Errorf("%s holds %d bytes, more than the API takes", words[1], size)
		}
		objects[words[0]+" "+words[1]] = files
	}
	return objects
}

// What inject cannot do is said, and nothing is written.
func TestInjectRefuses(t *testing.T) {
	for _, tc := range []struct {
		name  string
		files map[string]string
		args  []string
		code  int
		says  []string
	}{
		{"unknown service", map[string]string{"compose.yaml": "services: {web: {build: .}, db: {image: x}}"}, []string{"compose", "--service", "wed"}, 2,
			[]string{`cannot find service "wed" in compose.yaml`, "its services: db, web"}},
		{"no service of one's own", map[string]string{"compose.yaml": "services: {web: {image: w}, db: {image: x}}"}, []string{"compose"}, 2,
			[]string{"cannot tell which service", "db, web"}},
		{"no compose file", nil, []string{"compose"}, 1, []string{"cannot read compose.yaml: no such file", "--file FILE"}},
		{"no YAML", map[string]string{"compose.yaml": "services: [\n  a: {"}, []string{"compose"}, 1, []string{"cannot read compose.yaml: "}},
		{"no services", map[string]string{"compose.yaml": "volumes: {}"}, []string{"compose"}, 1, []string{"it has no services"}},
		{"services of another form", map[string]string{"compose.yaml": "services: 3"}, []string{"compose"}, 1, []string{"cannot read compose.yaml: "}},
		{"huge", map[string]string{"compose.yaml": strings.Repeat("# long\n", 200_000)}, []string{"compose"}, 1, []string{"larger than 1 MiB"}},
		{"a file of somebody else", map[string]string{"compose.yaml": "services: {web: {build: .}}", "compose.demarc.yaml": "mine: 1\n"}, []string{"compose"}, 1,
			[]string{"will not overwrite compose.demarc.yaml: demarc has not written it", "--force"}},
		{"address", nil, []string{"env", "--address", "localhost:7172"}, 2, []string{"tcp:HOST:PORT or unix:/path"}},
		{"form", nil, []string{"swarm"}, 2, []string{`"swarm" is neither compose, env nor k8s`}},
		{"no deployment", nil, []string{"k8s"}, 2, []string{"--deployment"}},
		{"unknown deployment", map[string]string{"d.yaml": "kind: Deployment\nmetadata: {name: a}\n"}, []string{"k8s", "--deployment", "b", "--file", "d.yaml"}, 2,
			[]string{`cannot find deployment "b" in d.yaml`, "its deployments: a"}},
		{"unknown container", map[string]string{"d.yaml": "kind: Deployment\nmetadata: {name: a}\nspec: {template: {spec: {containers: [{name: x}, {name: y}]}}}\n"},
			[]string{"k8s", "--deployment", "a", "--file", "d.yaml", "--container", "z"}, 2, []string{`cannot find container "z"`, "x, y"}},
		{"no folder", map[string]string{".demarc": "in the way"}, []string{"env"}, 1, []string{"cannot prepare the folder"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for name, text := range tc.files {
				write(t, dir, name, text)
			}
			p := ran(t, dir, tc.code, append([]string{"inject"}, tc.args...)...)
			p.says(append(tc.says, "expected: ", "retry: ")...)
			if p.stdout.String() != "" {
				t.Errorf("stdout %q", p.stdout.String())
			}
			for _, name := range []string{"compose.demarc.yaml", "a.demarc.yaml", "b.demarc.yaml"} {
				if text, err := os.ReadFile(filepath.Join(dir, name)); err == nil && string(text) != tc.files[name] {
					t.Errorf("%s was written:\n%s", name, text)
				}
			}
		})
	}
}

func TestInjectForce(t *testing.T) {
	dir := t.TempDir()
	write(t, dir, "compose.yaml", "services: {web: {build: .}}")
	write(t, dir, "compose.demarc.yaml", "mine: 1\n")
	ran(t, dir, 1, "inject", "compose")
	ran(t, dir, 0, "inject", "compose", "--force")
	ran(t, dir, 0, "inject", "compose") // its own it may overwrite
	if text := withoutSecrets(t, dir, "compose.demarc.yaml"); !strings.HasPrefix(text, "# Written by demarc inject compose") {
		t.Error(text)
	}
	if entries, err := filepath.Glob(filepath.Join(dir, ".demarc-inject-*")); err != nil || len(entries) != 0 {
		t.Errorf("temporary files are left: %v %v", entries, err)
	}
	if err := os.Symlink("compose.yaml", filepath.Join(dir, "link.yaml")); err != nil {
		t.Fatal(err)
	}
	ran(t, dir, 1, "inject", "compose", "-o", "link.yaml", "--force").says("it is not a plain file")
}

package inject

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/fault"
)

// maxExtends is how far a chain of `extends` is followed.
const maxExtends = 16

// Compose is what is asked for one compose file.
type Compose struct {
	File       string   // the compose file
	Services   []string // empty: those that are built here, or the only one
	Address    string   // of the collector, as containers reach it
	PythonPath string   // what the image sets, where nothing here tells; empty: read it
}

// Override is the file to write, and what to know about it.
type Override struct {
	Text     string
	Services []string // that are put under observation
	Others   []string // that are not
	Notes    []string // doubts, for a person
}

// Override reads the compose file and returns the override file. out is the file's name as a person types it, kit what
// containers mount; collect is the command that receives.
func (c Compose) Override(op, out, collect string, kit Kit) (Override, error) {
	var o Override
	all, err := readCompose(op, c.File)
	if err != nil {
		return o, err
	}
	names := all.names()
	if o.Services, err = c.choose(op, all); err != nil {
		return o, err
	}
	for _, name := range names {
		if !slices.Contains(o.Services, name) {
			o.Others = append(o.Others, name)
		}
	}
	source, err := relative(filepath.Dir(c.File), kit.Dir)
	if err != nil {
		return o, &fault.Error{Op: op, What: "cannot name " + kit.Dir + " from " + c.File, Cause: err, Retry: fault.RetryUseless}
	}
	services := yaml.MapSlice{}
	for _, name := range o.Services {
		s, notes, err := c.service(op, all, name, source, kit)
		if err != nil {
			return o, err
		}
		services = append(services, yaml.MapItem{Key: name, Value: s})
		o.Notes = append(o.Notes, notes...)
	}
	body, err := yaml.MarshalWithOptions(yaml.MapSlice{{Key: "services", Value: services}}, yaml.IndentSequence(true))
	if err != nil {
		return o, err
	}
	o.Text = Mark + "compose: puts demarc's recorder into " + strings.Join(o.Services, ", ") + ".\n" +
		"# Receive:  " + collect + "\n" +
		"# Start:    " + StartCommand(c.File, out) + "\n" +
		"# Look:     " + CheckCommand(c.File, out, o.Services[0]) + "\n" +
		"# Take out: delete this file, and start without it: docker compose -f " + word(c.File) + " up -d\n" +
		"# Secrets are not in it: the token and the hashing key are files in " + source + ", which only you can enter.\n" +
		string(body)
	return o, nil
}

// StartCommand starts the services under observation.
func StartCommand(file, out string) string {
	return "docker compose -f " + word(file) + " -f " + word(out) + " up -d"
}

// CheckCommand asks the recorder inside a container whether it reaches the collector.
func CheckCommand(file, out, service string) string {
	return "docker compose -f " + word(file) + " -f " + word(out) + " exec " + word(service) + " python -m _demarc.check"
}

// choose returns the services to put under observation.
func (c Compose) choose(op string, all composeFile) ([]string, error) {
	names := all.names()
	list := "its services: " + strings.Join(names, ", ")
	if len(names) == 0 {
		return nil, &fault.Error{Op: op, What: "cannot use " + c.File, Cause: errors.New("it has no services"), Expected: "a compose file", Retry: fault.RetryUseless}
	}
	var chosen []string
	for _, name := range c.Services {
		if !slices.Contains(names, name) {
			return nil, &fault.Error{Op: op, What: fmt.Sprintf("cannot find service %q in %s", name, c.File), Expected: list,
				Retry: fault.RetryUseless, Try: op + " --service " + word(names[0]), Code: fault.ExitUsage}
		}
		if !slices.Contains(chosen, name) {
			chosen = append(chosen, name)
		}
	}
	if len(chosen) > 0 {
		return chosen, nil
	}
	for _, name := range names {
		if all.services[name]["build"] != nil {
			chosen = append(chosen, name)
		}
	}
	if len(chosen) == 0 && len(names) == 1 {
		chosen = names
	}
	if len(chosen) == 0 {
		return nil, &fault.Error{Op: op, What: "cannot tell which service of " + c.File + " is yours", Cause: errors.New("none is built here"),
			Expected: "one or more of " + list, Retry: fault.RetryUseless, Try: op + " --service " + word(names[0]), Code: fault.ExitUsage}
	}
	return chosen, nil
}

// service returns what is set for one service.
func (c Compose) service(op string, all composeFile, name, source string, kit Kit) (yaml.MapSlice, []string, error) {
	before, notes, err := c.pythonPath(all, name)
	if err != nil {
		return nil, nil, &fault.Error{Op: op, What: fmt.Sprintf("cannot tell the PYTHONPATH of service %q", name), Cause: err,
			Expected: "a path that can be kept behind the recorder's", Retry: fault.RetryUseless,
			Try: op + " --pythonpath /app, with what the container has; '' for nothing"}
	}
	address := c.Address
	hosts := []string{"host.docker.internal:host-gateway"}
	switch mode, _ := all.services[name]["network_mode"].(string); {
	case mode == "host":
		address, hosts = strings.Replace(address, "host.docker.internal", "127.0.0.1", 1), nil
	case mode == "none":
		notes = append(notes, name+" has no network (network_mode: none): its recorder reaches no collector over TCP")
		hosts = nil
	case mode != "" && mode != "bridge":
		notes = append(notes, name+" uses the network of another container ("+mode+"), where host.docker.internal must be known: "+
			"put it into that service's extra_hosts")
		hosts = nil
	}
	if !strings.Contains(address, "host.docker.internal") {
		hosts = nil
	}
	config := ""
	if kit.HasConfig {
		config = configPath
	}
	env := yaml.MapSlice{}
	for _, v := range variables(join(bootPath, before), literal(address), tokenPath, keyPath, literal(name), config) {
		env = append(env, yaml.MapItem{Key: v.Name, Value: v.Value})
	}
	mounts := []any{}
	for _, m := range [][2]string{{"recorder", Base + "/recorder"}, {"token", tokenPath}, {"key", keyPath}} {
		mounts = append(mounts, yaml.MapSlice{
			{Key: "type", Value: "bind"}, {Key: "source", Value: literal(source + "/" + m[0])}, {Key: "target", Value: m[1]},
			{Key: "read_only", Value: true},
			// A missing file is an error, instead of an empty folder of root's in its place.
			{Key: "bind", Value: yaml.MapSlice{{Key: "create_host_path", Value: false}}},
		})
	}
	s := yaml.MapSlice{{Key: "environment", Value: env}, {Key: "volumes", Value: mounts}}
	if hosts != nil {
		s = append(s, yaml.MapItem{Key: "extra_hosts", Value: hosts})
	}
	return s, notes, nil
}

// pythonPath returns the PYTHONPATH that a service has, in the spelling of a compose file, by the precedence of Compose:
// environment, env_file, image.
func (c Compose) pythonPath(all composeFile, name string) (string, []string, error) {
	if c.PythonPath != "" {
		return literal(strings.TrimPrefix(c.PythonPath, none)), nil, nil
	}
	dir := filepath.Dir(c.File)
	chain, notes := all.chain(name)
	for _, s := range chain {
		if value, ok := composeVariable(s["environment"], "PYTHONPATH"); ok {
			return value, notes, nil
		}
	}
	for _, s := range chain {
		files := composeFiles(s["env_file"])
		for _, f := range slices.Backward(files) {
			value, err := envFilePath(within(dir, f))
			if err != nil || value != "" {
				return value, notes, err
			}
		}
	}
	for _, s := range chain {
		file, inline, ok := composeDockerfile(s["build"])
		if !ok {
			continue
		}
		if inline == "" {
			data, err := read(within(dir, file))
			if err != nil {
				return "", append(notes, fmt.Sprintf("%s could not be read (%v): if the image of %s sets PYTHONPATH, give it with --pythonpath",
					file, bare(err), name)), nil
			}
			inline = string(data)
		}
		value, err := dockerfilePath(inline)
		if err != nil {
			err = fmt.Errorf("%s: %w", file, err)
		}
		return literal(value), notes, err
	}
	return "", append(notes, "if the image of "+name+" sets PYTHONPATH, give it with --pythonpath, because the override replaces it"), nil
}

// none is put in front of a --pythonpath that may be empty, to tell it from one that was not given.
const none = "\x00"

// Given marks a value of --pythonpath as given, even if it is empty.
func Given(pythonPath string) string { return none + pythonPath }

// composeFile holds the services of a compose file, as they stand there.
type composeFile struct {
	services map[string]map[string]any
}

func (f composeFile) names() []string {
	var list []string
	for name := range f.services {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

// chain returns a service and those that it extends, itself first. What another file holds is not followed, but said.
func (f composeFile) chain(name string) (list []map[string]any, notes []string) {
	for range maxExtends {
		s := f.services[name]
		if s == nil {
			return list, notes
		}
		list = append(list, s)
		switch e := s["extends"].(type) {
		case string:
			name = e
		case map[string]any:
			if file, ok := e["file"].(string); ok {
				return list, append(notes, name+" extends a service of "+file+": if that sets PYTHONPATH, give it with --pythonpath")
			}
			name, _ = e["service"].(string)
		default:
			return list, notes
		}
	}
	return list, notes
}

// readCompose reads a compose file of at most MaxFile bytes.
func readCompose(op, path string) (composeFile, error) {
	fail := func(cause error, try string) (composeFile, error) {
		return composeFile{}, &fault.Error{Op: op, What: "cannot read " + path, Cause: cause,
			Expected: "a compose file", Retry: fault.RetryUseless, Try: try}
	}
	data, err := read(path)
	if errors.Is(err, os.ErrNotExist) {
		return fail(bare(err), op+" --file FILE")
	}
	if err != nil {
		return fail(bare(err), "")
	}
	var raw struct {
		Services map[string]map[string]any `yaml:"services"`
	}
	if err := yaml.Unmarshal(data, &raw); err != nil {
		return fail(errors.New(strings.TrimSpace(yaml.FormatError(err, false, true))), "")
	}
	for name, s := range raw.Services {
		if s == nil {
			raw.Services[name] = map[string]any{}
		}
	}
	return composeFile{raw.Services}, nil
}

// composeVariable finds a variable in the two forms of `environment`.
func composeVariable(v any, name string) (string, bool) {
	// A variable without a value is handed on from the shell that starts Compose, if it is set there.
	const handed = "${PYTHONPATH-}"
	switch env := v.(type) {
	case map[string]any:
		value, ok := env[name]
		if ok && value == nil {
			return handed, true
		}
		return fmt.Sprint(value), ok
	case []any:
		for _, item := range slices.Backward(env) {
			text := fmt.Sprint(item)
			if text == name {
				return handed, true
			}
			if value, ok := strings.CutPrefix(text, name+"="); ok {
				return value, true
			}
		}
	}
	return "", false
}

// composeFiles lists the paths of `env_file` in its three forms.
func composeFiles(v any) []string {
	switch f := v.(type) {
	case string:
		return []string{f}
	case []any:
		var list []string
		for _, item := range f {
			list = append(list, composeFiles(item)...)
		}
		return list
	case map[string]any:
		return composeFiles(f["path"])
	}
	return nil
}

// composeDockerfile returns the path of a service's Dockerfile, relative to the compose file, or its text.
func composeDockerfile(v any) (file, inline string, ok bool) {
	context, name := "", "Dockerfile"
	switch b := v.(type) {
	case string:
		context = b
	case map[string]any:
		context, _ = b["context"].(string)
		inline, _ = b["dockerfile_inline"].(string)
		inline = strings.ReplaceAll(inline, "$$", "$") // as Compose does
		if d, ok := b["dockerfile"].(string); ok {
			name = d
		}
	default:
		return "", "", false
	}
	if context == "" {
		context = "."
	}
	return within(context, name), inline, true
}

func within(dir, path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	return filepath.Join(dir, path)
}

// relative writes target as Compose resolves it: from the compose file's folder, beginning with ./ or ../.
func relative(dir, target string) (string, error) {
	from, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	to, err := filepath.Abs(target)
	if err != nil {
		return "", err
	}
	path, err := filepath.Rel(from, to)
	if err != nil {
		return "", err
	}
	path = filepath.ToSlash(path)
	if !strings.HasPrefix(path, "../") {
		path = "./" + path
	}
	return path, nil
}

package inject

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/fault"
)

// MaxConfigMap is the greatest size of a ConfigMap's data that the Kubernetes API takes, in bytes.
const MaxConfigMap = 1 << 20

// SecretName is the Secret that holds the token and the key.
const SecretName = "demarc"

// configMaps are the recorder's folders with the ConfigMap that holds each one's files. A ConfigMap is flat, so each folder
// has its own.
var configMaps = [][2]string{
	{"demarc-boot", "boot"}, {"demarc-recorder", "_demarc"}, {"demarc-hooks", "_demarc/hooks"},
}

// K8s is what is asked for one deployment.
type K8s struct {
	Deployment string
	Container  string // empty: the only one of Manifest, else the deployment's name
	Namespace  string // empty: the one that kubectl uses
	Address    string // of the collector, as pods reach it
	Manifest   string // file that holds the deployment; empty: none is read
	PythonPath string // what the container has; empty: read it from Manifest
}

// Patch is the file to write, and what to do with it.
type Patch struct {
	Text      string
	Container string
	Create    []string // commands that create what the patch refers to
	Apply     []string // commands, one of which is enough
	Remove    []string // commands that take everything out again
	Notes     []string
}

// Patch returns a strategic-merge patch of the deployment. out is the file's name as a person types it.
func (k K8s) Patch(op, out, collect, root string, kit Kit) (Patch, error) {
	p := Patch{Container: k.Container}
	before := strings.TrimPrefix(k.PythonPath, none)
	if k.Manifest != "" {
		d, err := readDeployment(op, k.Manifest, k.Deployment)
		if err != nil {
			return p, err
		}
		c, err := d.container(op, k.Manifest, k.Container)
		if err != nil {
			return p, err
		}
		p.Container = c.Name
		if k.PythonPath == "" {
			if before, err = c.pythonPath(); err != nil {
				return p, &fault.Error{Op: op, What: fmt.Sprintf("cannot keep the PYTHONPATH of container %q", c.Name), Cause: err,
					Expected: "a value in the manifest", Retry: fault.RetryUseless, Try: op + " --pythonpath PATH, with the value"}
			}
		}
	} else {
		if p.Container == "" {
			p.Container = k.Deployment
			p.Notes = append(p.Notes, "the container is taken to be named "+k.Deployment+"; --container says otherwise, --file lets demarc read it")
		}
	}
	if k.PythonPath == "" && before == "" {
		p.Notes = append(p.Notes, "if the image of "+p.Container+" sets PYTHONPATH, give it with --pythonpath, because the patch replaces it")
	}
	volume, err := projected(kit)
	if err != nil {
		return p, &fault.Error{Op: op, What: "cannot list the recorder in " + kit.Recorder(), Cause: bare(err), Retry: fault.RetrySafe}
	}
	config := ""
	if kit.HasConfig {
		config = configPath
	}
	env := []any{}
	for _, v := range variables(join(bootPath, before), k.Address, tokenPath, keyPath, k.Deployment, config) {
		env = append(env, yaml.MapSlice{{Key: "name", Value: v.Name}, {Key: "value", Value: v.Value}})
	}
	container := yaml.MapSlice{
		{Key: "name", Value: p.Container}, {Key: "env", Value: env},
		{Key: "volumeMounts", Value: []any{yaml.MapSlice{{Key: "name", Value: "demarc"}, {Key: "mountPath", Value: Base}, {Key: "readOnly", Value: true}}}},
	}
	meta := yaml.MapSlice{{Key: "name", Value: k.Deployment}}
	if k.Namespace != "" {
		meta = append(meta, yaml.MapItem{Key: "namespace", Value: k.Namespace})
	}
	one := func(key string, value any) yaml.MapSlice { return yaml.MapSlice{{Key: key, Value: value}} }
	body, err := yaml.MarshalWithOptions(yaml.MapSlice{
		{Key: "apiVersion", Value: "apps/v1"}, {Key: "kind", Value: "Deployment"}, {Key: "metadata", Value: meta},
		{Key: "spec", Value: one("template", one("spec", yaml.MapSlice{
			{Key: "containers", Value: []any{container}}, {Key: "volumes", Value: []any{volume}},
		}))},
	}, yaml.IndentSequence(true))
	if err != nil {
		return p, err
	}
	k.commands(&p, out, root, kit)
	p.Text = Mark + "k8s: puts demarc's recorder into container " + p.Container + " of deployment " + k.Deployment + ".\n" +
		"# Receive:  " + collect + "\n# Create:   " + strings.Join(p.Create, "\n#           ") +
		"\n# Apply:    " + strings.Join(p.Apply, "\n#       or  ") +
		"\n# Look:     kubectl" + k.space() + " exec deploy/" + k.Deployment + " -c " + p.Container + " -- python -m _demarc.check" +
		"\n# Take out: delete this file (and its line under patches), then\n#           " + strings.Join(p.Remove, "\n#           ") +
		"\n# Secrets are not in it: the token and the hashing key are in the Secret " + SecretName + ".\n" + string(body)
	return p, nil
}

// space is kubectl's option for the namespace.
func (k K8s) space() string {
	if k.Namespace == "" {
		return ""
	}
	return " -n " + k.Namespace
}

func (k K8s) commands(p *Patch, out, root string, kit Kit) {
	create := "kubectl" + k.space() + " create "
	for _, m := range configMaps {
		p.Create = append(p.Create, create+"configmap "+m[0]+" --from-file="+word(filepath.Join(kit.Recorder(), filepath.FromSlash(m[1]))))
	}
	if kit.HasConfig {
		p.Create = append(p.Create, create+"configmap demarc-config --from-file="+word(filepath.Join(kit.Recorder(), "config.json")))
	}
	p.Create = append(p.Create, create+"secret generic "+SecretName+
		" --from-file=token="+word(filepath.Join(root, "token"))+" --from-file=key="+word(filepath.Join(root, "key")))
	p.Apply = []string{
		"kubectl" + k.space() + " patch deployment " + k.Deployment + " --patch-file " + word(out),
		"patches: [{path: " + out + "}] in a kustomization.yaml, and kubectl apply -k",
	}
	names := "configmap/demarc-boot configmap/demarc-recorder configmap/demarc-hooks"
	if kit.HasConfig {
		names += " configmap/demarc-config"
	}
	p.Remove = []string{
		"kubectl" + k.space() + " rollout undo deployment/" + k.Deployment + "   (or, with kustomize, kubectl apply -k)",
		"kubectl" + k.space() + " delete " + names + " secret/" + SecretName,
	}
}

// projected is one read-only volume with the recorder's folders, the token and the key in their places.
func projected(kit Kit) (yaml.MapSlice, error) {
	sources := []any{}
	add := func(kind, name string, items []any) {
		sources = append(sources, yaml.MapSlice{{Key: kind, Value: yaml.MapSlice{{Key: "name", Value: name}, {Key: "items", Value: items}}}})
	}
	item := func(key, to string) any { return yaml.MapSlice{{Key: "key", Value: key}, {Key: "path", Value: to}} }
	for _, m := range configMaps {
		files, err := os.ReadDir(filepath.Join(kit.Recorder(), filepath.FromSlash(m[1])))
		if err != nil {
			return nil, err
		}
		items, size := []any{}, int64(0)
		for _, f := range files {
			if f.Type() != fs.ModeDir && strings.HasSuffix(f.Name(), ".py") {
				items = append(items, item(f.Name(), path.Join("recorder", m[1], f.Name())))
				if info, err := f.Info(); err == nil {
					size += info.Size()
				}
			}
		}
		if size > MaxConfigMap {
			return nil, fmt.Errorf("%s holds %d bytes, more than a ConfigMap takes", m[1], size)
		}
		add("configMap", m[0], items)
	}
	if kit.HasConfig {
		add("configMap", "demarc-config", []any{item("config.json", "recorder/config.json")})
	}
	add("secret", SecretName, []any{item("token", "token"), item("key", "key")})
	return yaml.MapSlice{{Key: "name", Value: "demarc"}, {Key: "projected", Value: yaml.MapSlice{
		// Read by whatever user the container runs as; nobody outside the pod sees it.
		{Key: "defaultMode", Value: 0o444}, {Key: "sources", Value: sources},
	}}}, nil
}

// deployment is the part of a manifest that is read.
type deployment struct {
	Kind     string
	Metadata struct{ Name string }
	Spec     struct {
		Template struct {
			Spec struct{ Containers []k8sContainer }
		}
	}
}

type k8sContainer struct {
	Name string
	Env  []struct {
		Name      string
		Value     string
		ValueFrom any `yaml:"valueFrom"`
	}
}

func (c k8sContainer) pythonPath() (string, error) {
	for _, v := range c.Env {
		if v.Name == "PYTHONPATH" {
			if v.ValueFrom != nil {
				return "", errors.New("it comes from elsewhere (valueFrom)")
			}
			return v.Value, nil
		}
	}
	return "", nil
}

func (d deployment) container(op, file, name string) (k8sContainer, error) {
	var names []string
	for _, c := range d.Spec.Template.Spec.Containers {
		if c.Name == name {
			return c, nil
		}
		names = append(names, c.Name)
	}
	if name == "" && len(names) == 1 {
		return d.Spec.Template.Spec.Containers[0], nil
	}
	f := &fault.Error{Op: op, What: fmt.Sprintf("cannot find container %q of deployment %q in %s", name, d.Metadata.Name, file),
		Expected: "one of its containers: " + strings.Join(names, ", "), Retry: fault.RetryUseless, Code: fault.ExitUsage}
	if name == "" {
		f.What = fmt.Sprintf("cannot tell which container of deployment %q in %s runs the service", d.Metadata.Name, file)
	}
	if len(names) > 0 {
		f.Try = op + " --deployment " + d.Metadata.Name + " --file " + word(file) + " --container " + names[0]
	}
	return k8sContainer{}, f
}

// readDeployment finds a deployment in a file of one or more documents.
func readDeployment(op, file, name string) (deployment, error) {
	fail := func(cause error) error {
		return &fault.Error{Op: op, What: "cannot read " + file, Cause: cause, Expected: "a Kubernetes manifest", Retry: fault.RetryUseless}
	}
	data, err := read(file)
	if err != nil {
		return deployment{}, fail(bare(err))
	}
	var names []string
	for _, doc := range strings.Split("\n"+strings.ReplaceAll(string(data), "\r\n", "\n"), "\n---") {
		var d deployment
		if err := yaml.Unmarshal([]byte(doc), &d); err != nil {
			return d, fail(errors.New(strings.TrimSpace(yaml.FormatError(err, false, true))))
		}
		if d.Kind != "Deployment" {
			continue
		}
		if d.Metadata.Name == name {
			return d, nil
		}
		names = append(names, d.Metadata.Name)
	}
	slices.Sort(names)
	f := &fault.Error{Op: op, What: fmt.Sprintf("cannot find deployment %q in %s", name, file),
		Expected: "one of its deployments: " + strings.Join(names, ", "), Retry: fault.RetryUseless, Code: fault.ExitUsage}
	if len(names) > 0 {
		f.Try = op + " --file " + word(file) + " --deployment " + names[0]
	}
	return deployment{}, f
}

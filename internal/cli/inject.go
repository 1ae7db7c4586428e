package cli

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/inject"
)

// injectFlags are what the forms of inject have in common.
type injectFlags struct {
	dir, config, output, address, pythonPath string
	force, json                              bool
}

func (f *injectFlags) add(cmd *cobra.Command, output, address string) {
	g := cmd.Flags()
	g.StringVar(&f.dir, "dir", capture.Root, "folder with the token and the hashing key, the --dir of demarc collect")
	g.StringVar(&f.config, "config", "", "configuration (default "+config.File+", if it is there)")
	g.StringVarP(&f.output, "output", "o", "", "file to write"+output)
	g.StringVar(&f.address, "address", address, "the collector, as the service reaches it: tcp:host:port or unix:/path")
	g.StringVar(&f.pythonPath, "pythonpath", "", "PYTHONPATH that the service has, where demarc cannot read it")
	g.BoolVar(&f.force, "force", false, "overwrite a file that demarc has not written")
	g.BoolVar(&f.json, "json", false, "print what was written as JSON (demarc.inject/1)")
}

// ready checks the flags and the output, and makes the folder with what a service needs.
func (f *injectFlags) ready(cmd *cobra.Command) (inject.Kit, config.Config, error) {
	var kit inject.Kit
	op := cmd.CommandPath()
	if err := inject.CheckAddress(f.address); err != nil {
		return kit, config.Config{}, usageError(cmd, fmt.Sprintf("--address %q: %v", f.address, err))
	}
	cfg, err := config.Load(op, f.config)
	if err != nil {
		return kit, cfg, err
	}
	if f.output != "" {
		if err := inject.CheckOutput(op, f.output, f.force); err != nil {
			return kit, cfg, err
		}
	}
	extra := inject.Extra{Functions: cfg.Observe.Functions}
	if *cfg.Security.Limits.MaxRate != *config.Defaults().Security.Limits.MaxRate {
		extra.MaxRate = cfg.Security.Limits.MaxRate
	}
	switch p := cfg.Observe.Principal; {
	case p.Header != "":
		extra.Principal = map[string]string{"header": p.Header}
	case p.Cookie != "":
		extra.Principal = map[string]string{"cookie": p.Cookie}
	}
	kit, err = inject.Prepare(op, f.dir, extra)
	return kit, cfg, err
}

// path is what --pythonpath says, told from its absence.
func (f *injectFlags) path(cmd *cobra.Command) string {
	if cmd.Flags().Changed("pythonpath") {
		return inject.Given(f.pythonPath)
	}
	return ""
}

// collect is the command that receives from address.
func (f *injectFlags) collect() string {
	dir := ""
	if f.dir != capture.Root {
		dir = " --dir " + shellWords([]string{f.dir})
	}
	address := f.address
	if kind, where, _ := strings.Cut(address, ":"); kind == "tcp" {
		if host, port, err := net.SplitHostPort(where); err == nil && host != "localhost" && !net.ParseIP(host).IsLoopback() {
			address = "tcp:0.0.0.0:" + port
		}
	}
	return "demarc collect" + dir + " --listen-recorder " + shellWords([]string{address})
}

// injected is what a form has done, for --json.
type injected struct {
	Schema    string            `json:"schema"` // demarc.inject/1
	Form      string            `json:"form"`   // compose, env, k8s
	File      string            `json:"file"`   // written; "" where it went to stdout
	Folder    string            `json:"folder"` // with the recorder, and copies of the token and the key
	Services  []string          `json:"services"`
	Address   string            `json:"address"`
	Variables []inject.Variable `json:"variables,omitempty"` // env only
	Steps     []injectStep      `json:"steps"`
	Notes     []string          `json:"notes"`
}

// injectStep is something to do, in this order: receive, create, start, look, take out.
type injectStep struct {
	Do      string `json:"do"`
	Command string `json:"command"`
}

// tell prints what was written, and the steps.
func (f *injectFlags) tell(cmd *cobra.Command, r injected) error {
	r.Schema, r.Address = "demarc.inject/1", f.address
	if r.Notes == nil {
		r.Notes = []string{}
	}
	if f.json {
		enc := json.NewEncoder(cmd.OutOrStdout())
		enc.SetEscapeHTML(false)
		return enc.Encode(r)
	}
	w := cmd.ErrOrStderr()
	if r.File != "" {
		fmt.Fprintf(w, "demarc: wrote %s (%s)\n", r.File, strings.Join(r.Services, ", "))
	}
	last := ""
	for _, s := range r.Steps {
		label := s.Do + ":"
		if s.Do == last {
			label = ""
		}
		last = s.Do
		fmt.Fprintf(w, "  %-9s %s\n", label, s.Command)
	}
	for _, n := range r.Notes {
		fmt.Fprintln(w, "  note:     "+n)
	}
	return nil
}

func newInjectCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "inject",
		Short:   "Put the recorder into a container, by one file that is deleted to take it out",
		GroupID: groupMore,
		Long: "Writes one file that puts demarc's recorder into a service that something else starts. demarc collect receives what\n" +
			"it sees. Nothing is installed into the image, and no secret is written into the file. docs/containers.md tells more.",
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				return usageError(cmd, fmt.Sprintf("%q is neither compose, env nor k8s", args[0]))
			}
			return nil
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(newInjectComposeCommand(), newInjectEnvCommand(), newInjectK8sCommand())
	return cmd
}

// composeNames are the names that Compose looks for, in its order.
var composeNames = []string{"compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"}

func newInjectComposeCommand() *cobra.Command {
	f := &injectFlags{}
	var c inject.Compose
	cmd := &cobra.Command{
		Use:     "compose",
		Short:   "Write an override file for Docker Compose",
		Example: "  demarc inject compose\n  demarc inject compose --file deploy/compose.yaml --service web --service worker",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op := cmd.CommandPath()
			for _, name := range composeNames {
				if _, err := os.Stat(name); c.File == "" && err == nil {
					c.File = name
				}
			}
			if c.File == "" {
				c.File = composeNames[0]
			}
			if f.output == "" {
				f.output = filepath.Join(filepath.Dir(c.File), "compose.demarc.yaml")
			}
			c.Address, c.PythonPath = f.address, f.path(cmd)
			kit, _, err := f.ready(cmd)
			if err != nil {
				return err
			}
			o, err := c.Override(op, f.output, f.collect(), kit)
			if err != nil {
				return err
			}
			if err := inject.Write(op, f.output, o.Text); err != nil {
				return err
			}
			if len(o.Others) > 0 {
				o.Notes = append(o.Notes, "not in it: "+strings.Join(o.Others, ", ")+" (--service NAME adds one)")
			}
			return f.tell(cmd, injected{Form: "compose", File: f.output, Folder: kit.Dir, Services: o.Services, Notes: o.Notes, Steps: []injectStep{
				{"receive", f.collect()},
				{"start", inject.StartCommand(c.File, f.output)},
				{"look", "demarc doctor"},
				{"look", inject.CheckCommand(c.File, f.output, o.Services[0])},
				{"take out", "rm " + shellWords([]string{f.output}) + ", and start without it"},
			}})
		},
	}
	cmd.Flags().StringVar(&c.File, "file", "", "compose file (default: the one that Compose finds here)")
	cmd.Flags().StringArrayVar(&c.Services, "service", nil, "service to put under observation; may be given again (default: those with build:)")
	f.add(cmd, " (default compose.demarc.yaml beside the compose file)", "tcp:host.docker.internal:7172")
	return cmd
}

func newInjectEnvCommand() *cobra.Command {
	f := &injectFlags{}
	var e inject.Env
	cmd := &cobra.Command{
		Use:     "env",
		Short:   "Print variables for a shell or systemd",
		Example: "  eval \"$(demarc inject env)\"\n  demarc inject env --systemd --address unix:/run/shop/demarc -o /etc/shop/demarc.env",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op := cmd.CommandPath()
			kit, cfg, err := f.ready(cmd)
			if err != nil {
				return err
			}
			e.Address, e.PythonPath = f.address, f.pythonPath
			if e.Service == "" {
				e.Service = cfg.Service
			}
			if wd, err := os.Getwd(); err == nil && e.Service == "" {
				e.Service = filepath.Base(wd)
			}
			list, err := e.Variables(f.dir, kit)
			if err != nil {
				return err
			}
			text := e.Text(list, f.collect())
			if f.output != "" {
				err = inject.Write(op, f.output, text)
			} else if !f.json {
				_, err = fmt.Fprint(cmd.OutOrStdout(), text)
			}
			if err != nil {
				return err
			}
			takeOut := "start the service in a new shell"
			if e.Systemd {
				takeOut = "delete the file, and restart the unit"
			}
			return f.tell(cmd, injected{Form: "env", File: f.output, Folder: kit.Dir, Services: []string{e.Service}, Variables: list, Steps: []injectStep{
				{"receive", f.collect()}, {"look", "demarc doctor"}, {"look", "python -m _demarc.check, with these variables set"}, {"take out", takeOut},
			}})
		},
	}
	cmd.Flags().StringVar(&e.Service, "service", "", "name of the service (default: that of the configuration, else the folder's)")
	cmd.Flags().BoolVar(&e.Systemd, "systemd", false, "in the form of systemd's EnvironmentFile")
	f.add(cmd, " (default: standard output)", "tcp:127.0.0.1:7172")
	return cmd
}

func newInjectK8sCommand() *cobra.Command {
	f := &injectFlags{}
	var k inject.K8s
	cmd := &cobra.Command{
		Use:     "k8s --deployment NAME",
		Short:   "Write a patch for a Kubernetes deployment",
		Example: "  demarc inject k8s --deployment shop --file k8s/shop.yaml\n  demarc inject k8s --deployment shop --container web -n staging",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			op := cmd.CommandPath()
			for flag, value := range map[string]string{"deployment": k.Deployment, "container": k.Container, "namespace": k.Namespace} {
				if strings.Trim(value, "abcdefghijklmnopqrstuvwxyz0123456789-.") != "" || value == "" && flag == "deployment" {
					return usageError(cmd, fmt.Sprintf("--%s %q: a name of lower-case letters, digits, '-' and '.' was expected", flag, value))
				}
			}
			if f.output == "" {
				f.output = k.Deployment + ".demarc.yaml"
			}
			k.Address, k.PythonPath = f.address, f.path(cmd)
			kit, _, err := f.ready(cmd)
			if err != nil {
				return err
			}
			p, err := k.Patch(op, f.output, f.collect(), f.dir, kit)
			if err != nil {
				return err
			}
			if err := inject.Write(op, f.output, p.Text); err != nil {
				return err
			}
			steps := []injectStep{{"receive", f.collect() + "   (in the cluster: docs/containers.md)"}}
			for _, s := range []struct {
				do       string
				commands []string
			}{{"create", p.Create}, {"start", p.Apply}, {"take out", p.Remove}} {
				for _, c := range s.commands {
					steps = append(steps, injectStep{s.do, c})
				}
			}
			return f.tell(cmd, injected{Form: "k8s", File: f.output, Folder: kit.Dir, Services: []string{k.Deployment + "/" + p.Container},
				Notes: p.Notes, Steps: steps})
		},
	}
	g := cmd.Flags()
	g.StringVar(&k.Deployment, "deployment", "", "name of the deployment")
	g.StringVar(&k.Container, "container", "", "container that runs the service (default: the only one of --file, else the deployment's name)")
	g.StringVarP(&k.Namespace, "namespace", "n", "", "namespace (default: kubectl's)")
	g.StringVar(&k.Manifest, "file", "", "manifest that holds the deployment, read for its containers and their PYTHONPATH")
	f.add(cmd, " (default DEPLOYMENT.demarc.yaml)", "tcp:demarc:7172")
	return cmd
}

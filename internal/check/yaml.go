package check

import (
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/token"

	"github.com/demarc-dev/demarc/internal/command"
)

// List is a list of checks as it stands in YAML: lines, and maps with run: or health: where more is to be said.
type List []Check

// UnmarshalYAML reads a list. Errors show the line and the place in it.
func (l *List) UnmarshalYAML(node ast.Node) error {
	switch n := node.(type) {
	case *ast.NullNode:
		*l = nil
		return nil
	case *ast.SequenceNode:
		if len(n.Values) > MaxChecks {
			return failedAt(node, 0, fmt.Sprintf("%d checks, at most %d are read", len(n.Values), MaxChecks))
		}
		list := make(List, len(n.Values))
		for i, v := range n.Values {
			if err := list[i].UnmarshalYAML(v); err != nil {
				return err
			}
		}
		*l = list
		return nil
	}
	return failedAt(node, 0, "a list of checks was expected")
}

// long is the form of a check with more than one line can say.
type long struct {
	Name    string            `yaml:"name,omitempty"`
	Run     string            `yaml:"run,omitempty"`
	Health  string            `yaml:"health,omitempty"`
	Check   string            `yaml:"check,omitempty"`
	Timeout string            `yaml:"timeout,omitempty"`
	Dir     string            `yaml:"dir,omitempty"`
	Env     map[string]string `yaml:"env,omitempty"`
	Pass    []string          `yaml:"pass,omitempty"`
	Secrets map[string]string `yaml:"secrets,omitempty"`
	Status  int               `yaml:"status,omitempty"`
}

// UnmarshalYAML reads one check: a line or a map.
func (c *Check) UnmarshalYAML(node ast.Node) error {
	for {
		switch n := node.(type) {
		case *ast.AnchorNode:
			node = n.Value
			continue
		case *ast.TagNode:
			node = n.Value
			continue
		}
		break
	}
	switch node.(type) {
	case *ast.MappingNode, *ast.MappingValueNode:
		return c.readMap(node)
	case *ast.StringNode, *ast.LiteralNode:
	default:
		return failedAt(node, 0, `a check was expected, such as p95_ms of "GET /articles" < 300, or a map with run: or health:`)
	}
	var line string
	if err := yaml.NodeToValue(node, &line); err != nil {
		return err
	}
	parsed, err := Parse(line)
	if err != nil {
		var se *SyntaxError
		if errors.As(err, &se) {
			return failedAt(node, se.Offset, se.Text)
		}
		return failedAt(node, 0, err.Error())
	}
	*c = parsed
	c.place(node)
	return nil
}

func (c *Check) place(node ast.Node) {
	if t := node.GetToken(); t != nil && t.Position != nil {
		c.Line, c.Column = t.Position.Line, t.Position.Column
	}
}

func (c *Check) readMap(node ast.Node) error {
	var l long
	if err := yaml.NodeToValue(node, &l, yaml.Strict()); err != nil {
		return err
	}
	fields := map[string]ast.Node{} // value by name, for the place of an error
	switch n := node.(type) {
	case *ast.MappingNode:
		for _, v := range n.Values {
			fields[v.Key.String()] = v.Value
		}
	case *ast.MappingValueNode:
		fields[n.Key.String()] = n.Value
	}
	at := func(name string) ast.Node {
		if v := fields[name]; v != nil {
			return v
		}
		return node
	}
	kinds := 0
	for _, s := range []string{l.Run, l.Health, l.Check} {
		if s != "" {
			kinds++
		}
	}
	if kinds != 1 {
		return failedAt(node, 0, "exactly one of run:, health: and check: was expected")
	}
	out := Check{
		Kind: Command, Name: l.Name, Run: strings.TrimSpace(l.Run), Dir: l.Dir, Env: l.Env, Pass: l.Pass, Secrets: l.Secrets,
		URL: l.Health, Status: l.Status,
	}
	switch {
	case l.Check != "":
		line := at("check")
		if err := out.UnmarshalYAML(line); err != nil {
			return err
		}
		out.Name = l.Name
	case l.Health != "":
		out.Kind = Health
	}
	for name, wrong := range map[string]bool{
		"timeout": l.Timeout != "" && out.Kind == Figure,
		"dir":     l.Dir != "" && out.Kind != Command,
		"env":     l.Env != nil && out.Kind != Command,
		"pass":    l.Pass != nil && out.Kind != Command,
		"secrets": l.Secrets != nil && out.Kind != Command,
		"status":  l.Status != 0 && out.Kind != Health,
	} {
		if wrong {
			return failedAt(at(name), 0, name+" does not belong to a check of this kind")
		}
	}
	if l.Timeout != "" {
		d, err := time.ParseDuration(l.Timeout)
		if err != nil || d <= 0 || d > command.MaxTimeout {
			return failedAt(at("timeout"), 0, fmt.Sprintf("a length of time such as 90s or 15m, at most %s, was expected", command.MaxTimeout))
		}
		out.Timeout = d
	}
	if err := out.valid(); err != nil {
		for _, name := range []string{"run", "health", "secrets", "env", "pass", "status", "name"} {
			if strings.HasPrefix(err.Error(), name+":") {
				return failedAt(at(name), 0, err.Error())
			}
		}
		return failedAt(node, 0, err.Error())
	}
	out.place(node)
	*c = out
	return nil
}

// MarshalYAML writes a line where one says it all, else a map.
func (c Check) MarshalYAML() (any, error) {
	l := long{Name: c.Name, Run: c.Run, Health: c.URL, Dir: c.Dir, Env: c.Env, Pass: c.Pass, Secrets: c.Secrets, Status: c.Status}
	if c.Timeout != 0 {
		l.Timeout = c.Timeout.String()
	}
	if c.Kind == Figure {
		l.Check = c.String()
		if c.Name == "" {
			return l.Check, nil
		}
	}
	return l, nil
}

// failedAt is an error that YAML's printer shows at a node, offset bytes into its text where that stands on one line.
func failedAt(node ast.Node, offset int, text string) error {
	t := node.GetToken()
	if t == nil || t.Position == nil {
		return errors.New(text)
	}
	moved := *t
	switch t.Type {
	case token.DoubleQuoteType, token.SingleQuoteType:
		offset++
	}
	if offset > 0 && !strings.Contains(strings.TrimSpace(t.Origin), "\n") {
		position := *t.Position
		position.Column += offset
		position.Offset += offset
		moved.Position = &position
	}
	return &yaml.SyntaxError{Message: "checks: " + text, Token: &moved}
}

var variable = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// valid checks commands and health questions.
func (c Check) valid() error {
	if len(c.Name) > 200 || strings.ContainsAny(c.Name, "\n\x00") {
		return errors.New("name: one line of at most 200 bytes was expected")
	}
	switch c.Kind {
	case Command:
		if strings.TrimSpace(c.Run) == "" || len(c.Run) > command.MaxLine || strings.ContainsRune(c.Run, 0) {
			return fmt.Errorf("run: a command of at most %d bytes was expected", command.MaxLine)
		}
		for name := range c.Env {
			if !variable.MatchString(name) {
				return fmt.Errorf("env: %q is not the name of a variable", name)
			}
		}
		for _, name := range c.Pass {
			if !variable.MatchString(name) {
				return fmt.Errorf("pass: %q is not the name of a variable", name)
			}
		}
		for name, ref := range c.Secrets {
			kind, where, _ := strings.Cut(ref, ":")
			if !variable.MatchString(name) || where == "" || !slices.Contains([]string{"env", "file"}, kind) {
				return fmt.Errorf("secrets: env:NAME or file:PATH was expected for %s; a secret itself does not belong here", name)
			}
		}
	case Health:
		u, err := url.Parse(c.URL)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || len(c.URL) > 2000 {
			return errors.New("health: an address such as http://127.0.0.1:8000/health was expected")
		}
		if u.User != nil {
			return errors.New("health: a user and password do not belong into an address; a check with run: can ask with a secret")
		}
		if c.Status != 0 && (c.Status < 100 || c.Status > 599) {
			return errors.New("status: a status from 100 to 599 was expected")
		}
	}
	return nil
}

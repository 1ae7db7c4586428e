package change

import (
	"fmt"
	"io"
	"strings"
)

// runbookStep is one step of a change as a runbook and a makefile have it.
type runbookStep struct {
	target, title string
	command       *Command
}

// runbook returns the steps of a change on an environment, in the order in which they are done; those without a command are
// left out. Rollback comes last, and is no part of the way forward.
func (r *Record) runbook(environment string) []runbookStep {
	titles := map[string]string{
		"backup": "Make a backup", "restore": "Restore it into a scratch target", "deploy": "Deploy",
		"health": "See that the service is healthy", "verify": "Verify", "rollback": "Take it back",
	}
	var steps []runbookStep
	for _, name := range CommandNames {
		if c := r.Command(environment, name); c != nil {
			steps = append(steps, runbookStep{target: name, title: titles[name], command: c})
		}
	}
	return steps
}

// Runbook writes the commands of a record as Markdown, for a person on a machine without demarc.
func (r *Record) Runbook(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# Runbook: %s\n\n", mdText(r.Topic))
	fmt.Fprintf(&b, "From the change record `%s`", r.Path())
	if r.Owner != "" {
		fmt.Fprintf(&b, ", owner %s", mdText(r.Owner))
	}
	b.WriteString(". With demarc at hand, `demarc change rehearse` and `demarc change ship` do the same and keep the result.\n")
	paragraph := func(title, text string) {
		if strings.TrimSpace(text) != "" {
			fmt.Fprintf(&b, "\n%s: %s\n", title, strings.TrimSpace(text))
		}
	}
	paragraph("What is changed", r.Change)
	paragraph("Why", r.Reason)
	for _, environment := range []string{"staging", "production"} {
		fmt.Fprintf(&b, "\n## On %s\n", environment)
		if list := r.own(environment); len(list) > 0 {
			b.WriteString("\nThe commands use variables that demarc sets; here they are set by hand:\n")
			var lines []string
			for _, v := range list {
				value := quoteLine(v[1])
				if v[0] == "DEMARC_BACKUP" || v[0] == "DEMARC_SCRATCH" {
					value = `"$PWD"/` + value
				}
				if lines = append(lines, "export "+v[0]+"="+value); v[0] == "DEMARC_SCRATCH" {
					lines = append(lines, `mkdir -p "$DEMARC_SCRATCH"`)
				}
			}
			b.WriteString(fenced("sh", strings.Join(lines, "\n")))
		}
		n := 0
		var rollback *runbookStep
		steps := r.runbook(environment)
		for i := range steps {
			if steps[i].target == "rollback" {
				rollback = &steps[i]
				continue
			}
			if steps[i].target == "restore" && environment == "production" {
				continue // only into a scratch target, which is tried on staging
			}
			n++
			fmt.Fprintf(&b, "\n%d. %s%s\n", n, steps[i].title, steps[i].needs())
			b.WriteString(fenced("sh", steps[i].command.Run))
		}
		if n == 0 {
			b.WriteString("\nThe record names no commands.\n")
		}
		if lines := r.ExpectedLines(); len(lines) > 0 {
			fmt.Fprintf(&b, "\nWhat must hold then:\n\n")
			for _, l := range lines {
				fmt.Fprintf(&b, "- %s\n", code(l))
			}
		}
		if rollback == nil {
			b.WriteString("\nIf it does not hold: **the record names no command that takes it back.**\n")
			continue
		}
		fmt.Fprintf(&b, "\nIf it does not hold, take it back%s:\n", rollback.needs())
		b.WriteString(fenced("sh", rollback.command.Run))
	}
	paragraph("After a rollback", r.Rollback)
	if len(r.Config) > 0 {
		b.WriteString("\n## What must be equal on staging and production\n\n")
		for _, c := range r.Config {
			fmt.Fprintf(&b, "- %s\n", c.String())
		}
	}
	if len(r.Checklist) > 0 {
		b.WriteString("\n## Checklist\n\n")
		for _, i := range r.Checklist {
			how := ""
			switch {
			case i.Run != nil:
				how = ": " + code(firstLine(i.Run.Run))
			case i.Step != "":
				how = ": " + i.Step
			}
			fmt.Fprintf(&b, "- [ ] %s%s\n", mdText(i.Item), how)
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// needs says what a step asks of the shell that it is run in.
func (s *runbookStep) needs() string {
	var parts []string
	c := s.command
	if c.Dir != "" {
		parts = append(parts, "in "+code(c.Dir))
	}
	for _, k := range sortedKeys(c.Env) {
		parts = append(parts, "with "+code(k+"="+ShellQuote(c.Env[k])))
	}
	for _, p := range c.Pass {
		parts = append(parts, "with "+code(p)+" as it is set")
	}
	for _, k := range sortedKeys(c.Secrets) {
		parts = append(parts, "with "+code(k)+" from "+code(c.Secrets[k]))
	}
	if c.Timeout != "" {
		parts = append(parts, "within "+c.Timeout)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// String names what must be equal.
func (c ConfigItem) String() string {
	var text string
	switch {
	case c.File != "":
		text = "the file " + code(c.File)
	case c.Env != "":
		text = "the variable " + code(c.Env)
	case c.Command != "":
		text = "what " + code(c.Command) + " prints"
	default:
		text = "Redis: " + code(c.Redis)
	}
	if c.Secret {
		text += " (a secret: compared by keyed hash)"
	}
	return text
}

// Makefile writes the commands of a record as targets of GNU make for an environment, production where none is said
// (make deploy ENVIRONMENT=staging). The shell gets every command as it stands in the record, and make -n shows it.
func (r *Record) Makefile(w io.Writer) error {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n# From the change record %s, by demarc change show --make.\n#\n", r.Topic, r.Path())
	b.WriteString("#   make -f FILE change                       backup, deploy, health and verify on production\n" +
		"#   make -f FILE change ENVIRONMENT=staging\n#   make -f FILE rollback                     take it back\n\n")
	b.WriteString("ENVIRONMENT ?= production\nifeq ($(filter $(ENVIRONMENT),staging production),)\n$(error ENVIRONMENT is staging or production)\nendif\n" +
		"SHELL := /bin/sh\n" + r.makeVariables() + ".NOTPARALLEL:\n.PHONY: help change checklist " + strings.Join(CommandNames, " ") + "\n\n" +
		"help:\n\t@echo 'targets: change " + strings.Join(CommandNames, " ") + " checklist'\n\n")
	for _, environment := range []string{"staging", "production"} {
		fmt.Fprintf(&b, "ifeq ($(ENVIRONMENT),%s)\n\n", environment)
		// One after the other, each as a make of its own: prerequisites could be run in any order.
		b.WriteString("change:\n")
		forward := 0
		for _, name := range CommandNames {
			if r.Command(environment, name) != nil && name != "restore" && name != "rollback" {
				fmt.Fprintf(&b, "\t@$(MAKE) --no-print-directory -f $(firstword $(MAKEFILE_LIST)) ENVIRONMENT=%s %s\n", environment, name)
				forward++
			}
		}
		if forward == 0 {
			fmt.Fprintf(&b, "\t@echo 'the record has no commands for %s' >&2; exit 1\n", environment)
		}
		for _, name := range CommandNames {
			fmt.Fprintf(&b, "\n%s:\n", name)
			if c := r.Command(environment, name); c != nil {
				if name == "restore" && r.mentions(environment, "DEMARC_SCRATCH") {
					b.WriteString("\t@mkdir -p \"$$DEMARC_SCRATCH\"\n")
				}
				fmt.Fprintf(&b, "\t%s\n", strings.ReplaceAll(shellLine(c), "$", "$$"))
			} else {
				fmt.Fprintf(&b, "\t@echo 'the record has no %s command for %s' >&2; exit 1\n", name, environment)
			}
		}
		b.WriteString("\nendif\n")
	}
	b.WriteString("\nchecklist:\n")
	for _, i := range r.Checklist {
		text := i.Item
		if i.Run != nil {
			text += ": " + firstLine(i.Run.Run)
		}
		fmt.Fprintf(&b, "\t@echo %s\n", strings.ReplaceAll(quoteLine("[ ] "+text), "$", "$$"))
	}
	if len(r.Checklist) == 0 {
		b.WriteString("\t@echo 'the record has no checklist'\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// ownVariables are the variables that demarc gives to a record's commands, with what stands for them elsewhere.
var ownVariables = []struct{ name, value string }{
	{"DEMARC_BACKUP", "backup-of-ENVIRONMENT"}, {"DEMARC_SCRATCH", "scratch"}, {"DEMARC_SCRATCH_NAME", "demarc_scratch"},
	{"DEMARC_ENVIRONMENT", "ENVIRONMENT"}, {"DEMARC_CHANGE", "NAME"}, {"DEMARC_RUN", "by-hand"}, {"DEMARC_URL", "URL"},
}

// mentions says whether a command of an environment uses a variable.
func (r *Record) mentions(environment, variable string) bool {
	for _, name := range CommandNames {
		if c := r.Command(environment, name); c != nil && strings.Contains(c.Run+c.Artifact, variable) {
			return true
		}
	}
	return false
}

// own returns the variables of demarc that the commands of an environment use, with values.
func (r *Record) own(environment string) [][2]string {
	var list [][2]string
	url := ""
	if e := r.Environments.Get(environment); e != nil {
		url = e.URL
	}
	values := strings.NewReplacer("ENVIRONMENT", environment, "NAME", r.Name(), "URL", url)
	for _, v := range ownVariables {
		if r.mentions(environment, v.name) {
			list = append(list, [2]string{v.name, values.Replace(v.value)})
		}
	}
	return list
}

// makeVariables writes the variables of demarc that the commands use for make; paths are below the current folder.
func (r *Record) makeVariables() string {
	var b strings.Builder
	for _, environment := range []string{"staging", "production"} {
		list := r.own(environment)
		if len(list) == 0 {
			continue
		}
		fmt.Fprintf(&b, "ifeq ($(ENVIRONMENT),%s)\n", environment)
		for _, v := range list {
			value := strings.ReplaceAll(strings.ReplaceAll(v[1], "$", "$$"), "#", `\#`)
			if v[0] == "DEMARC_BACKUP" || v[0] == "DEMARC_SCRATCH" {
				value = "$(CURDIR)/" + value
			}
			fmt.Fprintf(&b, "export %s ?= %s\n", v[0], value)
		}
		b.WriteString("endif\n")
	}
	return b.String()
}

// shellLine writes a command, with its variables and its folder, as one line of the shell.
func shellLine(c *Command) string {
	var parts []string
	if c.Dir != "" {
		parts = append(parts, "cd "+quoteLine(c.Dir)+" || exit 1")
	}
	for _, k := range sortedKeys(c.Env) {
		parts = append(parts, "export "+k+"="+quoteLine(c.Env[k]))
	}
	for _, k := range sortedKeys(c.Secrets) {
		kind, where, _ := strings.Cut(c.Secrets[k], ":")
		if kind == "env" {
			parts = append(parts, fmt.Sprintf(`%s="${%s:?is a secret that is not set}"; export %s`, k, where, k))
		} else {
			parts = append(parts, fmt.Sprintf(`%s="$(cat %s)" || exit 1; export %s`, k, quoteLine(where), k))
		}
	}
	run := strings.TrimSpace(c.Run)
	if strings.Contains(run, "\n") || strings.HasSuffix(run, "\\") || len(parts) == 0 && strings.ContainsAny(run[:1], "@+-") {
		run = `eval "$(printf '%s\n'` // one line for make, several for the shell
		for line := range strings.SplitSeq(strings.TrimSpace(c.Run), "\n") {
			run += " " + quoteLine(line)
		}
		run += `)"`
	}
	return strings.Join(append(parts, run), "; ")
}

// quoteLine quotes a text for the shell, on one line, whether or not it must be.
func quoteLine(s string) string {
	if strings.Contains(s, "\n") {
		return `"$(printf '%b' ` + quoteLine(strings.NewReplacer(`\`, `\\`, "\n", `\n`).Replace(s)) + `)"`
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}

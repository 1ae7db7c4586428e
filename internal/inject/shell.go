package inject

import (
	"errors"
	"path/filepath"
	"strings"
)

// Env is what is asked for a service that a shell or systemd starts on this machine.
type Env struct {
	Address    string // of the collector
	Service    string // name of the service
	PythonPath string // put behind the recorder's folder; in a shell, what is set there comes behind it
	Systemd    bool   // as an EnvironmentFile of systemd; else for a shell
}

// Variables returns what is set. root is the folder that holds the token and the key, which are read where they lie: the
// service must run as the user who owns them.
func (e Env) Variables(root string, kit Kit) ([]Variable, error) {
	root, err := filepath.Abs(root)
	if err != nil {
		return nil, err
	}
	recorder, err := filepath.Abs(kit.Recorder())
	if err != nil {
		return nil, err
	}
	if strings.ContainsRune(recorder, ':') {
		return nil, errors.New("the folder " + recorder + " has a colon in its name, which separates folders in PYTHONPATH")
	}
	config := ""
	if kit.HasConfig {
		config = filepath.Join(recorder, "config.json")
	}
	return variables(join(filepath.Join(recorder, "boot"), e.PythonPath), e.Address, filepath.Join(root, "token"), filepath.Join(root, "key"),
		e.Service, config), nil
}

// Text returns the file. collect is the command that receives.
func (e Env) Text(list []Variable, collect string) string {
	var b strings.Builder
	b.WriteString(Mark + "env: puts demarc's recorder into a Python service.\n# Receive:  " + collect + "\n")
	if e.Systemd {
		b.WriteString("# Use:      EnvironmentFile=-/path/of/this/file in the unit's [Service], then systemctl daemon-reload and restart;\n" +
			"#           the unit's User= must be the owner of the two files named below.\n" +
			"# Take out: delete this file and restart the unit.\n")
	} else {
		b.WriteString("# Use:      . FILE, then the command that starts the service, in the same shell, as the owner of the two files\n" +
			"#           named below.\n" +
			"# Take out: a new shell; or unset")
		for _, v := range list[1:] {
			b.WriteString(" " + v.Name)
		}
		b.WriteString(", and take the recorder's folder off PYTHONPATH.\n")
	}
	b.WriteString("# Look:     python -m _demarc.check, with these variables set\n")
	for _, v := range list {
		switch {
		case e.Systemd:
			b.WriteString(v.Name + "=" + systemdQuoted(v.Value) + "\n")
		case v.Name == "PYTHONPATH":
			b.WriteString("export PYTHONPATH=" + quoted(v.Value) + `"${PYTHONPATH:+:$PYTHONPATH}"` + "\n")
		default:
			b.WriteString("export " + v.Name + "=" + quoted(v.Value) + "\n")
		}
	}
	return b.String()
}

// quoted writes a text as one word of a shell.
func quoted(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// word is quoted, where it must be.
func word(s string) string {
	if s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_./:=,@%+") == "" {
		return s
	}
	return quoted(s)
}

// systemdQuoted writes a text as systemd's EnvironmentFile= reads it: in double quotes, where backslash escapes.
func systemdQuoted(s string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "`", "\\`", `$`, `\$`).Replace(s) + `"`
}

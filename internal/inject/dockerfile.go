package inject

import (
	"errors"
	"maps"
	"os"
	"regexp"
	"strings"
)

// A variable that a Dockerfile or an env file mentions.
var mention = regexp.MustCompile(`\\\$|\$\{([A-Za-z_]\w*)(?:(:?[-+])([^}]*))?\}|\$([A-Za-z_]\w*)`)

// dockerfilePath returns the PYTHONPATH that a Dockerfile sets, "" where it sets none. The last one in the file is taken:
// a stage that is not part of the image could only add a folder that is not there. An error says that it is set to
// something that cannot be known from the file.
func dockerfilePath(text string) (string, error) {
	text = regexp.MustCompile(`(?m)^[ \t]*#.*\n?`).ReplaceAllString(text, "") // comments, also between continued lines
	text = regexp.MustCompile(`\\[ \t]*\r?\n`).ReplaceAllString(text, " ")
	known := map[string]string{}
	unknown := ""
	for line := range strings.Lines(text) {
		word, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		rest = strings.TrimSpace(rest)
		switch strings.ToUpper(word) {
		case "ARG":
			for _, v := range assignments(rest) {
				known[v.Name], _ = expand(v.Value, known)
			}
		case "ENV":
			list := assignments(rest)
			if name, value, ok := strings.Cut(rest, " "); ok && !strings.Contains(name, "=") {
				list = []Variable{{name, strings.TrimSpace(value)}} // the old form: ENV NAME VALUE
			}
			before := maps.Clone(known) // within one instruction, variables have the values from before it
			for _, v := range list {
				var missing string
				known[v.Name], missing = expand(v.Value, before)
				if v.Name == "PYTHONPATH" {
					unknown = missing
				}
			}
		}
	}
	if unknown != "" {
		return "", errors.New("it sets PYTHONPATH from $" + unknown + ", which it does not set")
	}
	return strings.Trim(known["PYTHONPATH"], ":"), nil
}

// assignments reads NAME=VALUE words, as ENV and ARG take them: separated by blanks, values in quotes or with escaped
// blanks.
func assignments(s string) []Variable {
	var list []Variable
	var word strings.Builder
	var quote rune
	escaped := false
	end := func() {
		if name, value, ok := strings.Cut(word.String(), "="); ok {
			list = append(list, Variable{name, value})
		}
		word.Reset()
	}
	for _, c := range s {
		switch {
		case escaped:
			if c == '$' {
				word.WriteRune('\\') // expand takes it off
			}
			word.WriteRune(c)
			escaped = false
		case c == '\\' && quote != '\'':
			escaped = true
		case quote != 0:
			if c == quote {
				quote = 0
			} else {
				word.WriteRune(c)
			}
		case c == '"' || c == '\'':
			quote = c
		case c == ' ' || c == '\t':
			end()
		default:
			word.WriteRune(c)
		}
	}
	end()
	return list
}

// expand puts known variables in the place of their mention. missing is one that is not known and has no default.
// PYTHONPATH itself is known: empty, until it is set.
func expand(s string, known map[string]string) (text, missing string) {
	text = mention.ReplaceAllStringFunc(s, func(m string) string {
		if m == `\$` {
			return "$"
		}
		parts := mention.FindStringSubmatch(m)
		name, op, word := parts[1]+parts[4], parts[2], parts[3]
		value, ok := known[name]
		switch {
		case strings.HasSuffix(op, "+"):
			if ok && value != "" {
				return word
			}
			return ""
		case ok && value != "":
			return value
		case strings.HasSuffix(op, "-"):
			return word
		case name != "PYTHONPATH" && !ok:
			missing = name
		}
		return value
	})
	return text, missing
}

// envFilePath returns the PYTHONPATH that an env file of Compose sets, as Compose would write it in `environment`.
func envFilePath(path string) (string, error) {
	data, err := read(path)
	if errors.Is(err, os.ErrNotExist) {
		return "", nil // Compose itself says so, where the file is required
	}
	if err != nil {
		return "", err
	}
	value := ""
	for line := range strings.Lines(string(data)) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "export ")
		name, v, ok := strings.Cut(line, "=")
		if !ok || strings.TrimSpace(name) != "PYTHONPATH" {
			continue
		}
		value = strings.TrimSpace(v)
		switch {
		case len(value) >= 2 && value[0] == '\'' && value[len(value)-1] == '\'':
			value = literal(value[1 : len(value)-1])
		case len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"':
			value = value[1 : len(value)-1]
		default:
			value, _, _ = strings.Cut(value, " #")
			value = strings.TrimSpace(value)
		}
	}
	return value, nil
}

// literal writes a text so that Compose takes it as it is.
func literal(s string) string { return strings.ReplaceAll(s, "$", "$$") }

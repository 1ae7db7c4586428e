package doctor

import (
	"regexp"
	"slices"

	pyrecorder "github.com/demarc-dev/demarc/python"
)

// Hook is one hook of the recorder: it is installed when one of its modules is imported by the service.
type Hook struct {
	Name    string   `json:"name"`
	Modules []string `json:"modules"`
}

// A line of HOOKS in hooks/__init__.py: name, module, file, function.
var hookLine = regexp.MustCompile(`(?m)^    \("(\w+)", "([\w.]+)", "\w+", "\w+"\),`)

// Hooks lists the hooks of the recorder in the binary, in its order.
func Hooks() []Hook {
	text, err := pyrecorder.Files.ReadFile("_demarc/hooks/__init__.py")
	if err != nil {
		panic(err) // the file is part of the binary
	}
	return parseHooks(string(text))
}

func parseHooks(text string) []Hook {
	var list []Hook
	for _, m := range hookLine.FindAllStringSubmatch(text, -1) {
		at := slices.IndexFunc(list, func(h Hook) bool { return h.Name == m[1] })
		if at < 0 {
			at = len(list)
			list = append(list, Hook{Name: m[1]})
		}
		list[at].Modules = append(list[at].Modules, m[2])
	}
	return list
}

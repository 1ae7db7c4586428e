package forecast

import (
	"slices"
	"strings"
)

// maxInputs bounds the inputs taken from one target; those beyond it count as one, "query.*".
const maxInputs = 48

// appendTarget adds the inputs of a target: path.NAME for each variable segment of the route's template, query.NAME for
// each parameter. A path that does not fit its template is one input, "path".
func appendTarget(list []input, names *names, route, target string) []input {
	path, rest, _ := strings.Cut(target, "?")
	list = appendPath(list, names, route, path)
	from := len(list)
	for rest != "" {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if pair == "" {
			continue
		}
		name, value, _ := strings.Cut(pair, "=")
		name = unescape(name)
		if len(list)-from >= maxInputs || len(name) > 100 || strings.ContainsAny(name, " \t\r\n") || name == "" {
			name = "*"
		}
		n, h := names.id("query."+name), fnv(value)
		if i := slices.IndexFunc(list[from:], func(in input) bool { return in.name == n }); i >= 0 {
			list[from+i].hash = mix(list[from+i].hash, h) // several of one name, in their order
			continue
		}
		list = append(list, input{n, h})
	}
	return list
}

func appendPath(list []input, names *names, route, path string) []input {
	if route == "" || !strings.ContainsAny(route, "{<") {
		if route == "" || !strings.HasSuffix(strings.TrimSuffix(path, "/"), strings.TrimSuffix(route, "/")) {
			return append(list, input{names.id("path"), fnv(path)})
		}
		return list
	}
	tmpl := strings.Split(strings.Trim(route, "/"), "/")
	segs := strings.Split(strings.Trim(path, "/"), "/")
	wild := -1 // the segment that may stand for several
	for i, t := range tmpl {
		if strings.Contains(t, ":path}") || strings.Contains(t, "<path:") {
			wild = i
		}
	}
	from := len(list)
	at := len(segs) - len(tmpl) // a mount may stand before it
	if wild >= 0 {
		at = 0
	}
	if at < 0 {
		return append(list, input{names.id("path"), fnv(path)})
	}
	if at > 0 {
		list = append(list, input{names.id("path.mount"), fnv(segs[:at]...)})
	}
	tail := 0 // segments of the template behind the wild one
	for i, t := range tmpl {
		end := at + 1
		if i == wild {
			tail = len(tmpl) - i - 1
			end = max(len(segs)-tail, at)
		}
		if at >= len(segs) && i != wild || end > len(segs) {
			return append(list[:from], input{names.id("path"), fnv(path)})
		}
		value := strings.Join(segs[at:end], "/")
		if name := variable(t); name != "" {
			list = append(list, input{names.id("path." + name), fnv(value)})
		} else if value != t {
			return append(list[:from], input{names.id("path"), fnv(path)})
		}
		at = end
	}
	return list
}

// variable returns the name in {name}, {name:int}, <name> or <int:name>, also inside a segment; "" where there is none.
func variable(segment string) string {
	for _, p := range [...]string{"{}", "<>"} {
		i, j := strings.IndexByte(segment, p[0]), strings.LastIndexByte(segment, p[1])
		if i < 0 || j < i {
			continue
		}
		name := segment[i+1 : j]
		if p == "{}" {
			name, _, _ = strings.Cut(name, ":")
		} else if _, after, ok := strings.Cut(name, ":"); ok {
			name = after
		}
		if name = strings.Trim(name, " ?*"); name != "" {
			return name
		}
	}
	return ""
}

// unescape decodes %xx and + in a parameter's name; what is not well formed stays.
func unescape(s string) string {
	if !strings.ContainsAny(s, "%+") {
		return s
	}
	b := make([]byte, 0, len(s))
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == '+':
			b = append(b, ' ')
		case c == '%' && i+2 < len(s) && hexDigit(s[i+1]) >= 0 && hexDigit(s[i+2]) >= 0:
			b = append(b, byte(hexDigit(s[i+1])<<4|hexDigit(s[i+2])))
			i += 2
		default:
			b = append(b, c)
		}
	}
	return string(b)
}

func hexDigit(c byte) int {
	if c >= '0' && c <= '9' {
		return int(c - '0')
	}
	return strings.IndexByte("..........abcdef", c|0x20)
}

package boundary

import (
	"fmt"
	"hash/fnv"
	"net/url"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// sample holds the key that one request or call used against its inputs.
func (v *Verifier) sample(level, name string, ops []op, during func(op) bool, input func(part string) uint64) {
	for i, x := range v.list {
		if x.Level != level || x.Name != name || x.pattern == nil {
			continue
		}
		key, several := "", false
		for _, o := range ops {
			if o.boundary != i || during != nil && !during(o) {
				continue
			}
			several = several || key != "" && key != o.key
			key = o.key
		}
		switch {
		case key == "":
			continue
		case several:
			x.several++
			continue
		}
		x.samples++
		combo := fnv.New64a()
		values := make([]uint64, len(x.Key))
		for k, part := range x.Key {
			values[k] = input(part)
			fmt.Fprintf(combo, "%d,", values[k])
			if len(x.values[k]) < 2 && values[k] != 0 {
				x.values[k][values[k]] = true
			}
		}
		before, ok := x.keys[key]
		if !ok && len(x.keys) < maxKeys {
			x.keys[key] = values
		}
		for k := range before {
			// An input that is not there may stand for its default, and share a key with that.
			if before[k] != values[k] && before[k] != 0 && values[k] != 0 {
				x.lacks[k]++
				x.example[k] = key
			}
		}
		if first, ok := x.combos[combo.Sum64()]; ok && first != key {
			x.splits++
		} else if !ok && len(x.combos) < maxKeys {
			x.combos[combo.Sum64()] = key
		}
	}
}

func hashed(s string) uint64 {
	h := fnv.New64a()
	h.Write([]byte(s))
	return h.Sum64() | 1 // never 0, which stands for "not there"
}

// requestInputs returns the hash of each input of a request, by the name that it has in a key.
func requestInputs(r *event.Request) map[string]uint64 {
	in := map[string]uint64{"method": hashed(r.Method)}
	if r.Principal != "" {
		in["principal"] = hashed(r.Principal)
	}
	for _, v := range r.Vary {
		name := v.Name
		if !strings.HasPrefix(name, "cookie.") {
			name = "header." + name
		}
		in[name] = uint64(v.Hash)
	}
	path, query, _ := strings.Cut(r.Target, "?")
	in["path"] = hashed(path)
	tmpl, segs := strings.Split(strings.Trim(r.Route, "/"), "/"), strings.Split(strings.Trim(path, "/"), "/")
	if at := len(segs) - len(tmpl); at >= 0 { // a mount may stand before it
		for i, t := range tmpl {
			if name := pathVariable(t); name != "" {
				in["path."+name] = hashed(segs[at+i])
			}
		}
	}
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if plain, err := url.QueryUnescape(name); err == nil && name != "" && len(in) < 200 {
			in["query."+plain] = hashed(value)
		}
	}
	return in
}

// knowUser gives a request the principal that its framework would have known. A hit may be answered before anybody loads the
// user, and the principal is then that of the session's cookie, by which the user was known before.
func (v *Verifier) knowUser(r *event.Request, in map[string]uint64) {
	for _, c := range r.Vary {
		if !strings.HasPrefix(c.Name, "cookie.") {
			continue
		}
		if c.Hash.String() == r.Principal {
			if who, ok := v.users[c.Hash]; ok {
				in["principal"] = who
			}
			return
		}
	}
	for _, c := range r.Vary {
		if strings.HasPrefix(c.Name, "cookie.") && r.Principal != "" && r.Principal != "-" && len(v.users) < maxKeys {
			v.users[c.Hash] = in["principal"]
		}
	}
}

// pathVariable returns the name in {name}, {name:int}, <name> or <int:name>.
func pathVariable(segment string) string {
	if i, j := strings.IndexByte(segment, '{'), strings.LastIndexByte(segment, '}'); i >= 0 && j > i {
		name, _, _ := strings.Cut(segment[i+1:j], ":")
		return name
	}
	if i, j := strings.IndexByte(segment, '<'), strings.LastIndexByte(segment, '>'); i >= 0 && j > i {
		name := segment[i+1 : j]
		if _, after, ok := strings.Cut(name, ":"); ok {
			name = after
		}
		return name
	}
	return ""
}

func callInput(c *event.Call, part string) uint64 {
	if part == "principal" && c.Principal != "" {
		return hashed(c.Principal)
	}
	if name, ok := strings.CutPrefix(part, "arg."); ok {
		for _, a := range c.Args {
			if a.Name == name {
				return uint64(a.Hash)
			}
		}
	}
	return 0
}

// Package snippet prints how a chosen boundary is put into a service: one module with one named function a boundary (a route
// class or a wrapper of a view, or the decorator of a function) and a switch for each, and a pytest that covers hit, drop,
// principal, lifetime and off. Nothing is read or run here.
package snippet

import (
	"embed"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/demarc-dev/demarc/internal/boundary"
)

// Schema of the JSON that holds the files.
const Schema = "demarc.snippet/1"

// Libraries for which there are snippets.
func Libraries() []string { return []string{"cashews", "fastapi-cache", "django", "nginx"} }

// NoRow says why a library's snippet cannot drop by row; "" where it can.
func NoRow(library string) string {
	switch library {
	case "django":
		return "Django's connections show the text of statements only"
	case "nginx":
		return "nginx drops nothing"
	}
	return ""
}

// LeastTTL is the shortest lifetime that a library's snippet can put there. Django's caches and nginx count whole seconds: of
// less than one the former keep nothing, and the latter knows no such lifetime.
func LeastTTL(library string) time.Duration {
	if library == "django" || library == "nginx" {
		return time.Second
	}
	return 0
}

// Levels are those of the boundaries that a library's snippet can put there.
func Levels(library string) []string {
	if library == "nginx" {
		return []string{boundary.Response}
	}
	return []string{boundary.Response, boundary.Function}
}

// File is one file of a snippet.
type File struct {
	Name string `json:"name"`
	Text string `json:"text"`
}

//go:embed templates
var templates embed.FS

var parsed = template.Must(template.ParseFS(templates, "templates/*.tmpl"))

// place is a boundary in the words of the target's language.
type place struct {
	Name, Word, Function, Switch, Template, Parts, Tables, Says, Seconds string
	Callable                                                             string // a function's own name
	Location                                                             string // for nginx
	Principal                                                            bool   // who asks is in the key
	Rows                                                                 bool   // drops by row
}

// selector is a table with the sets of columns by which its rows are told apart, in the words of the target's language.
type selector struct{ Table, Columns string }

// Asker is where the settings say that the identity of who asks stands: a header or a cookie, or neither. It counts beside
// what says so in any case.
type Asker struct{ Header, Cookie string }

// credentials are beginnings of the names of headers that say who asks: those in which the recorder looks for it.
var credentials = []string{"authorization", "x-api-key", "x-auth"}

// sessionCookies are cookies that do.
var sessionCookies = []string{"sessionid", "session", "session_id", "connect.sid", "sid", "_session", "auth", "access_token"}

// Render writes the files that put the boundaries there; of the tables in unheard the writes may not be heard where these are
// put. An error says why one cannot be put there in this way.
func Render(library string, list []boundary.Boundary, who Asker, unheard ...string) ([]File, error) {
	if !slices.Contains(Libraries(), library) {
		return nil, fmt.Errorf("there is no snippet %q, only %s", library, strings.Join(Libraries(), ", "))
	}
	if len(list) == 0 {
		return nil, errors.New("no boundary is worth a cache")
	}
	data := struct {
		Library              string
		Boundaries           []place
		Responses, Functions []place // the boundaries of each level
		Drops, Rows          bool
		ResponseRows         bool // one of the answers drops by row
		Selectors            []selector
		VersionSeconds       int64
		Unheard              []string // tables whose writes may not be heard
		Open                 []string // boundaries of answers that everybody is given
		// Names of headers, or their beginnings, and of cookies, as tuples; and all as variables of nginx.
		Credentials, Cookies, Variables string
	}{Library: library, VersionSeconds: 3600}
	for _, name := range []string{who.Header, who.Cookie} {
		if name != "" && !plain.MatchString(name) {
			return nil, fmt.Errorf("observe.principal names %q, which holds other signs than letters, digits and _ . * -", name)
		}
	}
	headers, cookies := with(credentials, strings.ToLower(who.Header)), with(sessionCookies, who.Cookie)
	data.Credentials, data.Cookies = tuple(headers), "(\n    "+strings.Join(quoted(cookies), ",\n    ")+",\n)"
	for _, name := range with([]string{"authorization", "x-api-key", "x-auth-token", "x-auth-user", "x-auth-request-user"}, strings.ToLower(who.Header)) {
		data.Variables += "$http_" + strings.NewReplacer("-", "_", ".", "_", "*", "_").Replace(name) + " "
	}
	data.Variables += "$http_cookie"
	words := boundary.Words(list)
	for i, b := range list {
		p, err := placeOf(library, b)
		if err != nil {
			return nil, err
		}
		p.Word, p.Function, p.Switch = words[i], "cached_"+words[i], "BOUNDARY_"+strings.ToUpper(words[i])
		if tables := unheardOf(b, unheard); len(tables) > 0 {
			p.Says += "; !! of " + strings.Join(tables, ", ") + " perhaps only by changed()"
			data.Unheard = append(data.Unheard, tables...)
		}
		data.Boundaries = append(data.Boundaries, p)
		if b.Level == boundary.Function {
			data.Functions = append(data.Functions, p)
		} else {
			data.Responses, data.ResponseRows = append(data.Responses, p), data.ResponseRows || p.Rows
			if !p.Principal {
				data.Open = append(data.Open, p.Name)
			}
		}
		data.Drops, data.Rows = data.Drops || len(b.InvalidateOn) > 0, data.Rows || p.Rows
		data.VersionSeconds = max(data.VersionSeconds, 2*int64(time.Duration(b.TTL)/time.Second))
	}
	data.Selectors = selectors(list)
	slices.Sort(data.Unheard)
	data.Unheard = slices.Compact(data.Unheard)
	files := map[string][][2]string{
		"cashews":       {{"boundaries.py", "fastapi.py.tmpl"}, {"test_boundaries.py", "test_fastapi.py.tmpl"}},
		"fastapi-cache": {{"boundaries.py", "fastapi.py.tmpl"}, {"test_boundaries.py", "test_fastapi.py.tmpl"}},
		"django":        {{"boundaries.py", "django.py.tmpl"}, {"test_boundaries.py", "test_django.py.tmpl"}},
		"nginx":         {{"boundaries.conf", "nginx.conf.tmpl"}, {"locations.conf", "nginx_locations.conf.tmpl"}, {"test_boundaries.py", "test_nginx.py.tmpl"}},
	}[library]
	var out []File
	for _, f := range files {
		var text strings.Builder
		if err := parsed.ExecuteTemplate(&text, f[1], data); err != nil {
			return nil, err
		}
		out = append(out, File{f[0], text.String()})
	}
	return out, nil
}

func quoted(list []string) []string {
	var all []string
	for _, s := range list {
		all = append(all, strconv.Quote(s))
	}
	return all
}

// with is a list with one more name, if there is one that is not in it.
func with(list []string, name string) []string {
	if name == "" || slices.Contains(list, name) {
		return list
	}
	return append(slices.Clone(list), name)
}

var (
	pathName  = regexp.MustCompile(`^/[A-Za-z0-9_{}:./~-]*$`)
	pathParam = regexp.MustCompile(`\{[^}]*\}`)
	plain     = regexp.MustCompile(`^[A-Za-z0-9_.*-]+$`)
	sets      = regexp.MustCompile(`^[A-Za-z0-9_.,-]+$`)
	function  = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_.]*:([A-Za-z_][A-Za-z0-9_]*\.)*([A-Za-z_][A-Za-z0-9_]*)$`)
	argument  = regexp.MustCompile(`^arg\.[A-Za-z_][A-Za-z0-9_]*$`)
)

func placeOf(library string, b boundary.Boundary) (place, error) {
	route, isGet := strings.CutPrefix(b.Name, "GET ")
	var callable string
	switch {
	case b.Level == boundary.Response && !isGet:
		return place{}, fmt.Errorf("%s is no GET route: there are snippets for the answers of GET routes", b.Name)
	case b.Level == boundary.Response && !pathName.MatchString(route):
		return place{}, fmt.Errorf("%s: the route holds other signs than letters, digits and _ { } : . / ~ -", b.Name)
	case b.Level == boundary.Function && slices.Contains(Levels(library), b.Level):
		match := function.FindStringSubmatch(b.Name)
		if match == nil {
			return place{}, fmt.Errorf("%q is no function: module:function or module:Class.method was expected", b.Name)
		}
		for _, k := range b.Key {
			if !argument.MatchString(k) || k == "arg.self" || k == "arg.cls" {
				return place{}, fmt.Errorf("%s has %s in its key: for a function only its arguments by name, and not a method's object", b.Name, k)
			}
		}
		callable = match[2]
	case b.Level != boundary.Response:
		what := "the answers of GET routes"
		if slices.Contains(Levels(library), boundary.Function) {
			what += " and for functions"
		}
		return place{}, fmt.Errorf("%q is a boundary of level %s: there are snippets for %s", b.Name, b.Level, what)
	}
	if b.TTL <= 0 {
		return place{}, fmt.Errorf("%s has no lifetime: one is needed, for the time in which a drop is lost", b.Name)
	}
	ttl := time.Duration(b.TTL)
	if least := LeastTTL(library); ttl < least {
		return place{}, fmt.Errorf("%s lives for %s, which %s cannot keep, since it counts whole seconds: a lifetime of 1s or longer was expected; "+
			"choose with --snippet %s, or with --ttl and --staleness that allow one", b.Name, b.TTL, library, library)
	} else if least > 0 {
		ttl = ttl.Truncate(least) // down: longer than was replayed, an entry could be stale
	}
	p := place{
		Name: b.Name, Callable: callable, Template: strconv.Quote(route), Seconds: strconv.FormatFloat(ttl.Seconds(), 'f', -1, 64),
	}
	for _, k := range b.Key {
		if !plain.MatchString(k) {
			return place{}, fmt.Errorf("%s: the key part %q holds other signs than letters, digits and _ . -", b.Name, k)
		}
	}
	var tables []string
	for _, d := range b.InvalidateOn {
		if !plain.MatchString(d.Table) {
			return place{}, fmt.Errorf("%s: the table %q holds other signs than letters, digits and _ . -", b.Name, d.Table)
		}
		for _, set := range d.Columns {
			if !sets.MatchString(set) {
				return place{}, fmt.Errorf("%s: the columns %q hold other signs than letters, digits and _ . - ,", b.Name, set)
			}
		}
		if name := unqualified(d.Table); !slices.Contains(tables, name) {
			tables = append(tables, name)
		}
		p.Rows = p.Rows || byRow(d) && NoRow(library) == ""
	}
	if library == "nginx" && len(tables) > 0 {
		return place{}, fmt.Errorf("%s is dropped by writes, which nginx cannot do: only boundaries with invalidation none", b.Name)
	}
	p.Location = "^" + strings.ReplaceAll(pathParam.ReplaceAllString(route, "[^/]+"), ".", `\.`) + "$"
	for _, k := range b.Key {
		switch kind, _, _ := strings.Cut(k, "."); {
		case k == "principal":
			p.Principal = true
		case library == "nginx" && kind != "path" && kind != "query":
			return place{}, fmt.Errorf("%s has %s in its key: for nginx only path, query and principal", b.Name, k)
		}
	}
	p.Parts, p.Tables = tuple(b.Key), tuple(tables)
	p.Says = "kept for " + boundary.TTL(ttl).String()
	if ttl < time.Duration(b.TTL) {
		p.Says += " (" + b.TTL.String() + " in whole seconds)"
	}
	if len(tables) > 0 {
		switch {
		case p.Rows:
			p.Says += ", dropped by writes to what it was computed from"
		case slices.ContainsFunc(b.InvalidateOn, func(d boundary.Drop) bool { return d.By == boundary.Row }):
			p.Says += ", dropped by writes to its tables (any row: fewer hits than the forecast says)"
		default:
			p.Says += ", dropped by writes to its tables"
		}
	}
	return p, nil
}

// byRow says whether a drop tells how its rows are known.
func byRow(d boundary.Drop) bool { return d.By == boundary.Row && len(d.Columns) > 0 }

func unqualified(table string) string { return table[strings.LastIndexByte(table, '.')+1:] }

// selectors puts together by which columns the rows of the boundaries' tables are known.
func selectors(list []boundary.Boundary) []selector {
	columns := map[string][]string{}
	for _, b := range list {
		for _, d := range b.InvalidateOn {
			if byRow(d) {
				name := strings.ToLower(unqualified(d.Table))
				columns[name] = append(columns[name], d.Columns...)
			}
		}
	}
	var all []selector
	for _, table := range slices.Sorted(maps.Keys(columns)) {
		slices.Sort(columns[table])
		var sets []string
		for _, set := range slices.Compact(columns[table]) {
			sets = append(sets, tuple(strings.Split(strings.ToLower(set), ",")))
		}
		text := "(" + strings.Join(sets, ", ") + ",)"
		if len(sets) > 1 {
			text = "(\n        " + strings.Join(sets, ",\n        ") + ",\n    )"
		}
		all = append(all, selector{table, text})
	}
	return all
}

// tuple writes texts as a Python tuple, a long one on several lines.
func tuple(list []string) string {
	if len(strings.Join(list, `", "`)) > 80 {
		text := "(\n"
		for _, s := range list {
			text += "            " + strconv.Quote(s) + ",\n"
		}
		return text + "        )"
	}
	var b strings.Builder
	for _, s := range list {
		b.WriteString(strconv.Quote(s) + ", ")
	}
	text := strings.TrimSuffix(b.String(), " ")
	if len(list) > 1 {
		text = strings.TrimSuffix(text, ",")
	}
	return "(" + text + ")"
}

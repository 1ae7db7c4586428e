package audit

import (
	"path"
	"regexp"
	"strings"
)

// MaxSettings is how many settings of all files together are kept.
const MaxSettings = 5000

// maxCall is over how many lines the arguments of one call are read.
const maxCall = 15

// Kinds of settings.
const (
	KindCache    = "cache"
	KindSecurity = "security"
	KindLimit    = "limit"
)

// Setting is one cache or security setting and where it stands.
type Setting struct {
	File   string `json:"file"` // relative to the project, with slashes
	Line   int    `json:"line"`
	Name   string `json:"name"`
	Kind   string `json:"kind"`   // cache, security, limit
	Value  string `json:"value"`  // "" where it is secret, long or no plain value
	Hidden bool   `json:"hidden"` // outside the files that security.files names; false where it names none
}

// FormOf tells from a file's name how it is written. ok is false for files that are not looked at.
func FormOf(name string) (form Form, ok bool) {
	base := strings.ToLower(path.Base(name))
	switch ext := path.Ext(base); {
	case base == ".env" || strings.HasPrefix(base, ".env.") || ext == ".env" || ext == ".ini" || ext == ".cfg" || ext == ".properties" || ext == ".service":
		return Env, !strings.HasSuffix(base, ".example") && !strings.HasSuffix(base, ".sample") && !strings.HasSuffix(base, ".template")
	case ext == ".py":
		return Python, true
	case ext == ".yaml" || ext == ".yml":
		return YAML, true
	case ext == ".toml":
		return TOML, true
	case base == "dockerfile" || strings.HasPrefix(base, "dockerfile.") || ext == ".dockerfile":
		return Docker, true
	case strings.HasPrefix(base, "redis") && ext == ".conf", strings.HasPrefix(base, "valkey") && ext == ".conf":
		return Redis, true
	case ext == ".conf" || base == "nginx" || ext == ".nginx":
		return Nginx, true
	case ext == ".json" || ext == ".sh" || ext == ".pem" || ext == ".key" || base == "id_rsa" || base == "id_ed25519" || base == "procfile" || base == "makefile":
		return Prose, true
	}
	return Prose, false
}

// LogFile says whether a file is a log by its name.
func LogFile(name string) bool { return strings.EqualFold(path.Ext(name), ".log") }

// test says whether a file belongs to tests, whose passwords open nothing. Known shapes of secrets are looked for in them, too.
func test(name string) bool {
	for part := range strings.SplitSeq(path.Dir(name), "/") {
		if part == "tests" || part == "test" {
			return true
		}
	}
	base := path.Base(name)
	return strings.HasPrefix(base, "test_") || strings.HasSuffix(base, "_test.py") || base == "conftest.py"
}

// Project is what the files of a project hold. Add them one by one.
type Project struct {
	Named    []string                          // files that hold the cache and security settings, as the configuration names them
	Mask     func(secret string) (hash string) // keyed hash of a secret; nil: none is kept
	Files    int
	Settings []Setting
	Left     int         // settings beyond MaxSettings
	Servers  []ServerRef // addresses of caches
	places   places
	seen     map[string]bool // heads whose kind of file was there: python, compose, …
}

// ServerRef is a cache server that a file, a capture or the command line names.
type ServerRef struct {
	Address string // redis://…; may hold a password, and is never shown
	Where   string // file:line, or who named it
}

// maxServers is how many addresses of caches are kept.
const maxServers = 32

// Add reads one file: its name relative to the project with slashes, and its text, which the caller bounds.
func (p *Project) Add(name string, data string) {
	form, ok := FormOf(name)
	if !ok {
		return
	}
	if p.seen == nil {
		p.seen = map[string]bool{}
	}
	p.Files++
	f := &file{p: p, name: name, form: form, test: test(name), compose: form == YAML && composeFile(name)}
	if f.compose {
		p.seen["compose"] = true
	}
	f.lines = strings.Split(data, "\n")
	for i, line := range f.lines {
		line = strings.TrimRight(line, "\r")
		if len(line) > maxLine {
			line = line[:maxLine]
		}
		f.lines[i] = line
	}
	quoted := ""
	for i, line := range f.lines {
		f.at = i + 1
		if form == Python {
			if inside := quoted != ""; docstring(line, &quoted) || inside {
				f.secrets(line, Prose, true) // text, in which only known shapes are secrets
				continue
			}
		}
		code := line
		if form != Prose {
			code = uncomment(line, form)
		}
		f.secrets(code, form, f.test)
		if len(code) < len(line) {
			f.secrets(line[len(code):], Prose, true)
		}
		if strings.TrimSpace(code) == "" || f.test {
			continue
		}
		switch form {
		case Python:
			f.python(code)
		case Nginx:
			f.nginx(code)
		case Redis:
			f.redis(code)
		case Env, YAML, TOML, Docker:
			f.plain(code)
		}
		if f.compose {
			f.composeLine(code)
		}
	}
	if f.compose {
		f.composeEnd()
	}
}

// textPrefix are the letters that may stand before the quotes of a text.
var textPrefix = regexp.MustCompile(`^[rRbBuUfF]{0,2}("""|''')`)

// docstring follows texts in three quotes, which are no code. It says whether a line lies in one or begins with one.
func docstring(line string, open *string) bool {
	t := strings.TrimSpace(line)
	if *open != "" {
		if strings.Contains(t, *open) {
			*open = ""
		}
		return true
	}
	for _, q := range []string{`"""`, `'''`} {
		if strings.Count(t, q)%2 == 1 {
			*open = q
			break
		}
	}
	return textPrefix.MatchString(t)
}

// uncomment takes out what stands behind #, outside of quotes.
func uncomment(line string, form Form) string {
	var quote byte
	for i := 0; i < len(line); i++ {
		switch c := line[i]; {
		case quote != 0:
			if c == '\\' && form == Python {
				i++
			} else if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case c == '#' && (form == Python || i == 0 || line[i-1] == ' ' || line[i-1] == '\t'):
			return line[:i]
		}
	}
	return line
}

// file is one that is being read.
type file struct {
	p       *Project
	name    string
	form    Form
	test    bool
	lines   []string
	at      int // number of the line
	compose bool
	service composeService
}

func (f *file) flaw(item, says string) { f.p.places.add(item, at(f.name, f.at, says)) }

func (f *file) setting(name, kind, value string) {
	for i := len(f.p.Settings) - 1; i >= 0 && f.p.Settings[i].File == f.name && f.p.Settings[i].Line == f.at; i-- {
		if f.p.Settings[i].Name == name {
			return
		}
	}
	if len(f.p.Settings) >= MaxSettings {
		f.p.Left++
		return
	}
	f.p.Settings = append(f.p.Settings, Setting{File: f.name, Line: f.at, Name: name, Kind: kind, Value: f.shown(name, value)})
}

// simple are values that may be shown: numbers with units, booleans, and words without what could be a secret.
var simple = regexp.MustCompile(`^(?:-?[\d._]+(?:\s*\*\s*[\d._]+)*[a-zA-Z]{0,8}|True|False|None|true|false|on|off|yes|no|\[?["']\*["']\]?|\*|["']?[a-z][a-z _.,=:;/-]{0,60}(?:=\d+)?["']?)$`)

func (f *file) shown(name, value string) string {
	value = strings.TrimRight(strings.TrimSpace(value), ",;")
	n := plainName(name)
	if secretName.MatchString(n) || strings.Contains(n, "secret") || strings.Contains(n, "password") || !simple.MatchString(value) || len(Secrets(name+" = "+value, f.form)) > 0 {
		return ""
	}
	return value
}

// secrets reports what looks like a secret in a line. shapes: only known shapes.
func (f *file) secrets(line string, form Form, shapesOnly bool) {
	for _, s := range Secrets(line, form) {
		if shapesOnly && (strings.HasPrefix(s.Kind, "value of ") || s.Kind == inAddress && !random(line[s.From:s.To])) {
			continue // examples in texts are written like this
		}
		item := "config-secrets"
		if form == Docker || f.compose || form == Env && strings.HasSuffix(f.name, ".service") {
			item = "env-secrets"
		}
		x := at(f.name, f.at, s.Kind+" stands there in clear")
		if f.p.Mask != nil {
			x.Hash = f.p.Mask(line[s.From:s.To])
		}
		f.p.places.add(item, x)
	}
	for _, m := range cacheURL.FindAllString(line, 4) {
		if !strings.ContainsAny(m, "${}<>%…") && len(f.p.Servers) < maxServers && !f.test {
			f.p.Servers = append(f.p.Servers, ServerRef{m, at(f.name, f.at, "").Where})
		}
	}
}

var (
	cacheURL = regexp.MustCompile(`\b(?:redis|rediss|valkey)://[\w.:@\[\]$%{}<>+!*~-]+(?:/\d+)?`)

	// Names of settings, in upper case as Django and the environment have them.
	cacheName    = regexp.MustCompile(`^(?:CACHES?|[A-Z0-9_]*CACHE_?(?:URL|TTL|TIMEOUT|SECONDS|SIZE|BACKEND|CONTROL|PREFIX|TYPE|ALIAS|AGE|OPS|ENABLED|KEY_PREFIX|REDIS_URL|REDIS_HOST|MIDDLEWARE_\w+)|CACHE_\w+|DEFAULT_CACHE|CACHEOPS\w*|CACHALOT_\w+|[A-Z0-9_]*TTL(?:_\w+)?|REDIS_\w+|[A-Z0-9_]*REDIS_(?:URL|HOST|PORT|DSN)|MEMCACHED?_\w+|LRU_\w+|[A-Z0-9_]*MAX_AGE)$`)
	securityName = regexp.MustCompile(`^(?:[A-Z0-9_]*SECRET(?:_KEY)?|SECRET_\w+|[A-Z0-9_]*(?:PASSWORD|PASSWD|API_KEY|PRIVATE_KEY|ACCESS_KEY|AUTH_TOKEN)|ALLOWED_HOSTS|DEBUG|FLASK_DEBUG|CORS_\w+|CSRF_\w+|SESSION_\w+|SECURE_\w+|JWT_\w+|TOKEN_(?:SECONDS|TTL|LIFETIME|EXPIR\w*)|[A-Z0-9_]*TOKEN_(?:SECONDS|LIFETIME|EXPIR\w*)|X_FRAME_OPTIONS|AUTH_PASSWORD_VALIDATORS|FORWARDED_ALLOW_IPS|TRUSTED_\w+|USE_X_FORWARDED_\w+|SSL_\w+|TLS_\w+|[A-Z0-9_]*SSLMODE)$`)
	limitName    = regexp.MustCompile(`^(?:MAX_(?:BODY|UPLOAD|CONTENT|REQUEST_(?:SIZE|BODY|BYTES))\w*|DATA_UPLOAD_\w+|FILE_UPLOAD_\w+|[A-Z0-9_]*MAX_(?:BODY|UPLOAD|CONTENT)_\w+|LIMIT_REQUEST_\w+|RATE_?LIMIT\w*)$`)
	keywordName  = regexp.MustCompile(`\b(allow_origins|allow_origin_regex|allow_credentials|allow_headers|allow_methods|allowed_hosts|https_only|same_site|samesite|httponly|secure|max_age|secret_key|session_cookie|debug|sslmode|verify_ssl|forwarded_allow_ips|expire|ttl)\s*=\s*([^,)=]+)`)

	assigned   = regexp.MustCompile(`^\s*["']?([A-Za-z_][A-Za-z0-9_]*)["']?\]?\s*(?::\s*[\w\[\], |.]+)?\s*(?:=|:)\s*(.*)$`)
	cacheCall  = regexp.MustCompile(`\b(TTLCache|LRUCache|TLRUCache|LFUCache|cache_page|cached|cache_control|(?:redis|aioredis|valkey|Redis|StrictRedis)\.from_url|from_url|Redis|StrictRedis|RedisCluster|BlockingConnectionPool|ConnectionPool|make_region|FastAPICache\.init|cashews?\.setup)\(`)
	cacheWrite = regexp.MustCompile(`(?i)["'](cache-control|surrogate-control|cdn-cache-control|vary|expires)["']\s*[\]:,]\s*=?\s*(.*)$`)
	security   = regexp.MustCompile(`\b(CORSMiddleware|SessionMiddleware|TrustedHostMiddleware|ProxyHeadersMiddleware|HTTPSRedirectMiddleware|set_cookie)\b\s*[,(]`)
)

// kindOf returns the kind of a setting by its name in upper case, "" for one that is none.
func kindOf(name string) string {
	switch {
	case harmlessName.MatchString(plainName(name)):
		return ""
	case securityName.MatchString(name):
		return KindSecurity
	case limitName.MatchString(name):
		return KindLimit
	case cacheName.MatchString(name):
		return KindCache
	}
	return ""
}

// plain reads NAME=value and name: value.
func (f *file) plain(line string) {
	t := strings.TrimSpace(line)
	for _, prefix := range []string{"ENV ", "ARG ", "export ", "- "} {
		t = strings.TrimPrefix(t, prefix)
	}
	if m := assigned.FindStringSubmatch(t); m != nil {
		name, value := m[1], strings.TrimSpace(m[2])
		if kind := kindOf(name); kind != "" {
			f.setting(name, kind, value)
			f.envFlaw(name, value)
		}
	}
	if f.form == Docker || f.compose {
		if strings.Contains(line, "--reload") && strings.Contains(line, "uvicorn") {
			f.flaw("debug", "uvicorn --reload is for development")
		}
		if strings.Contains(line, "forwarded-allow-ips") && (strings.Contains(line, `"*"`) || strings.Contains(line, "'*'") || strings.Contains(line, "=*")) {
			f.setting("forwarded-allow-ips", KindSecurity, "*")
			f.flaw("hosts", "--forwarded-allow-ips takes any client's word for host and address")
		}
	}
}

func (f *file) envFlaw(name, value string) {
	bare := strings.ToLower(strings.Trim(value, `"' ,`))
	on := bare == "1" || bare == "true" || bare == "on" || bare == "yes"
	switch {
	case (name == "DEBUG" || name == "FLASK_DEBUG") && on:
		f.flaw("debug", name+" is on: errors show the code and its variables")
	case name == "ALLOWED_HOSTS" && bare == "*":
		f.flaw("hosts", "ALLOWED_HOSTS takes any host")
	case name == "FORWARDED_ALLOW_IPS" && bare == "*":
		f.flaw("hosts", "FORWARDED_ALLOW_IPS takes any client's word for host and address")
	case strings.HasSuffix(name, "COOKIE_SECURE") && (bare == "false" || bare == "0"):
		f.flaw("cookie-flags", name+" is off")
	}
}

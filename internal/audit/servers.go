package audit

import (
	"regexp"
	"strings"
)

var nginxPair = regexp.MustCompile(`^\s*([a-z_]+)\s+([^;{]+)`)

func (f *file) nginx(line string) {
	m := nginxPair.FindStringSubmatch(line)
	if m == nil {
		return
	}
	name, value := m[1], strings.TrimSpace(m[2])
	switch {
	case strings.HasPrefix(name, "proxy_cache"), strings.HasPrefix(name, "uwsgi_cache"), strings.HasPrefix(name, "fastcgi_cache"), name == "expires",
		name == "proxy_ignore_headers", name == "proxy_hide_header":
		f.setting(name, KindCache, value)
	case name == "client_max_body_size", name == "limit_req", name == "limit_conn":
		f.setting(name, KindLimit, value)
	case strings.HasPrefix(name, "ssl_"), name == "server_tokens", name == "allow", name == "deny", strings.HasPrefix(name, "auth_basic"), name == "set_real_ip_from":
		f.setting(name, KindSecurity, value)
	case name == "add_header":
		f.setting(name+" "+strings.Fields(value + " ")[0], KindSecurity, "")
	}
	words := strings.Fields(value)
	has := func(want string) bool {
		for _, w := range words {
			if strings.EqualFold(w, want) {
				return true
			}
		}
		return false
	}
	switch {
	case name == "client_max_body_size" && strings.TrimLeft(value, "0") == "":
		f.flaw("upload-setting", "client_max_body_size is 0: a request may be as large as it likes")
	case strings.HasSuffix(name, "_ignore_headers") && has("Set-Cookie"):
		f.flaw("set-cookie-stored", name+" Set-Cookie: answers that set a cookie are stored, and given to others")
	case strings.HasSuffix(name, "_ignore_headers") && has("Vary"):
		f.flaw("unkeyed-input", name+" Vary: one entry serves what differs")
	case strings.HasSuffix(name, "_cache_valid") && (has("any") || has("500") || has("502") || has("503") || has("504")):
		f.flaw("cached-errors", name+" "+value+": errors are stored")
	case name == "proxy_cache_key" && !strings.Contains(value, "$args") && !strings.Contains(value, "$request_uri") && !strings.Contains(value, "$is_args"):
		f.flaw("unkeyed-input", "proxy_cache_key leaves out the query")
	case name == "ssl_verify_client" && has("off"), name == "proxy_ssl_verify" && has("off"):
		f.flaw("tls", name+" is off")
	}
}

var redisPair = regexp.MustCompile(`^\s*([a-z-]+)\s+(.*)$`)

func (f *file) redis(line string) {
	m := redisPair.FindStringSubmatch(strings.ToLower(line))
	if m == nil {
		return
	}
	name, value := m[1], strings.TrimSpace(m[2])
	switch name {
	case "bind", "protected-mode", "requirepass", "aclfile", "user", "rename-command", "port", "tls-port":
		f.setting(name, KindSecurity, value)
	case "maxmemory", "maxmemory-policy":
		f.setting(name, KindCache, value)
	}
	switch {
	case name == "bind" && !loopbackOnly(value):
		f.flaw("cache-network", "bind "+value+": it listens beyond this machine")
	case name == "protected-mode" && value == "no":
		f.flaw("cache-network", "protected-mode is no: it answers the network even without a password")
	case name == "user" && strings.HasPrefix(value, "default ") && strings.Contains(value, "nopass") && strings.Contains(value, " on"):
		f.flaw("cache-password", "the default user needs no password")
	}
}

// loopbackOnly says whether a Redis's setting bind names no address but this machine's own. An address behind "-" may be absent.
func loopbackOnly(bind string) bool {
	words := strings.Fields(strings.Trim(bind, `"`))
	for _, w := range words {
		w = strings.TrimPrefix(w, "-")
		if !strings.HasPrefix(w, "127.") && w != "::1" && w != "localhost" {
			return false
		}
	}
	return len(words) > 0
}

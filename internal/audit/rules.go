package audit

import (
	"fmt"
	"slices"
	"strings"
)

// What is missing where something was not seen.
const (
	noCapture  = "a capture: demarc run -- COMMAND, then demarc audit"
	noRequests = "requests in the capture"
	noLog      = "a log: --log FILE (a service that writes to its terminal: demarc run -- COMMAND 2> service.log)"
	noFiles    = "files of the service: demarc audit --project DIR"
)

// traffic asks the capture: counted is how many requests could show it, want what they would have to carry.
func traffic(counted func(t *Traffic) int64, what, want string) func(*judge) (string, string) {
	return func(j *judge) (string, string) {
		switch {
		case j.Traffic == nil:
			return "", noCapture
		case j.Traffic.Requests == 0:
			return "", noRequests
		}
		if n := counted(j.Traffic); n > 0 {
			return fmt.Sprintf(what, n), ""
		}
		return "", want
	}
}

// modes asks the paths of some kinds.
func modes(want string, kinds ...string) func(*judge) (string, string) {
	return func(j *judge) (string, string) {
		n := 0
		for _, p := range j.Paths {
			if slices.Contains(kinds, p.Kind) {
				n++
			}
		}
		if n == 0 {
			return "", want
		}
		return fmt.Sprintf("%s looked at", count(n, "path", "paths")), ""
	}
}

// answered asks the cache servers.
func answered(judged func(s *Server) bool) func(*judge) (string, string) {
	return func(j *judge) (string, string) {
		if len(j.Servers) == 0 {
			return "", "the address of a cache server: in the capture, in the configuration, or --redis URL"
		}
		n := 0
		var errs []string
		for i := range j.Servers {
			switch s := &j.Servers[i]; {
			case s.Error != "":
				errs = append(errs, s.Address+": "+s.Error)
			case judged(s):
				n++
			}
		}
		if n > 0 {
			return fmt.Sprintf("%s asked", count(n, "server", "servers")), ""
		}
		if len(errs) > 0 {
			return "", "an answer of " + strings.Join(errs, "; ")
		}
		return "", "a server that tells its settings (CONFIG GET), or an address in a network of this machine"
	}
}

func read(j *judge) (string, string) {
	if j.Files == nil || j.Files.Files == 0 {
		return "", noFiles
	}
	return count(j.Files.Files, "file", "files") + " read", ""
}

func logged(j *judge) (string, string) {
	if j.Logs == nil || j.Logs.Lines == 0 {
		return "", noLog
	}
	return fmt.Sprintf("%d lines read", j.Logs.Lines), ""
}

// running tells the processes of the service, and the names of their secret variables.
func running(j *judge) (string, string) {
	if len(j.Processes) == 0 {
		return "", "a process of the capture that still runs on this machine: audit while the service runs"
	}
	var names []string
	for _, p := range j.Processes {
		for _, n := range p.Env {
			if (secretName.MatchString(plainName(n)) || strings.Contains(plainName(n), "secret")) && !slices.Contains(names, n) && len(names) < 20 {
				names = append(names, n)
			}
		}
	}
	slices.Sort(names)
	says := count(len(j.Processes), "process", "processes") + " looked at"
	if len(names) > 0 {
		says += "; variables with secrets by their names: " + strings.Join(names, ", ")
	}
	return says, ""
}

func count(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// judged says what was asked of caches' keys.
func judged(j *judge) (string, string) {
	switch {
	case j.Leaks == nil:
		return "", noCapture
	case j.Leaks.Coverage.Hits == 0 && j.Traffic.sets == 0:
		return "", "operations of a cache in the capture"
	case j.Leaks.Coverage.Fills == 0:
		return "", "fills of a cache in the capture"
	}
	return fmt.Sprintf("%d fills and %d hits of caches compared", j.Leaks.Coverage.Fills, j.Leaks.Coverage.Hits), ""
}

// rules are the checklist, in the order in which it is shown.
var rules = []rule{
	{"capture-files", "permissions", High, "captures can be read by their owner only",
		modes("captures under .demarc", PathState, PathCapture),
		"chmod 700 the folder, 600 its files; find out who copied them", "demarc audit; stat -c '%a %U' .demarc/*"},
	{"key-file", "permissions", High, "the hashing key can be read by its owner only",
		modes("the hashing key, .demarc/key", PathKey),
		"chmod 600 .demarc/key; if somebody may have read it, delete it: a new one is drawn, and older captures no longer compare", "demarc audit; stat -c '%a %U' .demarc/key"},
	{"sockets", "permissions", High, "sockets and the run file can be used by their owner only",
		modes("a demarc that runs: start it with demarc run or collect, then audit", PathSocket, PathRunFile),
		"chmod 600 them, and 700 their folder; restart demarc, so that a new token is drawn", "demarc audit, while the service runs"},
	{"change-records", "permissions", Medium, "change records and configuration cannot be changed by others",
		modes("change records under changes/, demarc.yaml or other configuration", PathRecord, PathConfig),
		"chmod o-w; their commands are run by who ships the change", "demarc audit; find changes -perm -o+w"},
	{"secret-files", "permissions", High, "files of secrets can be read by their owner only",
		modes("files such as .env or *.pem", PathSecret),
		"chmod 600, and change the secrets if others may have read them", "demarc audit; stat -c '%a %U' .env"},
	{"cache-network", "permissions", High, "cache servers cannot be reached from the network without need",
		answered(func(s *Server) bool { _, known := s.networks(); return known }),
		"bind 127.0.0.1 -::1 (or the one address that the service needs), protected-mode yes, and a firewall", "redis-cli CONFIG GET bind; demarc audit"},
	{"cache-password", "permissions", High, "cache servers want a password",
		answered(func(*Server) bool { return true }),
		"requirepass, or an ACL with a user for the service; the password from the environment or a file", "redis-cli PING answers NOAUTH; demarc audit"},
	{"cache-published", "permissions", High, "compose files publish caches and databases on loopback only",
		func(j *judge) (string, string) {
			if j.Files == nil || !j.Files.seen["compose"] {
				return "", "a compose file"
			}
			return "the compose files were read", ""
		},
		"take the ports out, or publish them on 127.0.0.1:", "docker compose config; demarc audit"},

	{"config-secrets", "secrets", High, "no secret stands in code or configuration", read,
		"read it from the environment or a file outside the repository, and change it: it is in the history", "demarc audit; git log -S finds where it came from"},
	{"env-secrets", "secrets", High, "variables of the environment are given no secret in clear", read,
		"hand them over as ${NAME:?} from outside, or as secrets of compose or Kubernetes; change what stood there", "demarc audit; docker compose config --no-interpolate"},
	{"argv-secrets", "secrets", High, "no secret stands on the command line of the service", running,
		"hand it over in the environment or a file, and change it: every process of the machine could read it", "ps -o args= -p PID; demarc audit while the service runs"},
	{"log-secrets", "secrets", High, "the log holds no secret", logged,
		"leave it out where it is logged (the line names the file), change the secret, remove the log", "demarc audit --log FILE"},
	{"note-secrets", "secrets", High, "change records and notes hold no secret",
		func(j *judge) (string, string) {
			if j.Notes == nil || j.Notes.Read == 0 {
				return "", "change records under changes/"
			}
			return count(j.Notes.Read, "file", "files") + " read", ""
		},
		"hand it over under secrets: of the command, which masks it, and change it: records are in git", "demarc audit; demarc change show"},
	{"capture-secrets", "secrets", High, "the capture holds no secret in clear",
		func(j *judge) (string, string) {
			if j.Traffic == nil {
				return "", noCapture
			}
			return fmt.Sprintf("%d different texts read", len(j.Traffic.texts)), ""
		},
		"privacy: { keys: hashed } in demarc.yaml; take the secret out of the key or address; drop the capture", "demarc audit, on a new capture"},

	{"set-cookie-stored", "headers", High, "no answer that sets a cookie can be stored for several people",
		traffic(func(t *Traffic) int64 { return t.withHeaders }, "the headers of %d answers looked at", "headers of answers (an OpenTelemetry or log source does not carry them)"),
		"Cache-Control: private or no-store on answers with Set-Cookie; in nginx no proxy_ignore_headers Set-Cookie", "curl -si URL | grep -i -e set-cookie -e cache-control"},
	{"authorized-stored", "headers", High, "no answer to who is logged in can be stored for several people",
		traffic(func(t *Traffic) int64 { return t.withIdentity }, "%d answers to who is logged in looked at", "requests with an identity (Authorization, a session cookie, or observe.principal in demarc.yaml)"),
		"Cache-Control: private (or no-store); public and s-maxage only for what is the same for all", "curl -si -H 'Authorization: …' URL | grep -i cache-control"},
	{"public-without-vary", "headers", Medium, "what may be shared names in Vary what it changes with",
		traffic(func(t *Traffic) int64 { return t.withHeaders }, "the headers of %d answers looked at", "headers of answers"),
		"send Vary with the headers that the answer depends on, or make it private", "curl -si with two values of the header; demarc audit on a new capture"},
	{"shared-keys", "headers", High, "no key of a cache serves several people with different values", judged,
		"put the identity into the key, or cache the part that is the same for all; drop what is there now", "demarc stale; demarc check --check 'leaks == 0'"},
	{"unkeyed-input", "headers", High, "every input that changes an answer is part of its key", judged,
		"put the input into the key or into Vary, or leave it out of the answer; drop what is there now", "demarc stale; demarc choose --explain ROUTE"},
	{"cached-errors", "headers", Medium, "errors are not stored",
		traffic(func(t *Traffic) int64 { return min(t.withHeaders, t.refusals) }, "%d answers with an error looked at", "answers with an error, and their headers"),
		"Cache-Control: no-store on errors; raise before the cache is filled", "curl -si URL-THAT-FAILS | grep -i cache-control"},
	{"cached-redirects", "headers", Medium, "redirects are not stored for several people",
		traffic(func(t *Traffic) int64 { return min(t.withHeaders, t.redirects) }, "%d redirects looked at", "redirects, and their headers"),
		"302 or 307 with Cache-Control: no-store; a 301 with a short max-age", "curl -si URL | grep -i -e '^HTTP' -e location -e cache-control"},
	{"path-confusion", "headers", High, "a path that looks like a file is not answered as another one",
		func(j *judge) (string, string) {
			if j.Probe != nil && slices.ContainsFunc(j.Probe.Inputs, func(a Asked) bool { return a.What == "path" }) {
				return "paths with /x.css behind them were asked", ""
			}
			if j.Traffic == nil || j.Traffic.static == 0 {
				return "", "requests for paths such as /account/x.css: --probe URL sends them"
			}
			return fmt.Sprintf("%d requests for paths that look like files", j.Traffic.static), ""
		},
		"match the whole path (no {rest:path} for pages); let caches store by Content-Type and Cache-Control, not by extension", "curl -si BASE/account/x.css answers 404; demarc audit --probe BASE"},
	{"outer-etag", "headers", Medium, "an ETag stands for one body",
		traffic(func(t *Traffic) int64 { return t.withTag }, "%d answers with ETag compared", "answers with ETag"),
		"make the ETag from the whole body, or from a version that every change of it raises", "curl -si twice around a change, compare etag"},
	{"outer-lifetime", "headers", Medium, "what clients may keep does not change within its lifetime",
		traffic(func(t *Traffic) int64 { return t.withHeaders }, "the headers of %d answers looked at", "headers of answers"),
		"a max-age not above the staleness budget, or no-cache with an ETag; s-maxage where the service can purge", "demarc audit on a new capture; demarc stale"},

	{"upload-limit", "uploads", Medium, "every route that takes a body has a limit", uploadsSeen,
		"a limit that counts what arrives, in the server in front (client_max_body_size) or in a middleware, and answers 413", "demarc audit --probe URL"},
	{"upload-setting", "uploads", Medium, "no setting takes the limit of a request away", read,
		"set client_max_body_size, DATA_UPLOAD_MAX_MEMORY_SIZE, MAX_CONTENT_LENGTH to what the largest honest request needs", "demarc audit"},

	{"log-personal", "logging", Medium, "the log holds no personal data", logged,
		"log a key of the person, not the address; shorten how long logs are kept", "demarc audit --log FILE"},
	{"log-sessions", "logging", High, "the log holds no session ids and cookies", logged,
		"leave out cookies and session ids where requests are logged; end the sessions that stand there", "demarc audit --log FILE"},
	{"log-failures", "logging", Medium, "what failed is named in the log",
		func(j *judge) (string, string) {
			if says, missing := logged(j); missing != "" {
				return says, missing
			}
			if j.Traffic == nil {
				return "", noCapture
			}
			if j.Traffic.errors == 0 {
				return "", "requests that failed"
			}
			return fmt.Sprintf("%d failed requests looked for in %d lines", j.Traffic.errors, j.Logs.Lines), ""
		},
		"log the exception (log.exception) where it is caught, with method and path", "cause the failure, and look into the log; demarc audit --log FILE"},

	{"bad-input", "input", Medium, "bad input is answered with 4xx, not with 500",
		func(j *judge) (string, string) {
			if j.Probe != nil && slices.ContainsFunc(j.Probe.Inputs, func(a Asked) bool { return a.What == "input" }) {
				return "the probe sent bad input", ""
			}
			return traffic(func(t *Traffic) int64 { return t.badInput }, "%d answers to what could not be read or found; --probe URL sends more", "bad input: --probe URL sends it")(j)
		},
		"validate before use, and answer 400 or 422 that says what was expected", "curl the example; demarc audit --probe URL"},
	{"retry-after", "input", Low, "429 and 503 say when to come back",
		traffic(func(t *Traffic) int64 { return t.refused }, "%d answers 429 or 503", "answers 429 or 503"),
		"send Retry-After with 429 and 503", "curl -si URL | grep -i retry-after"},

	{"debug", "settings", High, "debugging is off", read,
		"read it from the environment, off by default", "demarc audit; an error's page shows no code"},
	{"hosts", "settings", Medium, "forged hosts and addresses are refused", read,
		"name the hosts (ALLOWED_HOSTS, TrustedHostMiddleware) and the proxies (forwarded-allow-ips)", "curl -si -H 'Host: evil.example' URL answers 400"},
	{"cors", "settings", High, "not every site may ask with credentials", read,
		"name the origins, or leave credentials out", "curl -si -H 'Origin: https://evil.example' URL | grep -i access-control"},
	{"cookie-flags", "settings", Medium, "cookies are sent over HTTPS only and hidden from scripts", read,
		"Secure, HttpOnly and SameSite on every cookie that names somebody", "curl -si URL | grep -i set-cookie"},
	{"tls", "settings", Medium, "certificates are verified", read, "leave verification on, and install the certificate of your own authority", "demarc audit"},
	{"hidden-settings", "settings", Low, "cache and security settings stand in the files that demarc.yaml names",
		func(j *judge) (string, string) {
			if says, missing := read(j); missing != "" {
				return says, missing
			}
			if len(j.Files.Named) == 0 {
				return "", "security: { files: […] } in demarc.yaml"
			}
			return fmt.Sprintf("%d settings in %s", len(j.Files.Settings), count(len(j.Files.Named), "named file", "named files")), ""
		},
		"move the setting into one of the files, or name its file there", "demarc audit"},
}

// uploadsSeen says which routes are known to have a limit, and how large requests were.
func uploadsSeen(j *judge) (string, string) {
	if j.Traffic == nil {
		return "", noCapture
	}
	var largest int64
	where := ""
	var open []string
	bodies := 0
	for _, n := range sortedRoutes(j.Traffic.routes) {
		r := j.Traffic.routes[n]
		if r.bodies == 0 {
			continue
		}
		bodies++
		if r.largest > largest {
			largest, where = r.largest, n
		}
		limited := r.tooLarge > 0
		if j.Probe != nil {
			for _, u := range j.Probe.Uploads {
				limited = limited || u.Route == n && !u.took()
			}
		}
		if !limited {
			open = append(open, n)
		}
	}
	says := "no request with a body was seen"
	if where != "" {
		says = fmt.Sprintf("the largest request seen: %d bytes, %s", largest, where)
	}
	switch {
	case bodies == 0:
		return says, "requests with a body"
	case len(open) > 0:
		more := ""
		if len(open) > 5 {
			open, more = open[:5], ", …"
		}
		return says, "an oversized request to " + strings.Join(open, ", ") + more + ": --probe URL sends it"
	}
	return fmt.Sprintf("%s; %s refuse what is larger", says, count(bodies, "route", "routes")), ""
}

package audit

import (
	"regexp"
	"slices"
	"strings"
)

// submatch asks an expression, where that is worth it.
func submatch(re *regexp.Regexp, line string, worth bool) []string {
	if !worth {
		return nil
	}
	return re.FindStringSubmatch(line)
}

func (f *file) python(line string) {
	t := strings.TrimSpace(line)
	if strings.HasPrefix(t, "import ") || strings.HasPrefix(t, "from ") || strings.HasPrefix(t, "def ") || strings.HasPrefix(t, "async def ") || strings.HasPrefix(t, "class ") {
		return
	}
	if m := assigned.FindStringSubmatch(line); m != nil {
		name, value := m[1], strings.TrimSpace(m[2])
		if kind := kindOf(name); kind != "" && name == strings.ToUpper(name) {
			f.setting(name, kind, value)
			f.pythonFlaw(name, value)
		}
	}
	// Looking for a word costs a small part of what an expression does.
	has := func(words ...string) bool {
		return slices.ContainsFunc(words, func(w string) bool { return strings.Contains(line, w) })
	}
	if m := submatch(cacheCall, line, has("ache", "from_url(", "Redis", "ConnectionPool(", "make_region(")); m != nil {
		f.setting(m[1], KindCache, "")
	}
	if m := submatch(cacheWrite, line, has("ontrol", "ary", "xpires")); m != nil {
		f.setting(strings.ToLower(m[1]), KindCache, strings.Trim(strings.TrimSpace(m[2]), `"'`))
	}
	if m := submatch(security, line, has("Middleware", "set_cookie")); m != nil {
		f.setting(m[1], KindSecurity, "")
		f.call(m[1], strings.Index(line, m[0])+len(m[1]))
	}
	if has("verif", "check_hostname", "CERT_NONE", "ssl_cert_reqs") && unverified.MatchString(line) {
		f.setting("verify", KindSecurity, "False")
		f.flaw("tls", "certificates are not verified, so whoever stands between may answer")
	}
	if m := submatch(debugCall, line, has("debug")); m != nil {
		f.flaw("debug", strings.TrimSpace(m[0])+"…) shows the code and its variables to whoever causes an error")
	}
	if has("debug", "forwarded_allow_ips") {
		for _, m := range keywordName.FindAllStringSubmatch(line, 4) {
			f.setting(m[1], KindSecurity, m[2])
		}
		if strings.Contains(strings.ReplaceAll(line, " ", ""), `forwarded_allow_ips="*"`) {
			f.flaw("hosts", "forwarded_allow_ips is \"*\": any client may say which host and address it asks from")
		}
	}
}

var debugCall = regexp.MustCompile(`\b(?:FastAPI|Starlette|Litestar|Flask|\w*app\.run|run_simple)\((?:[^()]*,)?\s*debug\s*=\s*True|\bapp\.debug\s*=\s*True`)

// unverified are the ways in which Python's clients leave out what makes TLS safe.
var unverified = regexp.MustCompile(`\b(?:verify|check_hostname|verify_ssl|ssl_verify)\s*=\s*False\b|[^=!<>]=\s*(?:ssl\.)?CERT_NONE\b|_create_unverified_context|ssl_cert_reqs\s*=\s*(?:None|["']none)`)

// pythonFlaw judges one assignment.
func (f *file) pythonFlaw(name, value string) {
	bare := strings.TrimRight(value, ", ")
	anyone := strings.Contains(bare, `"*"`) || strings.Contains(bare, `'*'`)
	switch {
	case (name == "DEBUG" || name == "FLASK_DEBUG") && bare == "True":
		f.flaw("debug", name+" is on: errors show the code and its variables")
	case name == "ALLOWED_HOSTS" && anyone:
		f.flaw("hosts", "ALLOWED_HOSTS takes any host: a forged one reaches links, and caches that leave it out of the key")
	case name == "FORWARDED_ALLOW_IPS" && anyone:
		f.flaw("hosts", "FORWARDED_ALLOW_IPS takes any client's word for host and address")
	case strings.HasSuffix(name, "COOKIE_SECURE") && bare == "False", strings.HasSuffix(name, "COOKIE_HTTPONLY") && bare == "False",
		strings.HasSuffix(name, "COOKIE_SAMESITE") && strings.Trim(bare, `"'`) == "None":
		f.flaw("cookie-flags", name+" is "+bare)
	case (name == "CORS_ALLOW_ALL_ORIGINS" || name == "CORS_ORIGIN_ALLOW_ALL") && bare == "True" && strings.Contains(strings.Join(f.lines, "\n"), "CORS_ALLOW_CREDENTIALS = True"):
		f.flaw("cors", name+" with credentials: every site may ask in the name of who is logged in")
	case strings.HasPrefix(name, "DATA_UPLOAD_MAX") && bare == "None", name == "MAX_CONTENT_LENGTH" && bare == "None", strings.HasPrefix(name, "MAX_BODY") && (bare == "None" || bare == "0"):
		f.flaw("upload-setting", name+" is "+bare+": a request may be as large as it likes")
	}
}

// arguments returns the text between the parentheses that surround a place of the current line, over at most maxCall lines.
func (f *file) arguments(from int) string {
	var b strings.Builder
	depth := 1
	text := f.lines[f.at-1]
	if from < len(text) {
		text = text[from:]
	} else {
		text = ""
	}
	text = strings.TrimPrefix(strings.TrimSpace(text), "(")
	for i := f.at; ; i++ {
		text = uncomment(text, Python)
		for j := 0; j < len(text); j++ {
			switch text[j] {
			case '(':
				depth++
			case ')':
				if depth--; depth == 0 {
					b.WriteString(text[:j])
					return b.String()
				}
			}
		}
		b.WriteString(text + "\n")
		if i >= len(f.lines) || i >= f.at+maxCall {
			return b.String()
		}
		text = f.lines[i]
	}
}

// call judges a call that sets what browsers and proxies may do.
func (f *file) call(name string, from int) {
	args := strings.ReplaceAll(f.arguments(from), " ", "")
	has := func(s string) bool { return strings.Contains(args, s) }
	anyone := has(`"*"`) || has(`'*'`)
	switch name {
	case "CORSMiddleware":
		open := has(`allow_origins=["*"]`) || has(`allow_origins=['*']`) || has(`allow_origins=("*"`) || has(`allow_origin_regex=".*"`) || has(`allow_origin_regex='.*'`)
		if open && has("allow_credentials=True") {
			f.flaw("cors", "every site may ask with credentials, in the name of who is logged in")
		}
	case "TrustedHostMiddleware":
		if anyone {
			f.flaw("hosts", "TrustedHostMiddleware takes any host")
		}
	case "ProxyHeadersMiddleware":
		if anyone {
			f.flaw("hosts", "ProxyHeadersMiddleware takes any client's word for host and address")
		}
	case "SessionMiddleware":
		if !has("https_only=True") {
			f.flaw("cookie-flags", "the session cookie is sent over plain HTTP, too (https_only is not True)")
		}
	case "set_cookie":
		var lacks []string
		for _, flag := range []string{"httponly", "secure"} {
			if !has(flag+"=") || has(flag+"=False") {
				lacks = append(lacks, flag)
			}
		}
		if len(lacks) > 0 && !has("**") && !has("max_age=0") { // which takes the cookie back
			f.flaw("cookie-flags", "a cookie is set without "+strings.Join(lacks, " and "))
		}
	}
}

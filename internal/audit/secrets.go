package audit

import (
	"regexp"
	"strings"
	"unicode"
)

// Form is how a text is written, which decides what in it is a name with a value.
type Form int

// The forms.
const (
	Prose  Form = iota // logs, notes, texts of events: anything
	Python             // names with quoted values
	Env                // NAME=value: .env, ini, properties
	YAML               // name: value
	TOML               // name = "value"
	Docker             // ENV and ARG
	Nginx              // name value;
	Redis              // name value
)

// maxLine is how much of a line is looked at, in bytes.
const maxLine = 8 << 10

// Secret is a stretch of a line that looks like a secret.
type Secret struct {
	Kind     string
	From, To int // bytes of the line
}

// shape is a secret that is known by its form. Of a line that does not hold the needle, the expression is not asked.
type shape struct {
	kind, needle string
	is           *regexp.Regexp // its last group is the secret, the whole where there is none
}

const inAddress = "password in an address"

var shapes = []shape{
	{"private key", "PRIVATE KEY", regexp.MustCompile(`-----BEGIN (?:[A-Z0-9]+ ){0,3}PRIVATE KEY(?: BLOCK)?-----`)},
	{"AWS access key", "AKIA", regexp.MustCompile(`\bAKIA[0-9A-Z]{16}\b`)},
	{"AWS access key", "ASIA", regexp.MustCompile(`\bASIA[0-9A-Z]{16}\b`)},
	{"GitHub token", "gh", regexp.MustCompile(`\bgh[opsur]_[A-Za-z0-9]{36,255}\b`)},
	{"GitHub token", "github_pat_", regexp.MustCompile(`\bgithub_pat_[A-Za-z0-9_]{22,255}\b`)},
	{"GitLab token", "glpat-", regexp.MustCompile(`\bglpat-[\w-]{20,64}`)},
	{"Slack token", "xox", regexp.MustCompile(`\bxox[abeoprs]-[\w-]{10,250}`)},
	{"Slack webhook", "hooks.slack.com", regexp.MustCompile(`hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}`)},
	{"Stripe key", "_live_", regexp.MustCompile(`\b[sr]k_live_[0-9A-Za-z]{16,250}`)},
	{"Google API key", "AIza", regexp.MustCompile(`\bAIza[\w-]{35}`)},
	{"npm token", "npm_", regexp.MustCompile(`\bnpm_[A-Za-z0-9]{36}\b`)},
	{"PyPI token", "pypi-", regexp.MustCompile(`\bpypi-[\w-]{50,250}`)},
	{"API key", "sk-", regexp.MustCompile(`\bsk-[A-Za-z0-9][\w-]{30,250}`)},
	{"SendGrid key", "SG.", regexp.MustCompile(`\bSG\.[\w-]{22}\.[\w-]{43}`)},
	{"JSON Web Token", "eyJ", regexp.MustCompile(`\beyJ[\w-]{8,}\.eyJ[\w-]{8,}\.[\w-]{10,}`)},
	{"bearer token", "earer", regexp.MustCompile(`\b[Bb]earer\s+([\w.~+/-]{16,}=*)`)},
	{inAddress, "://", regexp.MustCompile(`\b[A-Za-z][A-Za-z0-9+.-]{1,30}://[^\s/:@"'<>]{0,64}:([^\s/@"'<>]{1,200})@`)},
	{"password on a command line", "requirepass", regexp.MustCompile(`requirepass["',\s]+([^\s"',;|\\]{4,200})`)},
}

var (
	// The end of a name whose value is secret.
	secretName = regexp.MustCompile(`(?:^|[_.])(?:secret|secretkey|secret_key|passwd|password|passphrase|pwd|api_?key|private_key|access_key|secret_access_key|` +
		`signing_key|encryption_key|auth_token|access_token|refresh_token|bot_token|token|client_secret|credentials?|requirepass|masterauth|redis_pass)$`)
	// Names that say that it is none.
	harmlessName = regexp.MustCompile(`(?:^|_)(?:demo|example|test|testing|sample|fake|dummy|csrf)(?:_|$)`)
	// Values that stand for one: a reference, a template, a word to be replaced.
	placeholder = regexp.MustCompile(`(?i)^(?:env|file|vault|secret|ssm|arn|op):|^[$%<{\[(*~]|\$\{|\$\(|\{\{|^/(?:run|etc|var)/|example|placeholder|redacted|dummy|your[-_]|not[-_]the|x{4}|\.\.\.|…|^(?:none|null|true|false|required|optional|string|str|bytes|int)$`)

	pythonPair  = regexp.MustCompile(`["']?\b([A-Za-z_][\w.-]{0,80})["']?\]?\s*(?::\s*[\w\[\], |.]{1,40}?\s*=|:|=)\s*[rbuRBU]{0,2}(?:"([^"\\]{6,400})"|'([^'\\]{6,400})')`)
	pythonEnv   = regexp.MustCompile(`(?:getenv|environ\.get|environ\.setdefault|config|env)\(\s*["']([A-Za-z_]\w{0,80})["']\s*,\s*(?:default\s*=\s*)?["']([^"'\\]{6,400})["']`)
	plainPair   = regexp.MustCompile(`^\s*(?:export\s+|ENV\s+|ARG\s+|-\s+|set\s+|Environment=)?["']?([A-Za-z_][\w.-]{0,80})["']?\s*[=:]\s*(?:"([^"]{4,400})"|'([^']{4,400})'|([^\s#"'][^\s#]{3,400}))`)
	dockerSpace = regexp.MustCompile(`^\s*ENV\s+([A-Za-z_]\w{0,80})\s+["']?([^\s"']{4,400})`)
	inlinePair  = regexp.MustCompile(`[{,]\s*["']?([A-Za-z_][\w.-]{0,80})["']?\s*[=:]\s*["']?([^\s"',}]{4,400})`)
	prosePair   = regexp.MustCompile(`(?i)\b([\w-]{0,40}(?:password|passwd|pwd|secret|token|api[_-]?key|private[_-]?key))(["']?\s*[=:]\s*["']?)((?:bearer|basic|token)\s+)?([^\s"',;&)}\]<]{6,400})`)
)

// Secrets returns what in a line looks like a secret, in order of place, each stretch once: known shapes in any form, and names
// that say what they hold (SECRET_KEY, password) with a value that stands there.
func Secrets(line string, form Form) []Secret {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	var found []Secret
	add := func(kind string, from, to int) {
		for _, f := range found {
			if from < f.To && f.From < to {
				return
			}
		}
		found = append(found, Secret{kind, from, to})
	}
	for _, s := range shapes {
		if !strings.Contains(line, s.needle) {
			continue
		}
		for _, m := range s.is.FindAllStringSubmatchIndex(line, 20) {
			from, to := m[len(m)-2], m[len(m)-1]
			if len(m) > 2 && !literal(line[from:to]) {
				continue
			}
			add(s.kind, from, to)
		}
	}
	pair := func(name string, from, to int) {
		value := line[from:to]
		n := plainName(name)
		if !secretName.MatchString(n) || harmlessName.MatchString(n) || !literal(value) || len(value) < 6 || secretName.MatchString(plainName(value)) {
			return
		}
		if weak := n == "token" || strings.HasSuffix(n, "_token") || strings.HasSuffix(n, ".token"); weak && !random(value) {
			return
		}
		add("value of "+name, from, to)
	}
	each := func(re *regexp.Regexp) {
		for _, m := range re.FindAllStringSubmatchIndex(line, 20) {
			for g := 4; g+1 < len(m); g += 2 {
				if m[g] >= 0 {
					pair(line[m[2]:m[3]], m[g], m[g+1])
					break
				}
			}
		}
	}
	if !holds(line, secretWords) {
		return found
	}
	switch form {
	case Python:
		each(pythonPair)
		each(pythonEnv)
	case Env, YAML, TOML:
		each(plainPair)
		each(inlinePair)
	case Docker:
		each(plainPair)
		each(dockerSpace)
	case Prose:
		if strings.ContainsAny(line, "=:") {
			for _, m := range prosePair.FindAllStringSubmatchIndex(line, 20) {
				value, sign := line[m[8]:m[9]], line[m[4]:m[5]]
				// In prose, a colon comes before words too.
				plain := strings.Contains(sign, ":") && !strings.ContainsAny(sign, `"'`) && m[6] < 0
				if literal(value) && len(value) >= 6 && (!plain || random(value)) && !harmlessName.MatchString(plainName(line[m[2]:m[3]])) {
					add("value of "+line[m[2]:m[3]], m[8], m[9])
				}
			}
		}
	}
	return found
}

// The words without which a line holds no name of a secret or session: looking for them costs a hundredth of the expressions.
var (
	secretWords = []string{"passw", "passphrase", "pwd", "secret", "token", "apikey", "api_key", "api-key", "private", "access", "signing", "encryption", "credential",
		"masterauth", "redis_pass"}
	sessionWords = []string{"session", "sid", "cookie", "connect."}
)

// holds says whether a line has one of the words, in whatever case.
func holds(line string, words []string) bool {
	for i := range line {
		c := line[i] | 0x20
		for _, w := range words {
			if c == w[0] && len(line)-i >= len(w) && strings.EqualFold(line[i:i+len(w)], w) {
				return true
			}
		}
	}
	return false
}

// plainName writes apiKey and API-KEY as api_key.
func plainName(name string) string {
	var b strings.Builder
	lower := false
	for _, c := range name {
		if lower && unicode.IsUpper(c) {
			b.WriteByte('_')
		}
		lower = unicode.IsLower(c)
		if c == '-' {
			c = '_'
		}
		b.WriteRune(unicode.ToLower(c))
	}
	return b.String()
}

// literal says whether a value is one itself, and not a reference, a template or a word to be replaced.
func literal(value string) bool {
	return value != "" && !placeholder.MatchString(value) && !strings.ContainsAny(value, " \t{}<>") && strings.Trim(value, "*xX.-_#") != ""
}

// random says whether a value may have been drawn: at least 8 characters with digits and letters.
func random(value string) bool {
	return len(value) >= 8 && strings.ContainsAny(value, "0123456789") && strings.ContainsFunc(value, unicode.IsLetter)
}

var (
	email = regexp.MustCompile(`[A-Za-z0-9._+-]{1,64}(?:@|%40)[A-Za-z0-9](?:[A-Za-z0-9-]{0,62}\.){1,8}[A-Za-z]{2,24}\b`)
	// A session by name, or a cookie header.
	session = regexp.MustCompile(`(?i)\b((?:[\w-]{0,20}session[_-]?(?:id|key|token)?|sid|jsessionid|phpsessid|connect\.sid|cookie|set-cookie))["']?\s*[=:]\s*["']?([^\s"',;&)}\]]{8,400})`)
)

// Emails returns the mail addresses in a line. Those in an address before the host (user@host in a URL) are none.
func Emails(line string) []Secret {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	if !strings.Contains(line, "@") && !strings.Contains(line, "%40") {
		return nil
	}
	var found []Secret
	for _, m := range email.FindAllStringIndex(line, 20) {
		if before := line[:m[0]]; strings.HasSuffix(before, "://") || strings.HasSuffix(before, ":") && strings.Contains(lastWord(before), "://") {
			continue
		}
		found = append(found, Secret{"e-mail address", m[0], m[1]})
	}
	return found
}

func lastWord(s string) string { return s[strings.LastIndexAny(s, " \t\"'")+1:] }

// Sessions returns session ids and cookies in a line.
func Sessions(line string) []Secret {
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	var found []Secret
	if !holds(line, sessionWords) {
		return nil
	}
	for _, m := range session.FindAllStringSubmatchIndex(line, 20) {
		if value := line[m[4]:m[5]]; literal(value) && random(value) {
			found = append(found, Secret{"value of " + line[m[2]:m[3]], m[4], m[5]})
		}
	}
	return found
}

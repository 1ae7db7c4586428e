package otlp

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// What may be shown of keys and targets: the rules are the recorder's (python/_demarc/redact.py), so that a key looks
// the same whoever saw it. What looks like a secret never stays in clear; with keys hashed, no variable part does.

const (
	maxKey    = 512  // characters of a key; of a longer one the first keyHead, and the hash of all
	keyHead   = 400  // characters
	maxTarget = 2048 // characters
)

// hidden is what stands in place of a value: its keyed hash, recognisable and comparable. Without a key to hash with
// nothing of the value is left.
func (b *batch) hidden(s string) string {
	if b.opts.Hash == nil {
		return "~"
	}
	return "~" + b.opts.Hash(s).String()
}

// Target returns a request's target as it may be kept, for whoever reads requests from something else than spans.
func (o *Options) Target(target string) string { return (&batch{opts: o}).target("", target) }

// target returns a request's target as it may be kept; the first argument is not used.
func (b *batch) target(_, s string) string {
	path, query, asked := strings.Cut(s, "?")
	var out strings.Builder
	if b.opts.Hashed {
		for i, segment := range strings.Split(path, "/") {
			if i > 0 {
				out.WriteByte('/')
			}
			if variable(segment) {
				segment = b.hidden(segment)
			}
			out.WriteString(segment)
		}
	} else {
		out.WriteString(b.secrets(path))
	}
	if asked && query != "" {
		sep := byte('?')
		for pair := range strings.SplitSeq(query, "&") {
			out.WriteByte(sep)
			sep = '&'
			name, value, eq := strings.Cut(pair, "=")
			switch {
			case value != "" && (b.opts.Hashed || secretName(name)):
				value = b.hidden(value)
			case value != "":
				value = b.secrets(value)
			}
			if b.opts.Hashed || !eq {
				name = b.secrets(name)
			}
			out.WriteString(name)
			if eq {
				out.WriteByte('=')
			}
			out.WriteString(value)
		}
	}
	return head(out.String(), maxTarget)
}

// key returns a cache key as it may be kept; the first argument is not used.
func (b *batch) key(_, k string) string {
	if short := head(k, maxKey); len(short) < len(k) {
		k = head(k, keyHead) + "…" + b.hidden(k)
	}
	if !b.opts.Hashed {
		return b.secrets(k)
	}
	var out strings.Builder
	for {
		cut := strings.IndexAny(k, ":/|")
		segment := k
		if cut >= 0 {
			segment = k[:cut]
		}
		if variable(segment) {
			segment = b.hidden(segment)
		}
		out.WriteString(segment)
		if cut < 0 {
			return out.String()
		}
		out.WriteByte(k[cut])
		k = k[cut+1:]
	}
}

// head returns the first n characters.
func head(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for i := range s {
		if n == 0 {
			return s[:i]
		}
		n--
	}
	return s
}

// variable says whether a segment of a key or path looks like a value and not like a name.
func variable(segment string) bool {
	if segment == "" || len(segment) == 2 && segment[0] == 'v' && digit(segment[1]) {
		return false
	}
	if len(segment) > 40 {
		return true
	}
	for i := range len(segment) {
		switch c := segment[i]; {
		case letter(c), c == '_', c == '.', c == '-', c == '{', c == '}', c == '*':
		default:
			return true
		}
	}
	return false
}

func digit(c byte) bool  { return c >= '0' && c <= '9' }
func letter(c byte) bool { return c|0x20 >= 'a' && c|0x20 <= 'z' }

// secretWords are names of inputs whose values are never kept, as a whole part of a name between "_", "-", "." and
// brackets; secretEnds are those that also count at the end of a longer word.
var secretWords = map[string]bool{
	"token": true, "secret": true, "password": true, "passwd": true, "pwd": true, "code": true, "auth": true,
	"authorization": true, "apikey": true, "key": true, "sig": true, "signature": true, "session": true,
	"sessionid": true, "sid": true, "jwt": true, "otp": true, "pin": true, "credential": true, "credentials": true,
	"access": true, "refresh": true, "email": true, "mail": true, "phone": true, "ssn": true, "card": true,
}

var secretEnds = []string{"token", "password", "secret", "email"}

func secretName(name string) bool {
	name = strings.ToLower(name)
	for word := range strings.FieldsFuncSeq(name, func(c rune) bool {
		return c == '_' || c == '-' || c == '.' || c == '[' || c == ']'
	}) {
		if secretWords[word] {
			return true
		}
	}
	for _, end := range secretEnds {
		if strings.HasSuffix(name, end) {
			return true
		}
	}
	return false
}

// secrets replaces what looks like a secret: an e-mail address, a JWT, or a run of 32 or more characters of hex or
// base64 that holds both letters and digits and is neither a UUID nor a slug. It takes the leftmost, and of those that begin at one place
// the first of this list.
func (b *batch) secrets(s string) string {
	var out []byte
	done, noMail := 0, 0 // no address begins before noMail
	for i := 0; i < len(s); {
		end := 0
		if i >= noMail {
			end, noMail = mailAt(s, i)
		}
		if end == 0 {
			end = jwtAt(s, i)
		}
		if end == 0 {
			end = runAt(s, i)
		}
		if end == 0 {
			i++
			continue
		}
		if found := s[i:end]; !uuid(found) && !slug(found) {
			out = append(out, s[done:i]...)
			out = append(out, b.hidden(s[i:end])...)
			done = end
		}
		i = end
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

// mailAt returns the end of an e-mail address that begins at i, 0 where there is none; then none begins before next
// either. Its at sign may be written %40.
func mailAt(s string, i int) (end, next int) {
	local := i
	for local < len(s) && !separates(s[local]) {
		local++
	}
	if local == i {
		return 0, i + 1
	}
	if local < len(s) && s[local] == '@' {
		host := local + 1
		stop := host
		for stop < len(s) && !separates(s[stop]) {
			stop++
		}
		if end := hostEnd(s, host, stop); end > 0 {
			return end, end
		}
	}
	for at := strings.LastIndex(s[i:local], "%40"); at > 0; at = strings.LastIndex(s[i:i+at], "%40") {
		if end := hostEnd(s, i+at+len("%40"), local); end > 0 {
			return end, end
		}
	}
	return 0, local
}

// hostEnd returns where a host name ends that begins at host and lies before stop: after at least one byte, a dot and
// two or more letters, as far as they go, the last dot of which that is true.
func hostEnd(s string, host, stop int) int {
	for dot := stop - 1; dot > host; dot-- {
		if s[dot] != '.' {
			continue
		}
		end := dot + 1
		for end < stop && letter(s[end]) {
			end++
		}
		if end-dot > 2 {
			return end
		}
	}
	return 0
}

func separates(c byte) bool {
	return c == ' ' || c >= 9 && c <= 13 || c >= 0x1c && c <= 0x1f || strings.IndexByte("@/:|?&=", c) >= 0
}

// word returns how many bytes the letter, digit, underscore or dash at i takes, in any script; 0 where there is another
// character.
func word(s string, i int) int {
	if i >= len(s) {
		return 0
	}
	if c := s[i]; c < utf8.RuneSelf {
		if letter(c) || digit(c) || c == '_' || c == '-' {
			return 1
		}
		return 0
	}
	r, n := utf8.DecodeRuneInString(s[i:])
	if unicode.IsLetter(r) || unicode.IsNumber(r) {
		return n
	}
	return 0
}

// jwtAt returns the end of a JSON web token that begins at i, 0 where there is none: three parts with dots between,
// of which the last may be empty.
func jwtAt(s string, i int) int {
	if !strings.HasPrefix(s[i:], "eyJ") {
		return 0
	}
	end := i + len("eyJ")
	for part, least := range [...]int{8, 1, 0} {
		if part > 0 {
			if end >= len(s) || s[end] != '.' {
				return 0
			}
			end++
		}
		n := 0
		for w := word(s, end); w > 0; w = word(s, end) {
			end += w
			n++
		}
		if n < least {
			return 0
		}
	}
	return end
}

// runAt returns the end of a run of 32 or more characters of base64 that begins at i, not inside a word; 0 where there
// is none.
func runAt(s string, i int) int {
	if !runByte(s[i]) {
		return 0
	}
	if i > 0 {
		if r, n := utf8.DecodeLastRuneInString(s[:i]); word(s, i-n) > 0 && r != utf8.RuneError {
			return 0
		}
	}
	end, digits, letters := i, false, false
	for end < len(s) && runByte(s[end]) {
		digits = digits || digit(s[end])
		letters = letters || letter(s[end])
		end++
	}
	if !digits || !letters {
		return 0
	}
	pad := 0
	for pad < 2 && end+pad < len(s) && s[end+pad] == '=' {
		pad++
	}
	for ; pad > 0; pad-- {
		if end-i >= 32 && word(s, end+pad) == 0 {
			return end + pad
		}
	}
	for ; end-i >= 32; end-- {
		if word(s, end) == 0 {
			return end
		}
	}
	return 0
}

func runByte(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '-' || c == '+' }

// slug says whether a run of characters reads as words: three or more stretches of at most 16 lower-case letters and
// digits, with dashes or underscores between. Tokens have longer stretches or capitals.
func slug(s string) bool {
	stretches, length := 1, 0
	for i := range len(s) {
		switch c := s[i]; {
		case digit(c) || c >= 'a' && c <= 'z':
			if length++; length > 16 {
				return false
			}
		case (c == '-' || c == '_') && length > 0:
			stretches, length = stretches+1, 0
		default:
			return false
		}
	}
	return stretches >= 3 && length > 0
}

// uuid says whether a run of characters is a UUID in its usual spelling.
func uuid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		switch c := s[i]; {
		case i == 8 || i == 13 || i == 18 || i == 23:
			if c != '-' {
				return false
			}
		case !digit(c) && (c|0x20 < 'a' || c|0x20 > 'f'):
			return false
		}
	}
	return true
}

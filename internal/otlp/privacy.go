package otlp

import (
	"strings"
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
// base64 that holds both letters and digits and is no UUID.
func (b *batch) secrets(s string) string {
	if len(s) < 5 { // a@b.cd has six
		return s
	}
	var out []byte
	done := 0
	for i := 0; i < len(s); {
		n := secretAt(s, i, done)
		if n.to == 0 {
			i++
			continue
		}
		out = append(out, s[done:n.from]...)
		out = append(out, b.hidden(s[n.from:n.to])...)
		done, i = n.to, n.to
	}
	if done == 0 {
		return s
	}
	return string(append(out, s[done:]...))
}

type extent struct{ from, to int }

// secretAt finds a secret that begins at i, or, for an e-mail address, whose at sign is there; from is how far back it
// may reach.
func secretAt(s string, i, from int) extent {
	switch c := s[i]; {
	case c == '@' || c == '%' && strings.HasPrefix(s[i:], "%40"):
		return emailAt(s, i, from)
	case i > from && runByte(s[i-1]):
		return extent{}
	case !runByte(c):
		return extent{}
	case c == 'e' && strings.HasPrefix(s[i:], "eyJ"):
		if n := jwtAt(s, i); n.to > 0 {
			return n
		}
	}
	to, digits, letters := i, false, false
	for to < len(s) && runByte(s[to]) {
		digits = digits || digit(s[to])
		letters = letters || letter(s[to])
		to++
	}
	if to-i < 32 || !digits || !letters || uuid(s[i:to]) {
		return extent{}
	}
	for pad := 0; pad < 2 && to < len(s) && s[to] == '='; pad++ {
		to++
	}
	return extent{i, to}
}

func runByte(c byte) bool { return letter(c) || digit(c) || c == '_' || c == '-' || c == '+' }

// emailAt takes what stands around an at sign (also written %40) up to the next byte that separates, where what follows
// holds a dot before at least two letters.
func emailAt(s string, at, from int) extent {
	host := at + 1
	if s[at] == '%' {
		host = at + 3
	}
	start := at
	for start > from && !separates(s[start-1]) {
		start--
	}
	end := host
	for end < len(s) && !separates(s[end]) {
		end++
	}
	dot := strings.LastIndexByte(s[host:end], '.')
	if start == at || dot <= 0 || end-(host+dot+1) < 2 {
		return extent{}
	}
	return extent{start, end}
}

func separates(c byte) bool { return c <= ' ' || strings.IndexByte("@/:|?&=", c) >= 0 }

func jwtAt(s string, at int) extent {
	parts := [3]int{}
	end := at + len("eyJ")
	for i := range parts {
		for end < len(s) && runByte(s[end]) && s[end] != '+' {
			parts[i]++
			end++
		}
		if i < 2 {
			if end == len(s) || s[end] != '.' {
				return extent{}
			}
			end++
		}
	}
	if parts[0] < 8 || parts[1] == 0 {
		return extent{}
	}
	return extent{at, end}
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

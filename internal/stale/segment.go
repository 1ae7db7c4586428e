package stale

import (
	"regexp"
	"strings"
)

// inner finds hashes and UUIDs inside a segment: keys of page caches join them with dots.
var inner = regexp.MustCompile(`~[0-9a-f]{16}\b|\b[0-9a-f]{32,64}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)

// variable says whether a segment is a number, a UUID or a hash.
func variable(s string) bool {
	if s == "" {
		return false
	}
	if s == "()" { // how a recorder writes the key of a call without arguments
		return true
	}
	if strings.HasPrefix(s, "0x") && len(s) > 2 && strings.Trim(s[2:], "0123456789abcdefABCDEF") == "" {
		return true
	}
	digits, hex, other := 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			hex++
		case (c == '-' || c == '+') && i == 0 || c == '.' && i > 0 && i < len(s)-1:
			other += 1
		case c == '~' && i == 0: // how a recorder writes a hashed segment
			return len(s) == 17
		default:
			other += 2
		}
	}
	if digits > 0 && hex == 0 && other <= 1 { // 42, -1, 3.14
		return true
	}
	if hex+digits == len(s) && len(s) >= 8 && digits > 0 && hex > 0 || hex+digits == len(s) && len(s) >= 32 {
		return true
	}
	return uuid(s)
}

// value says whether a segment is a value, by itself or by the separator before it: behind a stroke, by which recorders and
// libraries divide a function from its arguments, all that holds a digit is, but for versions such as v2.
func value(before, seg string) bool {
	if variable(seg) {
		return true
	}
	if before != "|" || len(seg) == 2 && seg[0] == 'v' {
		return false
	}
	return strings.ContainsAny(seg, "0123456789")
}

func uuid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// firstSegment returns the first segment of what is left of a key behind count others, and the separator after it; "" after the last one.
func firstSegment(rest string, count int) (seg, sep string) {
	i := strings.IndexAny(rest, ":/|")
	if i < 0 || count >= maxSegments {
		return rest, ""
	}
	return rest[:i], rest[i : i+1]
}

// variables are the parts of a key that its family shows as {}, in order, and the words of the rest.
func (fs *families) variables(st *store, key string) (parts []string, words []string) {
	n := &fs.treeOf(st, key).node
	for count, rest, before := 0, key, ""; ; count++ {
		seg, sep := firstSegment(rest, count)
		folded := n != nil && n.open&sepBit(sep) != 0
		if n != nil {
			at := sep + inner.ReplaceAllString(seg, "{}")
			if folded || value(before, seg) {
				at = sep + "{}"
			}
			n = n.kids[at]
		}
		if value(before, seg) || folded {
			parts = append(parts, strings.Trim(seg, `'"`))
		} else {
			parts = append(parts, inner.FindAllString(seg, -1)...)
			words = append(words, strings.FieldsFunc(strings.ToLower(inner.ReplaceAllString(seg, " ")), func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r < 128
			})...)
		}
		if sep == "" {
			return parts, words
		}
		rest, before = rest[len(seg)+1:], sep
	}
}

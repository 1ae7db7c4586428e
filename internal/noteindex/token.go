package noteindex

import (
	"strings"
	"unicode"
	"unicode/utf8"
)

// maxToken is the greatest length of a word, in bytes; longer ones are cut, in texts as in questions.
const maxToken = 40

// tokens calls f for each word of a text: runs of letters and digits in lower case, without the ending of an English plural. Of
// scripts without spaces, every character is a word. The slice is only good until f returns.
func tokens(text []byte, scratch []byte, f func(word []byte)) []byte {
	word := scratch[:0]
	flush := func() {
		if len(word) > 0 {
			if len(word) > maxToken {
				word = word[:maxToken]
			}
			f(singular(word))
			word = word[:0]
		}
	}
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			i++
			switch {
			case c >= 'a' && c <= 'z' || c >= '0' && c <= '9':
				word = append(word, c)
			case c >= 'A' && c <= 'Z':
				word = append(word, c+'a'-'A')
			default:
				flush()
			}
			continue
		}
		r, n := utf8.DecodeRune(text[i:])
		i += n
		switch {
		case r >= 0x2e80 && unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana):
			flush()
			word = utf8.AppendRune(word, r)
			flush()
		case unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.Is(unicode.Mn, r):
			word = utf8.AppendRune(word, unicode.ToLower(r))
		default:
			flush()
		}
	}
	flush()
	return word
}

// singular takes the ending of an English plural off a word: caches, queries, indexes.
func singular(w []byte) []byte {
	n := len(w)
	if n < 4 || w[n-1] != 's' {
		return w
	}
	switch w[n-2] {
	case 's', 'u', 'i', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9':
		return w
	case 'e':
		if w[n-3] == 'i' && n > 4 {
			return append(w[:n-3], 'y')
		}
		if w[n-3] == 'x' || w[n-3] == 's' && w[n-4] == 's' || n > 4 && w[n-3] == 'h' && w[n-4] == 's' {
			return w[:n-2]
		}
	}
	return w[:n-1]
}

// Marks in front of terms that are no words of a text.
const (
	entityMark = "\x01" // name of an entity, in lower case
	typedMark  = "\x02" // type, \x00, name of an entity, in lower case
	idMark     = "\x03" // id of a note
)

func entityTerm(name string) string { return cutTerm(entityMark + strings.ToLower(name)) }
func typedTerm(kind, name string) string {
	return cutTerm(typedMark + strings.ToLower(kind) + "\x00" + strings.ToLower(name))
}
func idTerm(id string) string { return cutTerm(idMark + id) }

// maxTerm is the greatest length of a term, in bytes.
const maxTerm = 400

func cutTerm(s string) string { return s[:min(len(s), maxTerm)] }

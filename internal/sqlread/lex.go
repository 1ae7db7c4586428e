package sqlread

import "strings"

// tkind is the class of a token.
type tkind uint8

const (
	tEOF tkind = iota
	tWord
	tQuoted // an identifier in quotes, backticks or brackets
	tString // any quoted literal, with its prefix
	tNumber // with its sign, where it cannot be an operator
	tParam
	tOp
	tEq // = and ==
	tStar
	tDot
	tComma
	tSemi
	tLParen
	tRParen
	tLBracket
	tRBracket
	tCast // ::
)

// token is a piece of the text. Comments and white space are no tokens.
type token struct {
	kind       tkind
	kw         kw    // for words; none after a dot
	param      int32 // the index of a parameter
	start, end int32
}

// lexer cuts a text into tokens. It never fails: what is not closed runs to the end of the text, as a literal.
type lexer struct {
	text   string
	d      Dialect
	pos    int
	toks   []token
	params int
	names  []string
	// indexes finds the named parameters again.
	indexes map[string]int
	// values has one bit a parenthesis: it is an IN list or a row of VALUES, in which a double-quoted word is a
	// string for databases that take it for either.
	values   uint64
	depth    int
	lastVals bool // the parenthesis closed last was such a list
}

func isIdentStart(c byte) bool {
	return c|0x20 >= 'a' && c|0x20 <= 'z' || c == '_' || c >= 0x80
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

func isIdent(c byte) bool { return isIdentStart(c) || isDigit(c) || c == '$' }

func isSpace(c byte) bool { return c == ' ' || c >= '\t' && c <= '\r' }

// at returns the byte at i, 0 beyond the end.
func (l *lexer) at(i int) byte {
	if i < len(l.text) {
		return l.text[i]
	}
	return 0
}

func (l *lexer) prev() token {
	if n := len(l.toks); n > 0 {
		return l.toks[n-1]
	}
	return token{}
}

// afterOperand says whether the last token ends an operand, so that a sign is an operator.
func (l *lexer) afterOperand() bool { return l.prev().endsOperand() }

func (p token) endsOperand() bool {
	switch p.kind {
	case tWord:
		return !p.kw.takesOperand()
	case tQuoted, tString, tNumber, tParam, tRParen, tRBracket:
		return true
	}
	return false
}

func (l *lexer) add(k tkind, start, end int) {
	l.toks = append(l.toks, token{kind: k, start: int32(start), end: int32(end)})
	l.pos = end
}

// lex cuts text into toks (whose memory it uses), ended by one tEOF.
func lex(d Dialect, text string, toks []token) lexer {
	l := lexer{text: text, d: d, toks: toks[:0]}
	for l.pos < len(text) {
		l.next()
	}
	l.add(tEOF, len(text), len(text))
	return l
}

func (l *lexer) next() {
	i, c := l.pos, l.text[l.pos]
	switch {
	case isSpace(c):
		l.pos++
	case isIdentStart(c):
		l.word()
	case isDigit(c) || c == '.' && isDigit(l.at(i+1)) && l.prev().kind != tWord && l.prev().kind != tQuoted:
		l.number(i, i)
	default:
		l.symbol(i, c)
	}
}

func (l *lexer) symbol(i int, c byte) {
	switch c {
	case '\'':
		l.str(i, i, l.d == MySQL)
	case '"':
		l.doubleQuoted(i)
	case '`':
		l.quoted(i, i, '`')
	case '[':
		if l.bracketed(i) {
			l.quoted(i, i, ']')
		} else {
			l.add(tLBracket, i, i+1)
		}
	case ']':
		l.add(tRBracket, i, i+1)
	case '(':
		l.open(i)
	case ')':
		if l.depth > 0 {
			l.depth--
			if l.depth < 64 {
				l.lastVals = l.values>>l.depth&1 == 1
			}
		}
		l.add(tRParen, i, i+1)
	case ',':
		if l.prev().kind != tRParen {
			l.lastVals = false
		}
		l.add(tComma, i, i+1)
	case ';':
		l.add(tSemi, i, i+1)
	case '.':
		l.add(tDot, i, i+1)
	case '*':
		l.add(tStar, i, i+1)
	case '$':
		l.dollar(i)
	case ':':
		l.colon(i)
	case '?':
		l.question(i)
	case '%':
		l.percent(i)
	case '#':
		if l.d == MySQL {
			l.lineComment(i)
		} else {
			l.operator(i)
		}
	case '@':
		l.atSign(i)
	case '-', '+':
		switch {
		case c == '-' && l.at(i+1) == '-' && (l.d != MySQL || l.at(i+2) <= ' '):
			l.lineComment(i)
		case (isDigit(l.at(i+1)) || l.at(i+1) == '.' && isDigit(l.at(i+2))) && !l.afterOperand():
			l.number(i, i+1)
		default:
			l.operator(i)
		}
	case '/':
		if l.at(i+1) == '*' {
			l.blockComment(i)
		} else {
			l.operator(i)
		}
	default:
		l.operator(i)
	}
}

func (l *lexer) open(i int) {
	p := l.prev()
	vals := p.kind == tWord && (p.kw == kwIn || p.kw == kwValues) || p.kind == tComma && l.lastVals
	if l.depth < 64 {
		l.values &^= 1 << l.depth
		if vals {
			l.values |= 1 << l.depth
		}
	}
	l.depth++
	l.lastVals = false
	l.add(tLParen, i, i+1)
}

func (l *lexer) word() {
	i := l.pos
	j := i + 1
	for j < len(l.text) && isIdent(l.text[j]) {
		j++
	}
	if n := l.at(j); n == '\'' && j == i+1 {
		switch l.text[i] | 0x20 {
		case 'e':
			if l.d != MySQL {
				l.str(i, j, l.d != SQLite)
				return
			}
		case 'b', 'x', 'n':
			l.str(i, j, l.d == MySQL)
			return
		}
	} else if n == '&' && j == i+1 && l.text[i]|0x20 == 'u' && l.d != MySQL {
		switch l.at(j + 1) {
		case '\'':
			l.str(i, j+1, false)
			return
		case '"':
			l.quoted(i, j+1, '"')
			return
		}
	}
	k := kwNone
	if l.prev().kind != tDot {
		k = keyword(l.text[i:j])
	}
	l.toks = append(l.toks, token{kind: tWord, kw: k, start: int32(i), end: int32(j)})
	l.pos = j
}

// number reads from digits on; start is where its sign stands. Letters that stick to it belong to it, except in MySQL,
// where a name may begin with a digit.
func (l *lexer) number(start, i int) {
	if start == i && l.d == MySQL {
		if end := l.identEnd(i); strings.IndexFunc(l.text[i:end], func(r rune) bool { return r < '0' || r > '9' }) >= 0 &&
			!plainNumber(l.text[i:end]) {
			l.add(tWord, i, end)
			return
		}
	}
	j, letters := i, false
	hex := l.at(i) == '0' && l.at(i+1)|0x20 == 'x'
	for j < len(l.text) {
		c := l.text[j]
		if c|0x20 == 'e' && !hex && (l.at(j+1) == '+' || l.at(j+1) == '-') && isDigit(l.at(j+2)) && !letters {
			j += 2
			continue
		}
		if !isIdent(c) && c != '.' {
			break
		}
		letters = letters || isIdentStart(c)
		j++
	}
	l.add(tNumber, start, j)
}

// plainNumber says whether s is digits, perhaps with an exponent, or hexadecimal or binary.
func plainNumber(s string) bool {
	if len(s) > 2 && s[0] == '0' {
		switch s[1] | 0x20 {
		case 'b':
			return strings.Trim(s[2:], "01") == ""
		case 'x':
			return strings.Trim(s[2:], "0123456789abcdefABCDEF") == ""
		}
	}
	e := false
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case isDigit(c):
		case c|0x20 == 'e' && !e && i > 0:
			e = true
		default:
			return false
		}
	}
	return true
}

// str reads a literal whose quote stands at q.
func (l *lexer) str(start, q int, backslash bool) {
	l.add(tString, start, l.strEnd(q, '\'', backslash))
}

// strEnd returns the end of the literal that opens at q. Where the dialect is not known and a backslash stands before a
// quote, nobody can say where the literal ends: it is taken to run to the end of the text, so that nothing leaks.
func (l *lexer) strEnd(q int, quote byte, backslash bool) int {
	odd := false // an odd number of backslashes stands before j
	for j := q + 1; j < len(l.text); j++ {
		switch c := l.text[j]; {
		case c == '\\':
			odd = !odd
			continue
		case c == quote && odd && backslash:
		case c == quote && odd && l.d == Any:
			return len(l.text)
		case c == quote && l.at(j+1) == quote:
			j++
		case c == quote:
			return j + 1
		}
		odd = false
	}
	return len(l.text)
}

// doubleQuoted reads "…": a string in MySQL, an identifier in PostgreSQL. SQLite takes it for a string where no such
// column exists, so it is one where a value stands: after a comparison, in an IN list or a row of VALUES, unqualified.
func (l *lexer) doubleQuoted(i int) {
	p := l.prev()
	end := l.strEnd(i, '"', l.d == MySQL)
	n := end
	for isSpace(l.at(n)) {
		n++
	}
	qualified := p.kind == tDot || l.at(n) == '.'
	if l.d == PostgreSQL || qualified {
		l.quoted(i, i, '"')
		return
	}
	if l.d == MySQL {
		l.add(tString, i, end)
		return
	}
	value := p.kind == tEq || p.kind == tOp || p.kw == kwLike
	if l.depth > 0 && l.depth <= 64 && l.values>>(l.depth-1)&1 == 1 && (p.kind == tLParen || p.kind == tComma) {
		value = true
	}
	if value && l.at(n) != '(' {
		l.add(tString, i, end)
		return
	}
	l.quoted(i, i, '"')
}

// quoted reads an identifier whose opening quote stands at q; the closing one is doubled to stand for itself, except
// that brackets end at the first.
func (l *lexer) quoted(start, q int, closing byte) {
	for j := q + 1; j < len(l.text); j++ {
		if l.text[j] != closing {
			continue
		}
		if l.at(j+1) == closing && closing != ']' {
			j++
			continue
		}
		l.add(tQuoted, start, j+1)
		return
	}
	l.add(tString, start, len(l.text)) // not closed: could be anything
}

// bracketed says whether [ opens an identifier; otherwise it is a subscript or an array.
func (l *lexer) bracketed(i int) bool {
	switch {
	case l.d == SQLite:
		return true
	case l.d != Any || !isIdentStart(l.at(i+1)):
		return false
	}
	p := l.prev()
	return p.kind != tLBracket && p.kw != kwArray && (!l.afterOperand() || int(p.end) != i)
}

func (l *lexer) lineComment(i int) {
	if n := strings.IndexByte(l.text[i:], '\n'); n >= 0 {
		l.pos = i + n + 1
	} else {
		l.pos = len(l.text)
	}
}

func (l *lexer) blockComment(i int) {
	depth := 0
	for j := i; j+1 < len(l.text); j++ {
		switch {
		case l.text[j] == '/' && l.text[j+1] == '*' && (depth == 0 || l.d == PostgreSQL):
			depth++
			j++
		case l.text[j] == '*' && l.text[j+1] == '/':
			depth--
			j++
			if depth == 0 {
				l.pos = j + 1
				return
			}
		}
	}
	l.pos = len(l.text)
}

// maxOperator bounds the operator run that is looked through; every real operator is shorter.
const maxOperator = 16

const opBytes = "<>=!~|&^#/+-@"

// operator reads the longest run of operator bytes; like PostgreSQL it leaves a sign at the end to the operand.
func (l *lexer) operator(i int) {
	j, special := i, false
	for j < len(l.text) && j < i+maxOperator && strings.IndexByte(opBytes, l.text[j]) >= 0 {
		c, n := l.text[j], l.at(j+1)
		if j > i && (c == '-' && n == '-' || c == '/' && n == '*' || c == '#' && l.d == MySQL || c == '@' && isIdentStart(n)) {
			break
		}
		special = special || strings.IndexByte("~!@#^&|", c) >= 0
		j++
	}
	for j > i+1 && !special && (l.text[j-1] == '-' || l.text[j-1] == '+') {
		j--
	}
	j = max(j, i+1)
	k := tOp
	if s := l.text[i:j]; s == "=" || s == "==" {
		k = tEq
	}
	l.add(k, i, j)
}

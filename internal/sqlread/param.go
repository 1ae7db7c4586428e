package sqlread

import "strings"

func (l *lexer) positional(start, end int) {
	l.addParam(l.params, start, end)
}

func (l *lexer) addParam(index, start, end int) {
	index = min(index, MaxParams)
	if index >= l.params {
		l.params = index + 1
	}
	l.toks = append(l.toks, token{kind: tParam, param: int32(index), start: int32(start), end: int32(end)})
	l.pos = end
}

// numbered reads the digits after a mark as a parameter's number, counted from 1.
func (l *lexer) numbered(start, digits int) {
	j, n := digits, 0
	for isDigit(l.at(j)) {
		n = min(n*10+int(l.text[j]-'0'), MaxParams)
		j++
	}
	l.addParam(max(n-1, 0), start, j)
}

// named reads a parameter with a name; the same name has the same index.
func (l *lexer) named(start, end int, name string) {
	if i, ok := l.indexes[name]; ok {
		l.addParam(i, start, end)
		return
	}
	if l.indexes == nil {
		l.indexes = make(map[string]int)
	}
	i := min(l.params, MaxParams)
	l.indexes[name] = i
	for len(l.names) < i {
		l.names = append(l.names, "")
	}
	if len(l.names) == i {
		l.names = append(l.names, name)
	}
	l.addParam(i, start, end)
}

func (l *lexer) identEnd(i int) int {
	for i < len(l.text) && isIdent(l.text[i]) {
		i++
	}
	return i
}

func (l *lexer) dollar(i int) {
	c := l.at(i + 1)
	if isDigit(c) {
		l.numbered(i, i+1)
		return
	}
	if c == '$' || isIdentStart(c) {
		if l.d == PostgreSQL || l.d == Any {
			j := i + 1
			for isIdentStart(l.at(j)) || isDigit(l.at(j)) {
				j++
			}
			if l.at(j) == '$' {
				tag := l.text[i : j+1]
				end := len(l.text)
				if n := strings.Index(l.text[j+1:], tag); n >= 0 {
					end = j + 1 + n + len(tag)
				}
				l.add(tString, i, end)
				return
			}
		}
		if isIdentStart(c) {
			j := l.identEnd(i + 1)
			l.named(i, j, l.text[i+1:j])
			return
		}
	}
	l.add(tOp, i, i+1)
}

func (l *lexer) colon(i int) {
	c := l.at(i + 1)
	switch {
	case c == ':':
		l.add(tCast, i, i+2)
	case c == '=':
		l.add(tOp, i, i+2)
	case isIdentStart(c):
		j := l.identEnd(i + 1)
		l.named(i, j, l.text[i+1:j])
	case isDigit(c) && !l.afterOperand() && l.prev().kind != tLBracket:
		l.numbered(i, i+1)
	default:
		l.add(tOp, i, i+1)
	}
}

// question tells a parameter from PostgreSQL's operators on JSON: ?, ?| and ?&. The first is one only between two
// operands.
func (l *lexer) question(i int) {
	c := l.at(i + 1)
	if isDigit(c) {
		l.numbered(i, i+1)
		return
	}
	if l.d == PostgreSQL || l.d == Any {
		if c == '?' || c == '&' || c == '|' && l.at(i+2) != '|' {
			l.add(tOp, i, i+2)
			return
		}
		j := i + 1
		for isSpace(l.at(j)) {
			j++
		}
		if l.afterOperand() && operandAt(l.text, j) {
			l.add(tOp, i, i+1)
			return
		}
	}
	l.positional(i, i+1)
}

// operandAt says whether an operand seems to begin at i.
func operandAt(text string, i int) bool {
	l := lexer{text: text}
	switch n := l.at(i); n {
	case '\'', '"', '$', '%', '(', '?':
		return true
	case ':':
		return l.at(i+1) != ':'
	default:
		return isIdentStart(n) && keyword(text[i:l.identEnd(i)]) == kwNone
	}
}

// percent reads the parameters of psycopg and MySQL's drivers: %s, %b, %t, %(name)s. %% is an escaped operator.
func (l *lexer) percent(i int) {
	switch c := l.at(i + 1); {
	case (c == 's' || !l.afterOperand() && (c == 'b' || c == 't')) && !isIdent(l.at(i+2)):
		l.positional(i, i+2)
		return
	case c == '(':
		j := i + 2
		for j < len(l.text) && j < i+256 && l.text[j] != ')' && l.text[j] != '(' && l.text[j] != '\'' {
			j++
		}
		if f := l.at(j + 1); l.at(j) == ')' && j > i+2 && (f == 's' || f == 'b' || f == 't') && !isIdent(l.at(j+2)) {
			l.named(i, j+2, l.text[i+2:j])
			return
		}
	case c == '%':
		l.add(tOp, i, i+2)
		return
	}
	l.add(tOp, i, i+1)
}

// atSign reads @name: a parameter in SQLite, a variable (a word) in MySQL.
func (l *lexer) atSign(i int) {
	j := i + 1
	if l.d == MySQL && l.at(j) == '@' {
		j++
	}
	end := l.identEnd(j)
	switch {
	case end == j || l.d == PostgreSQL:
		l.operator(i)
	case l.d == MySQL:
		l.toks = append(l.toks, token{kind: tWord, kw: kwVar, start: int32(i), end: int32(end)})
		l.pos = end
	default:
		l.named(i, end, l.text[i+1:end])
	}
}

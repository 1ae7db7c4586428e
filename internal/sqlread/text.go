package sqlread

import (
	"bytes"
	"strings"
)

// redacted stands for a literal that Redact removed. It is a string, so that the text can still be read and the
// parameters keep their positions.
const redacted = "'?'"

// Redact returns the text with every literal (strings, numbers; not NULL, TRUE, FALSE) replaced by '?' and every
// comment removed; parameters and everything else stay, runs of white space become one space. Read finds in it what it
// found in the text, but for the literals' values. Of a text beyond MaxText only the beginning is returned, ended by
// "…".
//
// Where a quote may end a literal in one dialect and not in another, and the dialect is Any, the rest of the text is
// taken for the literal.
func Redact(d Dialect, text string) string {
	long := len(text) > MaxText
	if long {
		text = text[:headText]
	}
	s := getScratch()
	defer s.put()
	l := lex(d, text, s.toks)
	s.toks = l.toks
	out := s.out[:0]
	end := int32(0)
	for _, t := range l.toks {
		if t.kind == tEOF {
			break
		}
		lit := t.kind == tString || t.kind == tNumber
		if n := len(out); n > 0 && (t.start > end || lit && (out[n-1] == '\'' || out[n-1] == '&' || isIdent(out[n-1]))) {
			out = append(out, ' ')
		}
		if lit {
			out = append(out, redacted...)
		} else {
			// Neither a prefix of the literal's nor MySQL's comment may arise from what stands side by side now.
			if n, c := len(out), text[t.start]; n > 0 && (out[n-1] == '\'' && isIdentStart(c) || out[n-1] == '-' && c == '-') {
				out = append(out, ' ')
			}
			out = append(out, text[t.start:t.end]...)
		}
		end = t.end
	}
	if long {
		out = append(out, " …"...)
	}
	s.out = out
	return string(out)
}

// Fingerprint returns what Statement.Fingerprint holds, without reading the rest.
func Fingerprint(d Dialect, text string) string {
	long := len(text) > MaxText
	if long {
		text = text[:headText]
	}
	s := getScratch()
	defer s.put()
	l := lex(d, text, s.toks)
	s.toks = l.toks
	return s.fingerprint(l.d, text, l.toks, long)
}

func (s *scratch) fingerprint(d Dialect, text string, toks []token, long bool) string {
	n := normalizer{d: d, text: text, toks: toks, out: s.out[:0]}
	n.run()
	if long {
		n.out = append(n.out, " …"...)
	}
	s.out = n.out
	return string(n.out)
}

// hash is 64-bit FNV-1a.
func hash(s string) uint64 {
	h := uint64(14695981039346656037)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint64(s[i])) * 1099511628211
	}
	return h
}

// frame is one open parenthesis or bracket of the text being normalised.
type frame struct {
	list   bool // equal elements are folded into the first
	consts bool // NULL, TRUE, FALSE and DEFAULT count as literals
	// first is the first element; item is where the current one begins, kept where the last kept one ended.
	firstStart, firstEnd, item, kept int
}

// normalizer writes the fingerprint. Every token is written once and removed at most once, so its time is linear.
type normalizer struct {
	d    Dialect
	text string
	toks []token
	out  []byte
	i    int

	frames [64]frame
	depth  int
	first  bool // the next word begins a statement
	name   int  // the token that names a savepoint, or 0
	value  bool // the last token written was a value
}

func (n *normalizer) top() *frame {
	if n.depth == 0 || n.depth > len(n.frames) {
		return nil
	}
	return &n.frames[n.depth-1]
}

func (n *normalizer) run() {
	n.first = true
	for ; n.toks[n.i].kind != tEOF; n.i++ {
		t := n.toks[n.i]
		switch t.kind {
		case tString, tNumber, tParam:
			n.put("?", t, true)
			continue
		case tWord, tQuoted:
			n.word(t)
			continue
		case tSemi:
			n.semi(t)
			continue
		case tLParen, tLBracket:
			n.open(t)
			continue
		case tRParen, tRBracket:
			n.close(t)
			continue
		case tComma:
			if f := n.top(); f != nil && f.list {
				n.element(f)
			}
			n.put(",", t, false)
			if f := n.top(); f != nil {
				f.item = len(n.out)
			}
			continue
		case tEq:
			n.put("=", t, false)
			continue
		}
		n.put(n.text[t.start:t.end], t, false)
	}
}

func (n *normalizer) word(t token) {
	s := n.text[t.start:t.end]
	if n.first {
		if _, i := savepoint(n.text, n.toks, n.i); i > 0 {
			n.name = i
		}
	}
	switch {
	case n.name > 0 && n.i == n.name, t.kw >= kwNull && t.kw <= kwDefault && n.top() != nil && n.top().consts:
		n.put("?", t, true)
	case t.kind == tWord && (n.first && t.kw != kwVar || t.kw != kwNone && t.kw != kwVar):
		n.space(t)
		for i := 0; i < len(s); i++ {
			c := s[i]
			if c >= 'a' && c <= 'z' {
				c &^= 0x20
			}
			n.out = append(n.out, c)
		}
		n.value, n.first = false, false
	default:
		n.put(s, t, false)
	}
}

// savepoint reads SAVEPOINT x, RELEASE [SAVEPOINT] x and ROLLBACK [WORK] TO [SAVEPOINT] x at token i. It returns the
// index of the name's token; Other and 0 for anything else. ORMs make the names up, so they are no part of fingerprints.
func savepoint(text string, toks []token, i int) (Kind, int) {
	is := func(w string) bool {
		t := toks[i]
		if t.kind == tWord && isFold(text[t.start:t.end], w) {
			i++
			return true
		}
		return false
	}
	var k Kind
	switch {
	case is("savepoint"):
		k = Savepoint
	case is("release"):
		k = Release
		is("savepoint")
	case is("rollback"):
		_ = is("work") || is("transaction")
		if !is("to") {
			return Other, 0
		}
		k = RollbackTo
		is("savepoint")
	default:
		return Other, 0
	}
	if t := toks[i].kind; t == tWord || t == tQuoted || t == tParam || t == tString {
		return k, i
	}
	return Other, 0
}

// semi writes a semicolon unless it ends the text.
func (n *normalizer) semi(t token) {
	if n.i > 0 && n.toks[n.i-1].kind == tSemi || len(n.out) == 0 {
		return
	}
	for _, r := range n.toks[n.i:] {
		if r.kind == tEOF {
			n.i = len(n.toks) - 2
			return
		}
		if r.kind != tSemi {
			break
		}
	}
	n.put(";", t, false)
	n.first = true
}

func (n *normalizer) open(t token) {
	prev := token{}
	if n.i > 0 {
		prev = n.toks[n.i-1]
	}
	n.put(n.text[t.start:t.end], t, false)
	n.depth++
	if f := n.top(); f != nil {
		*f = frame{item: len(n.out), firstStart: -1}
		next := n.toks[n.i+1]
		query := next.kind == tWord && (next.kw == kwSelect || next.kw == kwWith || next.kw == kwValues)
		f.list = !query && (prev.kw == kwIn || prev.kw == kwArray)
		f.consts = f.list || prev.kw == kwValues
	}
}

func (n *normalizer) close(t token) {
	f := n.top()
	if f != nil && f.list {
		n.element(f)
	}
	rows := f != nil && f.consts && !f.list
	if n.depth > 0 {
		n.depth--
	}
	n.put(n.text[t.start:t.end], t, false)
	if rows {
		n.skipRows()
	}
}

// element ends an element of a list and takes it back if it equals the first.
func (n *normalizer) element(f *frame) {
	if f.firstStart < 0 {
		f.firstStart, f.firstEnd, f.kept = f.item, len(n.out), len(n.out)
		return
	}
	if f.item <= len(n.out) && bytes.Equal(trim(n.out[f.item:]), trim(n.out[f.firstStart:f.firstEnd])) {
		n.out = n.out[:f.kept]
		return
	}
	f.kept = len(n.out)
}

func trim(b []byte) []byte {
	if len(b) > 0 && b[0] == ' ' {
		return b[1:]
	}
	return b
}

// skipRows passes over the second and later rows of VALUES, (…), (…).
func (n *normalizer) skipRows() {
	for {
		i := n.i + 1
		if n.toks[i].kind != tComma || n.toks[i+1].kind != tLParen {
			return
		}
		i, depth := i+1, 0
		for ; ; i++ {
			switch n.toks[i].kind {
			case tLParen:
				depth++
			case tRParen:
				depth--
			case tEOF:
				n.i = i - 1
				return
			}
			if depth == 0 {
				break
			}
		}
		n.i = i
	}
}

// put writes one token. Literals side by side are one literal in SQL, and values side by side one here.
func (n *normalizer) put(s string, t token, value bool) {
	if value && n.value {
		return
	}
	n.space(t)
	n.out = append(n.out, s...)
	if value && n.looksLikeOperator() {
		n.out = append(n.out, '1')
	}
	n.value = value
	if t.kind != tSemi {
		n.first = false
	}
}

// looksLikeOperator says whether ? at the current token would be read as PostgreSQL's operator; written ?1 it is not.
func (n *normalizer) looksLikeOperator() bool {
	if n.d != PostgreSQL && n.d != Any || n.i == 0 || !n.toks[n.i-1].endsOperand() {
		return false
	}
	i := n.i + 1
	for k := n.toks[i].kind; k == tString || k == tNumber || k == tParam; k = n.toks[i].kind {
		i++
	}
	return operandAt(n.text, int(n.toks[i].start))
}

// space writes the space that belongs before a token.
func (n *normalizer) space(t token) {
	if len(n.out) == 0 {
		return
	}
	switch t.kind {
	case tRParen, tRBracket, tComma, tSemi, tDot, tLBracket:
		return
	case tCast:
		if n.out[len(n.out)-1] != ':' {
			return
		}
	}
	switch n.out[len(n.out)-1] {
	case '(':
		return
	case '.': // .2fa would be a number
		if t.kind != tWord || !isDigit(n.text[t.start]) {
			return
		}
	case '[': // before a word [ could be read as opening a name
		if t.kind != tWord {
			return
		}
	case ':':
		if n.i > 0 && n.toks[n.i-1].kind == tCast {
			return
		}
	}
	if t.kind == tLParen && n.i > 0 && !n.value {
		if p := n.toks[n.i-1]; p.kind == tQuoted || p.kind == tWord && (p.kw == kwCast || p.kw == kwAny || !p.kw.takesOperand() && p.kw != kwSoft) {
			return
		}
	}
	n.out = append(n.out, ' ')
}

// isFold says whether s is the lower-case word w in any case.
func isFold(s, w string) bool { return len(s) == len(w) && strings.EqualFold(s, w) }

package sqlread

import (
	"strings"
	"sync"
)

// scratch is memory used again from call to call; what is larger than a usual statement needs is let go.
type scratch struct {
	toks []token
	out  []byte
	p    parser
}

var scratches = sync.Pool{New: func() any { return new(scratch) }}

func getScratch() *scratch { return scratches.Get().(*scratch) }

func (s *scratch) put() {
	if cap(s.toks) > 4096 {
		s.toks = nil
	}
	if cap(s.out) > 1<<16 {
		s.out = nil
	}
	scratches.Put(s)
}

// Read reads one text. It never fails and never panics; see the limits for what happens to the very large.
func Read(d Dialect, text string) Statement {
	s := getScratch()
	defer s.put()
	long := len(text) > MaxText
	if long {
		text = text[:headText]
	}
	l := lex(d, text, s.toks)
	s.toks = l.toks
	p := &s.p
	p.reset(l.d, text, l.toks)
	if long {
		p.st.Kind = p.kindAt(0)
		p.st.TooLong = true
	} else {
		p.st.Params, p.st.Names = l.params, l.names
		p.statements()
		p.resolve()
	}
	st := p.st
	st.Fingerprint = s.fingerprint(l.d, text, l.toks, long)
	st.Hash = hash(st.Fingerprint)
	p.reset(Any, "", nil)
	return st
}

// scope is one SELECT, INSERT, UPDATE or DELETE: the names that a column reference in it can mean.
type scope struct {
	parent      int32 // -1 for none
	first, last int32 // its items, linked
	count       int32 // those an unqualified name can mean
}

// item is one thing in a FROM list.
type item struct {
	alias string
	use   int32 // index in Tables; -1 for a CTE, function or derived table
	next  int32
	rows  int32 // index of the VALUES list behind a derived table, -1 for none
}

// ref is one column reference; it is resolved at the end, when every scope is complete.
type ref struct {
	scope     int32
	qualifier string
	column    string
	pred      int32 // the predicate it belongs to, -1 for none
	output    bool  // may name an output column instead (ORDER BY, GROUP BY, HAVING)
	returning bool
	shown     bool // an element of the SELECT list is this column and nothing else
}

type pred struct {
	scope  int32
	values []Value
	all    bool
	more   bool
	// notBefore and notFrom exclude the uses that an outer join keeps whatever its ON says: All holds only for uses
	// from notBefore on and before notFrom.
	notBefore, notFrom int32
}

type output struct {
	scope int32
	name  string
}

// rows is a VALUES list: what INSERT … VALUES writes, or a derived table that INSERT … SELECT reads.
type rows struct {
	values  []Value
	width   int // values a row; -1 where rows differ
	full    bool
	columns []string // names given by the alias: AS v(a, b)
}

type parser struct {
	d    Dialect
	text string
	toks []token
	i    int
	st   Statement

	depth   int
	scopes  []scope
	items   []item
	refs    []ref
	preds   []pred
	outputs []output
	ctes    []string // those visible here
	rows    []rows
}

func (p *parser) reset(d Dialect, text string, toks []token) {
	clear(p.items)
	clear(p.refs)
	clear(p.preds)
	clear(p.outputs)
	clear(p.rows)
	clear(p.ctes[:cap(p.ctes)])
	*p = parser{d: d, text: text, toks: toks, scopes: keep(p.scopes), items: keep(p.items), refs: keep(p.refs),
		preds: keep(p.preds), outputs: keep(p.outputs), ctes: keep(p.ctes), rows: keep(p.rows)}
}

func keep[T any](s []T) []T {
	if cap(s) > 1024 {
		return nil
	}
	return s[:0]
}

func (p *parser) peek() token { return p.toks[p.i] }

// ahead returns the token n after the current one; the last token is tEOF.
func (p *parser) ahead(n int) token { return p.tok(p.i + n) }

func (p *parser) tok(i int) token { return p.toks[min(i, len(p.toks)-1)] }

func (p *parser) advance() {
	if p.i < len(p.toks)-1 {
		p.i++
	}
}

// is says whether the current token is the word w (lower case), keyword or not.
func (p *parser) is(w string) bool { return p.isAt(p.i, w) }

func (p *parser) isAt(i int, w string) bool {
	t := p.tok(i)
	return t.kind == tWord && isFold(p.text[t.start:t.end], w)
}

// accept steps over the word w if it stands here.
func (p *parser) accept(w string) bool {
	if p.is(w) {
		p.advance()
		return true
	}
	return false
}

func (p *parser) acceptKw(k kw) bool {
	if t := p.peek(); t.kind == tWord && t.kw == k {
		p.advance()
		return true
	}
	return false
}

func (p *parser) acceptKind(k tkind) bool {
	if p.peek().kind == k {
		p.advance()
		return true
	}
	return false
}

// isName says whether a token can be a name.
func isName(t token) bool {
	return t.kind == tQuoted || t.kind == tWord && (t.kw == kwNone || t.kw == kwSoft)
}

// name returns the identifier that the token is: unquoted, unescaped, in lower case unless PostgreSQL would keep it.
func (p *parser) name(t token) string {
	s := p.text[t.start:t.end]
	if t.kind == tWord {
		return lower(s)
	}
	if len(s) > 2 && s[1] == '&' {
		s = s[2:]
	}
	if len(s) < 2 {
		return ""
	}
	q := s[len(s)-1:]
	s = s[1 : len(s)-1]
	if strings.Contains(s, q) {
		s = strings.ReplaceAll(s, q+q, q)
	}
	if p.d == SQLite || p.d == MySQL {
		return lower(s)
	}
	return s
}

// lower folds ASCII only, without copying what is lower already.
func lower(s string) string {
	for i := 0; i < len(s); i++ {
		if s[i] >= 'A' && s[i] <= 'Z' {
			b := []byte(s)
			for ; i < len(b); i++ {
				if b[i] >= 'A' && b[i] <= 'Z' {
					b[i] |= 0x20
				}
			}
			return string(b)
		}
	}
	return s
}

// enter counts one level of nesting; where it returns false the caller skips the level.
func (p *parser) enter() bool {
	if p.depth >= MaxDepth {
		p.st.Cut = true
		return false
	}
	p.depth++
	return true
}

func (p *parser) leave() { p.depth-- }

// skipGroup steps over a parenthesis or bracket and all in it, or over one token.
func (p *parser) skipGroup() {
	depth := 0
	for {
		switch p.peek().kind {
		case tEOF:
			return
		case tLParen, tLBracket:
			depth++
		case tRParen, tRBracket:
			depth--
		}
		p.advance()
		if depth <= 0 {
			return
		}
	}
}

// skipToClose steps up to the closing parenthesis of the group that we are in.
func (p *parser) skipToClose() {
	for {
		switch p.peek().kind {
		case tEOF, tRParen, tRBracket:
			return
		}
		p.skipGroup()
	}
}

func (p *parser) newScope(parent int32) int32 {
	p.scopes = append(p.scopes, scope{parent: parent, first: -1, last: -1})
	return int32(len(p.scopes) - 1)
}

// addItem puts a name into a scope. Uncounted items can only be meant by their qualifier.
func (p *parser) addItem(sc int32, alias string, use int32, counted bool) int32 {
	if len(p.items) >= MaxTables {
		p.st.Cut = true
		return -1
	}
	n := int32(len(p.items))
	p.items = append(p.items, item{alias: alias, use: use, next: -1, rows: -1})
	s := &p.scopes[sc]
	if s.first < 0 {
		s.first = n
	} else {
		p.items[s.last].next = n
	}
	s.last = n
	if counted {
		s.count++
	}
	return n
}

func (p *parser) addUse(schema, name string, role Role) int32 {
	if len(p.st.Tables) >= MaxTables {
		p.st.Cut = true
		return -1
	}
	p.st.Tables = append(p.st.Tables, Table{Schema: schema, Name: name, Alias: name, Role: role})
	return int32(len(p.st.Tables) - 1)
}

func (p *parser) addRef(r ref) {
	if len(p.refs) >= MaxColumns {
		p.st.Cut = true
		return
	}
	p.refs = append(p.refs, r)
}

// tableName reads name, schema.name or database.schema.name.
func (p *parser) tableName() (schema, name string, ok bool) {
	if !isName(p.peek()) && (p.peek().kind != tWord || p.ahead(1).kind != tDot) {
		return "", "", false
	}
	name = p.name(p.peek())
	p.advance()
	for p.peek().kind == tDot {
		t := p.ahead(1)
		if t.kind != tWord && t.kind != tQuoted {
			break
		}
		schema, name = name, p.name(t)
		p.i += 2
	}
	return schema, name, true
}

// names reads (a, b, …), with a prefix length or sort order after a name; nil if there is no such list here.
func (p *parser) names() []string {
	if p.peek().kind != tLParen {
		return nil
	}
	var out []string
	p.advance()
	for p.peek().kind != tRParen && p.peek().kind != tEOF {
		if t := p.peek(); (t.kind == tWord || t.kind == tQuoted) && len(out) < MaxColumns {
			out = append(out, p.name(t))
		}
		for p.peek().kind != tComma && p.peek().kind != tRParen && p.peek().kind != tEOF {
			p.skipGroup()
		}
		p.acceptKind(tComma)
	}
	p.acceptKind(tRParen)
	return out
}

// plain says whether the tokens from one to another are a name with its qualifiers.
func (p *parser) plain(from, to int) bool {
	for i := from; i < to; i++ {
		switch p.tok(i).kind {
		case tWord, tQuoted, tDot, tStar:
		default:
			return false
		}
	}
	return (to-from)%2 == 1
}

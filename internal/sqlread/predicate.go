package sqlread

import "strings"

// inParens reads (column) = value and its like.
func (p *parser) inParens(sc int32, negated bool) bool {
	at := p.i
	p.advance()
	if _, qualifier, column, ok := p.chain(); ok && p.acceptKind(tRParen) {
		if q, j, ok := p.equality(p.i); ok {
			q.all = !negated
			p.addPred(ref{scope: sc, qualifier: qualifier, column: column}, q)
			p.i = j
			return true
		}
	}
	p.i = at
	return false
}

// reversed reads value = column.
func (p *parser) reversed(sc int32, negated bool) bool {
	v, j, ok := p.valueAt(p.i)
	if !ok || p.tok(j).kind != tEq || !isName(p.tok(j+1)) {
		return false
	}
	at := p.i
	p.i = j + 1
	_, qualifier, column, ok := p.chain()
	if !ok || !p.conditionEnds(p.peek()) {
		p.i = at
		return false
	}
	p.addPred(ref{scope: sc, qualifier: qualifier, column: column}, pred{values: []Value{v}, all: !negated})
	return true
}

// equality reads what follows a column in a condition, if it is = value, IN (values), = ANY(list) or their like and
// the condition ends there. A cast or a collation makes it a comparison of something else than the column.
func (p *parser) equality(i int) (q pred, end int, ok bool) {
	t := p.tok(i)
	switch {
	case t.kind == tEq && p.tok(i+1).kw == kwAny:
		q, i, ok = p.anyOf(i + 2)
	case t.kind == tEq:
		q, i, ok = p.single(i + 1)
	case t.kind == tOp && p.d == MySQL && p.text[t.start:t.end] == "<=>":
		q, i, ok = p.single(i + 1)
	case t.kw == kwIs && p.tok(i+1).kw == kwNot && p.tok(i+2).kw == kwDistinct && p.tok(i+3).kw == kwFrom:
		q, i, ok = p.single(i + 4)
	case t.kw == kwIs && p.d == SQLite && p.tok(i+1).kind == tParam:
		q, i, ok = p.single(i + 1)
	case t.kw == kwIn:
		q, i, ok = p.inList(i + 1)
	}
	if !ok {
		return pred{}, 0, false
	}
	at := p.i
	p.i = min(i, len(p.toks)-1)
	ok = p.conditionEnds(p.peek())
	p.i = at
	return q, i, ok
}

func (p *parser) single(i int) (pred, int, bool) {
	v, i, ok := p.valueAt(i)
	if !ok || v.Kind == Null || v.Kind == Default {
		return pred{}, i, false
	}
	return pred{values: []Value{v}}, i, true
}

func (p *parser) inList(i int) (q pred, end int, ok bool) {
	if t := p.tok(i); t.kind == tParam { // psycopg2 writes the tuple itself
		return pred{values: []Value{{Kind: Param, Index: int(t.param), List: true}}}, p.castsEnd(i + 1), true
	}
	if p.tok(i).kind != tLParen {
		return q, 0, false
	}
	for i++; ; i++ {
		v, j, ok := p.valueAt(i)
		if !ok {
			return q, 0, false
		}
		q.add(v)
		i = j
		switch p.tok(i).kind {
		case tComma:
		case tRParen:
			return q, i + 1, true
		default:
			return q, 0, false
		}
	}
}

func (q *pred) add(v Value) {
	switch {
	case v.Kind == Null: // equals nothing
	case len(q.values) >= MaxValues:
		q.more = true
	default:
		q.values = append(q.values, v)
	}
}

// anyOf reads (list) behind = ANY, the list being a parameter, a literal or ARRAY[…].
func (p *parser) anyOf(i int) (q pred, end int, ok bool) {
	if p.tok(i).kind != tLParen {
		return q, 0, false
	}
	i++
	if p.tok(i).kw == kwArray && p.tok(i+1).kind == tLBracket {
		for i += 2; ; i++ {
			v, j, ok := p.valueAt(i)
			if !ok {
				return q, 0, false
			}
			q.add(v)
			i = j
			if p.tok(i).kind == tRBracket {
				i = p.castsEnd(i + 1)
				break
			}
			if p.tok(i).kind != tComma {
				return q, 0, false
			}
		}
	} else {
		v, j, ok := p.valueAt(i)
		if !ok || v.Kind != Param && v.Kind != Literal {
			return q, 0, false
		}
		v.List = true
		if v.Kind == Literal { // '{1,2}': its elements are not taken apart
			v = Value{}
		}
		q.add(v)
		i = j
	}
	if p.tok(i).kind != tRParen {
		return q, 0, false
	}
	return q, i + 1, true
}

// valueAt reads a parameter, a literal or a constant at token i, in parentheses and under casts if need be. The token
// after it is end.
func (p *parser) valueAt(i int) (v Value, end int, ok bool) {
	return p.valueIn(i, 4)
}

func (p *parser) valueIn(i, depth int) (v Value, end int, ok bool) {
	t := p.tok(i)
	switch {
	case t.kind == tParam:
		v = Value{Kind: Param, Index: int(t.param)}
	case t.kind == tNumber:
		v = Value{Kind: Literal, Text: p.text[t.start:t.end]}
	case t.kind == tString:
		if v = (Value{Kind: Literal, Text: p.literal(t)}); p.text[t.start:t.end] == redacted {
			v = Value{}
		}
	case t.kw == kwTrue, t.kw == kwFalse:
		v = Value{Kind: Literal, Text: lower(p.text[t.start:t.end])}
	case t.kw == kwNull:
		v = Value{Kind: Null}
	case t.kw == kwDefault:
		v = Value{Kind: Default}
	case t.kind == tWord && t.kw == kwNone && p.tok(i+1).kind == tString: // DATE '…'
		return p.valueIn(i+1, depth)
	case t.kind == tLParen && depth > 0:
		if v, i, ok = p.valueIn(i+1, depth-1); !ok || p.tok(i).kind != tRParen {
			return Value{}, 0, false
		}
	case t.kw == kwCast && p.tok(i+1).kind == tLParen && depth > 0:
		if v, i, ok = p.valueIn(i+2, depth-1); !ok || p.tok(i).kw != kwAs {
			return Value{}, 0, false
		}
		if i = p.typeEnd(i + 1); p.tok(i).kind != tRParen {
			return Value{}, 0, false
		}
	default:
		return Value{}, 0, false
	}
	return v, p.castsEnd(i + 1), true
}

// castsEnd returns the token after any number of ::type.
func (p *parser) castsEnd(i int) int {
	for p.tok(i).kind == tCast {
		i = p.typeEnd(i + 1)
	}
	return i
}

// maxModifier bounds the tokens in a type's parentheses or brackets.
const maxModifier = 16

// modifierEnd returns the token after the modifier that opens at i, i itself if it is none.
func (p *parser) modifierEnd(i int, closing tkind) int {
	for n := i; n < i+maxModifier; n++ {
		switch p.tok(n).kind {
		case closing:
			return n + 1
		case tEOF:
			return i
		}
	}
	return i
}

// typeEnd returns the token after the type that begins at i: a.b, double precision, timestamp(3) with time zone,
// varchar(10)[].
func (p *parser) typeEnd(i int) int {
	last := len(p.toks) - 1
	if k := p.tok(i); k.kind != tWord && k.kind != tQuoted {
		return min(i, last)
	}
	first := i
	i++
	for p.tok(i).kind == tDot && i+1 < last {
		i += 2
	}
	for n := 0; n < 2; n++ {
		for p.isAt(i, "precision") || p.isAt(i, "varying") || p.isAt(i, "unsigned") || p.isAt(i, "signed") ||
			p.isAt(i, "integer") && p.isAt(i-1, "unsigned") {
			i++
		}
		if p.tok(i).kind == tLParen {
			i = p.modifierEnd(i, tRParen)
		}
		if (p.isAt(first, "timestamp") || p.isAt(first, "time")) && (p.isAt(i, "with") || p.isAt(i, "without")) &&
			p.isAt(i+1, "time") && p.isAt(i+2, "zone") {
			i += 3
		}
	}
	for p.tok(i).kind == tLBracket {
		end := p.modifierEnd(i, tRBracket)
		if end == i {
			break
		}
		i = end
	}
	return min(i, last)
}

// literal returns what a string token stands for.
func (p *parser) literal(t token) string {
	s := p.text[t.start:t.end]
	if s[0] == '$' {
		if n := strings.IndexByte(s[1:], '$'); n >= 0 && len(s) >= 2*(n+2) {
			return s[n+2 : len(s)-n-2]
		}
		return s
	}
	i := strings.IndexAny(s, `'"`)
	if i < 0 {
		return s
	}
	q := s[i : i+1]
	escape := p.d == MySQL || i > 0 && s[0]|0x20 == 'e'
	s = strings.TrimSuffix(s[i+1:], q)
	if strings.Contains(s, q) {
		s = strings.ReplaceAll(s, q+q, q)
	}
	if !escape || strings.IndexByte(s, '\\') < 0 {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case 'r':
			b.WriteByte('\r')
		default:
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// valueRows reads (…), (…) or ROW(…), … behind VALUES.
func (p *parser) valueRows(sc int32) rows {
	var r rows
	for {
		p.accept("row")
		if p.peek().kind != tLParen {
			return r
		}
		p.advance()
		width, keep := 0, len(r.values)
		for p.peek().kind != tRParen && p.peek().kind != tEOF {
			at := p.i
			v, j, ok := p.valueAt(p.i)
			if k := p.tok(j).kind; ok && (k == tComma || k == tRParen) {
				p.i = j
			} else {
				v = Value{}
				p.expr(sc, 0)
				for k := p.peek().kind; k != tComma && k != tRParen && k != tEOF; k = p.peek().kind {
					p.skipGroup()
				}
			}
			width++
			if len(r.values) < MaxValues {
				r.values = append(r.values, v)
			} else {
				r.full = true
			}
			p.acceptKind(tComma)
			if p.i == at {
				p.advance()
			}
		}
		p.acceptKind(tRParen)
		switch {
		case r.full: // whole rows only
			r.values = r.values[:keep]
			p.st.Cut = true
		case r.width == 0:
			r.width = width
		case r.width != width:
			r.width = -1
		}
		if p.peek().kind != tComma || p.ahead(1).kind != tLParen && !p.isAt(p.i+1, "row") {
			return r
		}
		p.advance()
	}
}

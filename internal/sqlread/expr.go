package sqlread

import "strings"

// flags say where an expression stands.
type flags uint8

const (
	inGroup     flags = 1 << iota // only a closing parenthesis ends it
	inCall                        // it is the arguments of a function
	inBoolean                     // it is a condition whose equalities are predicates
	mayBeOutput                   // bare names may mean output columns
)

// ends says whether a token ends a condition or an expression: the next clause, a closing parenthesis, the end.
func (p *parser) ends(t token) bool {
	switch t.kind {
	case tEOF, tSemi, tRParen, tRBracket:
		return true
	case tWord:
		switch t.kw {
		case kwFrom, kwWhere, kwGroup, kwHaving, kwWindow, kwOrder, kwLimit, kwOffset, kwFetch, kwFor, kwUnion,
			kwIntersect, kwExcept, kwInto, kwSet, kwOn, kwUsing, kwReturning, kwJoin, kwInner, kwLeft, kwRight, kwFull,
			kwCross, kwNatural, kwWhen, kwThen, kwElse, kwEnd, kwAs, kwSelect, kwInsert, kwUpdate, kwDelete, kwWith:
			return true
		}
	}
	return false
}

// exprUntil reads one expression, up to a comma or the next clause.
func (p *parser) exprUntil(sc int32, f flags) {
	p.expr(sc, f&^inGroup)
}

// where reads a condition whose conjuncts hold for every row.
func (p *parser) where(sc int32) { p.boolean(sc, true) }

// boolean reads a condition; all says whether its conjuncts hold for every row.
func (p *parser) boolean(sc int32, all bool) {
	n := len(p.preds)
	p.expr(sc, inBoolean)
	if !all {
		p.weaken(sc, n)
	}
}

// weaken takes back All from the predicates from n on, except those of subqueries: they pin the rows of these whatever
// the outer condition does with the result.
func (p *parser) weaken(sc int32, n int) {
	for i := n; i < len(p.preds); i++ {
		if p.preds[i].scope == sc {
			p.preds[i].all = false
		}
	}
}

// group reads a parenthesis or bracket: a subquery or expressions.
func (p *parser) group(sc int32, f flags) {
	open := p.peek().kind
	if open != tLParen && open != tLBracket {
		return
	}
	if !p.enter() {
		p.skipGroup()
		return
	}
	defer p.leave()
	query := open == tLParen && p.queryAhead(p.i)
	fn := ""
	if f&inCall != 0 && p.i > 0 {
		if t := p.toks[p.i-1]; t.kind == tWord {
			fn = p.text[t.start:t.end]
		}
	}
	p.advance()
	if query {
		p.query(sc)
	}
	switch len(fn) {
	case 7: // EXTRACT(field FROM x)
		if isFold(fn, "extract") && p.ahead(1).kw == kwFrom {
			p.advance()
		}
	case 12, 13: // MySQL's TIMESTAMPDIFF(unit, a, b)
		if (isFold(fn, "timestampdiff") || isFold(fn, "timestampadd")) && p.ahead(1).kind == tComma {
			p.advance()
		}
	}
	for p.peek().kind != tRParen && p.peek().kind != tRBracket && p.peek().kind != tEOF {
		at := p.i
		p.expr(sc, f&mayBeOutput|inGroup)
		if p.i == at {
			p.advance()
		}
	}
	p.advance()
}

// expr walks over an expression, or over a whole group, and notes the columns in it. A name counts as a column where an
// operand must stand; behind an operand it is an alias or a word of the grammar.
func (p *parser) expr(sc int32, f flags) {
	operand := false
	start := f&inBoolean != 0 // a condition of its own begins here
	negated, or := false, false
	between := 0
	n := len(p.preds)
	for {
		t := p.peek()
		switch t.kind {
		case tEOF, tSemi, tRParen, tRBracket:
			if or {
				p.weaken(sc, n)
			}
			return
		case tComma:
			if f&inGroup == 0 {
				if or {
					p.weaken(sc, n)
				}
				return
			}
			p.advance()
			operand = false
		case tLParen, tLBracket:
			if start && t.kind == tLParen && p.inParens(sc, negated) {
				operand, start = true, false
				continue
			}
			if start && t.kind == tLParen && !p.queryAhead(p.i) {
				p.condition(sc, f, negated)
			} else {
				p.group(sc, f&mayBeOutput)
			}
			operand, start = true, false
		case tString, tNumber, tParam:
			if start && p.reversed(sc, negated) {
				operand, start = true, false
				continue
			}
			p.advance()
			operand, start = true, false
		case tCast:
			p.i = p.typeEnd(p.i + 1)
			operand = true
		case tQuoted:
			p.operand(sc, f, operand, start, negated)
			operand, start = true, false
		case tWord:
			if operand && p.lockAhead() && f&inGroup == 0 {
				if or {
					p.weaken(sc, n)
				}
				return
			}
			if t.kw <= kwSoft {
				operand = p.word(sc, f, operand, start, negated)
				start = false
				continue
			}
			if p.ends(t) && (f&inGroup == 0 || t.kw == kwEnd || t.kw == kwWhen || t.kw == kwThen || t.kw == kwElse) {
				call := (t.kw == kwLeft || t.kw == kwRight || t.kw == kwInsert) && !operand && p.ahead(1).kind == tLParen
				within := t.kw == kwGroup && p.i > 0 && p.isAt(p.i-1, "within")
				from := t.kw == kwFrom && p.i > 0 && p.toks[p.i-1].kw == kwDistinct && operand == false
				if !call && !within && !from {
					if or {
						p.weaken(sc, n)
					}
					return
				}
				p.advance()
				operand, start = false, false
				continue
			}
			switch t.kw {
			case kwAnd:
				if between > 0 {
					between--
				} else {
					start, negated = f&inBoolean != 0, false
				}
				operand = false
			case kwOr, kwXor:
				or = true
				start, negated, operand = f&inBoolean != 0, false, false
			case kwNot:
				negated = true
				operand = false
			case kwBetween:
				between++
				operand, start = false, false
			case kwCase:
				p.caseExpr(sc, f&mayBeOutput)
				operand, start = true, false
				continue
			case kwAs, kwUsing, kwReturning: // in a group: CAST(x AS type), CONVERT(x USING cs), JSON_OBJECT(… RETURNING t)
				p.advance()
				p.skipToClose()
				continue
			case kwCollate:
				p.advance()
				_, _, _ = p.tableName()
				operand = true
				continue
			case kwCast, kwExists, kwValues:
				operand, start = false, false
			default:
				operand = t.kw < kwOther
				start = false
			}
			p.advance()
		case tOp:
			if p.d == MySQL && f&inBoolean != 0 {
				switch p.text[t.start:t.end] {
				case "||": // OR, unless PIPES_AS_CONCAT
					or = true
				case "&&":
					start, negated = true, false
					p.advance()
					operand = false
					continue
				case "!":
					negated = true
					p.advance()
					continue
				}
			}
			p.advance()
			operand, start = false, false
		default: // = * .
			p.advance()
			operand, start = t.kind == tStar && p.starIsOperand(), false
		}
	}
}

// starIsOperand says whether the star just passed stands alone, as in count(*).
func (p *parser) starIsOperand() bool {
	return p.i >= 2 && p.toks[p.i-2].kind == tLParen
}

// condition reads a parenthesis that stands where a condition begins.
func (p *parser) condition(sc int32, f flags, negated bool) {
	if !p.enter() {
		p.skipGroup()
		return
	}
	defer p.leave()
	n := len(p.preds)
	p.advance()
	p.expr(sc, f&^inGroup)
	whole := p.peek().kind == tRParen
	p.skipRest(sc)
	p.acceptKind(tRParen)
	if negated || !whole || !p.conditionEnds(p.peek()) {
		p.weaken(sc, n)
	}
}

// conditionEnds says whether a condition is complete before t.
func (p *parser) conditionEnds(t token) bool {
	if t.kind == tOp && p.d == MySQL {
		s := p.text[t.start:t.end]
		return s == "&&" || s == "||"
	}
	return t.kw == kwAnd || t.kw == kwOr || t.kw == kwXor || t.kind == tComma || p.ends(t) ||
		t.kind == tWord && (p.is("do") || p.lockAhead())
}

// caseExpr reads CASE … END. What it compares pins nothing.
func (p *parser) caseExpr(sc int32, f flags) {
	if !p.enter() {
		for p.peek().kind != tRParen && p.peek().kind != tEOF && p.peek().kind != tSemi {
			p.skipGroup()
		}
		return
	}
	defer p.leave()
	p.advance()
	for {
		p.expr(sc, f)
		switch p.peek().kw {
		case kwWhen, kwThen, kwElse:
			p.advance()
		case kwEnd:
			p.advance()
			return
		default:
			return
		}
	}
}

// word reads a word that may be a name and returns whether an operand has just ended.
func (p *parser) word(sc int32, f flags, operand, start, negated bool) bool {
	t := p.peek()
	if operand && p.ahead(0).kind == tWord {
		s := p.text[t.start:t.end]
		switch {
		case f&inGroup != 0 && isFold(s, "value"): // JSON_OBJECT('a' VALUE x)
			p.advance()
			return false
		case f&inGroup != 0 && (isFold(s, "rows") || isFold(s, "range") || isFold(s, "groups")): // a window's frame
			p.skipToClose()
			return true
		case isFold(s, "similar") || isFold(s, "escape") || isFold(s, "to") || isFold(s, "match") || isFold(s, "sounds") ||
			isFold(s, "separator") || isFold(s, "member") || isFold(s, "of") || isFold(s, "zone") || isFold(s, "operator"):
			p.advance()
			if isFold(s, "operator") && p.peek().kind == tLParen { // OPERATOR(schema.+)
				p.skipGroup()
			}
			return false
		}
	}
	if p.ahead(1).kw == kwBy { // PARTITION BY
		p.i += 2
		return false
	}
	p.operand(sc, f, operand, start, negated)
	return true
}

// operand reads a name: a column, a function with its arguments, a type before a literal; behind an operand, an alias.
func (p *parser) operand(sc int32, f flags, behind, start, negated bool) {
	at := p.i
	single := p.ahead(1).kind != tDot
	if behind {
		p.advance()
		if t := p.toks[at]; f&inGroup == 0 && t.kw == kwNone && len(p.outputs) < MaxTables { // an alias without AS
			p.outputs = append(p.outputs, output{sc, p.name(t)})
		}
		return
	}
	schema, qualifier, column, ok := p.chain()
	if !ok {
		p.advance()
		return
	}
	_ = schema
	switch t := p.peek(); {
	case t.kind == tLParen:
		p.group(sc, f&mayBeOutput|inCall)
		return
	case t.kind == tString && single && p.toks[at].kind == tWord: // DATE '…', _utf8'…'
		return
	}
	r := ref{scope: sc, qualifier: qualifier, column: column, pred: -1, output: f&mayBeOutput != 0 && single}
	if start {
		if q, j, ok := p.equality(p.i); ok {
			q.all = !negated
			p.addPred(r, q)
			p.i = j
			return
		}
	}
	p.addRef(r)
}

func (p *parser) addPred(r ref, q pred) {
	if len(p.preds) >= MaxColumns {
		p.st.Cut = true
	} else {
		r.pred = int32(len(p.preds))
		q.scope, q.notFrom = r.scope, 1<<31-1
		p.preds = append(p.preds, q)
	}
	p.addRef(r)
}

// chain reads a, t.a, s.t.a or t.*; of longer chains the last three count.
func (p *parser) chain() (schema, qualifier, column string, ok bool) {
	t := p.peek()
	if !isName(t) && !(t.kind == tWord && p.ahead(1).kind == tDot) {
		return "", "", "", false
	}
	column = p.name(t)
	p.advance()
	for p.peek().kind == tDot {
		n := p.ahead(1)
		schema, qualifier = qualifier, column
		switch n.kind {
		case tWord, tQuoted:
			column = p.name(n)
			p.i += 2
		case tStar:
			p.i += 2
			return schema, qualifier, "*", true
		default:
			p.advance()
			return schema, qualifier, "", true
		}
	}
	return schema, qualifier, column, true
}

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
			for p.tok(i).kind != tRParen && p.tok(i).kind != tEOF {
				i++
			}
			i = min(i+1, last)
		}
		if (p.isAt(first, "timestamp") || p.isAt(first, "time")) && (p.isAt(i, "with") || p.isAt(i, "without")) &&
			p.isAt(i+1, "time") && p.isAt(i+2, "zone") {
			i += 3
		}
	}
	for p.tok(i).kind == tLBracket {
		for p.tok(i).kind != tRBracket && p.tok(i).kind != tEOF {
			i++
		}
		i = min(i+1, last)
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
			r.values = append(r.values, v)
			p.acceptKind(tComma)
			if p.i == at {
				p.advance()
			}
		}
		p.acceptKind(tRParen)
		switch {
		case r.full || len(r.values) > MaxValues:
			r.values, r.full = r.values[:keep], true
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

package sqlread

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
				from := t.kw == kwFrom && p.i > 0 && p.toks[p.i-1].kw == kwDistinct && !operand
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
	if !isName(t) && (t.kind != tWord || p.ahead(1).kind != tDot) {
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

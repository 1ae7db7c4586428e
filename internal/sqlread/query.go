package sqlread

// queryAhead says whether token i begins a query, inside any number of parentheses.
func (p *parser) queryAhead(i int) bool {
	for n := 0; p.tok(i).kind == tLParen && n < MaxDepth; n++ {
		i++
	}
	switch t := p.tok(i); t.kw {
	case kwSelect, kwWith:
		return true
	case kwValues: // not MySQL's function VALUES(col)
		return i == p.i || p.tok(i-1).kind == tLParen
	case kwTable:
		return isName(p.tok(i + 1))
	}
	return false
}

// query reads SELECT, VALUES, TABLE t or (query), and what UNION and its like put behind it.
func (p *parser) query(parent int32) {
	if !p.enter() {
		p.skipToClose()
		return
	}
	defer p.leave()
	mark := len(p.ctes)
	if p.peek().kw == kwWith {
		p.with(parent)
	}
	sc := p.queryTerm(parent)
	for k := p.peek().kw; k == kwUnion || k == kwIntersect || k == kwExcept; k = p.peek().kw {
		p.advance()
		if !p.acceptKw(kwAll) {
			p.acceptKw(kwDistinct)
		}
		p.queryTerm(parent)
		sc = p.newScope(-1) // ORDER BY means the outputs
	}
	p.tail(sc)
	p.ctes = p.ctes[:min(mark, len(p.ctes))]
}

func (p *parser) queryTerm(parent int32) int32 {
	switch t := p.peek(); {
	case t.kind == tLParen:
		p.advance()
		p.query(parent)
		sc := p.newScope(-1)
		p.skipRest(sc)
		p.acceptKind(tRParen)
		return sc
	case t.kw == kwSelect:
		return p.selectCore(parent)
	case t.kw == kwValues:
		sc := p.newScope(parent)
		p.advance()
		p.rows = append(p.rows, p.valueRows(sc))
		return sc
	case t.kw == kwTable:
		sc := p.newScope(parent)
		p.advance()
		p.fromItem(sc)
		p.addRef(ref{scope: sc, column: "*", pred: -1})
		return sc
	case t.kw == kwInsert || t.kw == kwUpdate || t.kw == kwDelete:
		p.statement(parent)
	}
	return p.newScope(parent)
}

// skipRest reads what is left of a group as expressions, for ((SELECT 1) + x).
func (p *parser) skipRest(sc int32) {
	for p.peek().kind != tRParen && p.peek().kind != tEOF {
		at := p.i
		p.expr(sc, inGroup)
		if p.i == at {
			p.skipGroup()
		}
	}
}

func (p *parser) selectCore(parent int32) int32 {
	p.advance()
	sc := p.newScope(parent)
	for {
		if p.acceptKw(kwAll) || p.accept("straight_join") || p.accept("sql_calc_found_rows") || p.accept("sql_no_cache") {
			continue
		}
		if !p.acceptKw(kwDistinct) {
			break
		}
		if p.acceptKw(kwOn) {
			p.group(sc, 0)
		}
	}
	for {
		p.outputItem(sc)
		if !p.acceptKind(tComma) {
			break
		}
	}
	if p.acceptKw(kwInto) { // SELECT … INTO t; MySQL: INTO @x, INTO OUTFILE 'f'
		if t := p.peek(); p.d != MySQL && (isName(t) || t.kw == kwTable) {
			p.accept("temporary")
			p.accept("temp")
			p.accept("unlogged")
			p.acceptKw(kwTable)
			if schema, name, ok := p.tableName(); ok {
				p.addUse(schema, name, RoleDDL)
			}
		}
		for !p.ends(p.peek()) {
			p.skipGroup()
		}
	}
	if p.acceptKw(kwFrom) {
		p.fromList(sc)
	}
	if p.acceptKw(kwWhere) {
		p.where(sc)
	}
	return sc
}

// outputItem reads one element of the SELECT list.
func (p *parser) outputItem(sc int32) {
	if p.acceptKind(tStar) {
		p.addRef(ref{scope: sc, column: "*", pred: -1, shown: true})
		return
	}
	refs, at := len(p.refs), p.i
	p.exprUntil(sc, 0)
	if len(p.refs) == refs+1 && p.plain(at, p.i) {
		p.refs[refs].shown = true
	}
	if p.acceptKw(kwAs) {
		if t := p.peek(); t.kind == tWord || t.kind == tQuoted {
			if len(p.outputs) < MaxTables {
				p.outputs = append(p.outputs, output{sc, p.name(t)})
			}
		}
		p.advance()
		if p.peek().kind != tComma {
			p.exprUntil(sc, 0)
		}
	}
}

// tail reads everything that may follow WHERE: GROUP BY, HAVING, WINDOW, ORDER BY, LIMIT, OFFSET, FETCH, FOR UPDATE,
// in any order.
func (p *parser) tail(sc int32) {
	for {
		switch t := p.peek(); {
		case t.kw == kwGroup, t.kw == kwOrder:
			p.advance()
			p.acceptKw(kwBy)
			p.exprList(sc, mayBeOutput)
		case t.kw == kwHaving:
			p.advance()
			p.exprList(sc, mayBeOutput)
		case t.kw == kwLimit, t.kw == kwOffset, t.kw == kwWindow:
			p.advance()
			p.windowOrLimit(sc, t.kw == kwWindow)
		case t.kw == kwFetch:
			for p.advance(); p.peek().kind == tWord && !p.ends(p.peek()) || p.peek().kind == tNumber ||
				p.peek().kind == tParam; p.advance() {
			}
		case t.kw == kwFor:
			p.advance()
			p.lock(sc)
		case p.lockAhead():
			p.i = min(p.i+4, len(p.toks)-1)
			p.markLocked(sc, "")
		default:
			return
		}
	}
}

// lockAhead says whether MySQL's LOCK IN SHARE MODE stands here.
func (p *parser) lockAhead() bool {
	return p.tok(p.i+1).kw == kwIn && p.is("lock") && p.isAt(p.i+2, "share")
}

func (p *parser) windowOrLimit(sc int32, window bool) {
	for {
		if window {
			p.advance() // the window's name
			p.acceptKw(kwAs)
		}
		p.exprUntil(sc, 0)
		if !p.acceptKind(tComma) {
			return
		}
	}
}

func (p *parser) exprList(sc int32, f flags) {
	for {
		p.exprUntil(sc, f)
		if !p.acceptKind(tComma) {
			return
		}
	}
}

// lock reads what follows FOR: [NO KEY] UPDATE, [KEY] SHARE, [OF a, b] [NOWAIT | SKIP LOCKED].
func (p *parser) lock(sc int32) {
	for !p.acceptKw(kwUpdate) && !p.accept("share") {
		if !p.accept("no") && !p.accept("key") {
			return
		}
	}
	if p.accept("of") {
		for {
			_, name, ok := p.tableName()
			if !ok {
				break
			}
			p.markLocked(sc, name)
			if !p.acceptKind(tComma) {
				break
			}
		}
	} else {
		p.markLocked(sc, "")
	}
	for p.accept("nowait") || p.accept("skip") || p.accept("locked") {
	}
}

func (p *parser) markLocked(sc int32, alias string) {
	for i := p.scopes[sc].first; i >= 0; i = p.items[i].next {
		if it := p.items[i]; it.use >= 0 && (alias == "" || it.alias == alias) && p.st.Tables[it.use].Role == RoleRead {
			p.st.Tables[it.use].Role = RoleLock
		}
	}
}

// joinKind says which sides of a join are kept whatever ON says.
type joinKind uint8

const (
	innerJoin joinKind = iota
	leftJoin
	rightJoin
	fullJoin
)

// fromList reads tables, subqueries, functions and joins, up to the next clause.
func (p *parser) fromList(sc int32) {
	if !p.enter() {
		p.skipToClose()
		return
	}
	defer p.leave()
	kind := innerJoin
	natural := false
	start := int32(len(p.st.Tables))
	right := start // first use of the right side of the last join
	open := 0      // joins whose ON or USING is still to come
	p.fromItem(sc)
	for {
		t := p.peek()
		switch {
		case t.kind == tComma:
			p.advance()
			right = int32(len(p.st.Tables))
			p.fromItem(sc)
			continue
		case t.kw == kwOn && !p.isAt(p.i+1, "conflict") && !p.isAt(p.i+1, "duplicate"):
			p.advance()
			if open > 1 {
				kind = fullJoin // a JOIN b JOIN c ON … ON …: which is meant is not worth the trouble
			}
			open = max(open-1, 0)
			p.joinOn(sc, kind, start, right)
			continue
		case t.kw == kwUsing && p.tok(p.i+1).kind == tLParen:
			p.advance()
			open = max(open-1, 0)
			for _, c := range p.names() {
				p.joinUsing(sc, c)
			}
			continue
		}
		if !p.joinWords(&kind, &natural) {
			return
		}
		right = int32(len(p.st.Tables))
		open++
		p.fromItem(sc)
		if natural {
			open--
			for i := p.scopes[sc].first; i >= 0; i = p.items[i].next {
				if u := p.items[i].use; u >= 0 {
					p.st.Tables[u].Partial = true
				}
			}
		}
	}
}

// joinWords reads [NATURAL] [INNER | LEFT | RIGHT | FULL [OUTER] | CROSS] JOIN.
func (p *parser) joinWords(kind *joinKind, natural *bool) bool {
	*kind, *natural = innerJoin, false
	at := p.i
	for {
		switch p.peek().kw {
		case kwNatural:
			*natural = true
		case kwLeft:
			*kind = leftJoin
		case kwRight:
			*kind = rightJoin
		case kwFull:
			*kind = fullJoin
		case kwInner, kwCross, kwOuter:
		case kwJoin:
			p.advance()
			return true
		default:
			p.i = at
			return false
		}
		p.advance()
	}
}

func (p *parser) joinOn(sc int32, kind joinKind, start, right int32) {
	n := len(p.preds)
	p.boolean(sc, true)
	for i := n; i < len(p.preds); i++ {
		q := &p.preds[i]
		if q.scope != sc {
			continue
		}
		switch kind {
		case leftJoin: // rows of the left side are kept
			q.notBefore = right
		case rightJoin:
			q.notFrom = right
			q.notBefore = start
		case fullJoin:
			q.all = false
		}
	}
}

func (p *parser) fromItem(sc int32) {
	for p.acceptKw(kwLateral) || p.is("only") && (isName(p.ahead(1)) || p.ahead(1).kind == tLParen) && p.accept("only") {
	}
	use, rowsAt := int32(-1), int32(-1)
	alias := ""
	switch t := p.peek(); {
	case t.kind == tLParen && p.queryAhead(p.i):
		n := len(p.rows)
		p.advance()
		p.query(sc)
		if len(p.rows) == n+1 {
			rowsAt = int32(n)
		}
		if p.peek().kind != tRParen { // ((SELECT …) AS a JOIN b …)
			p.fromRest(sc)
		}
		p.acceptKind(tRParen)
	case t.kind == tLParen:
		p.advance()
		p.fromList(sc)
		p.skipToClose()
		p.acceptKind(tRParen)
		if !isName(p.peek()) && p.peek().kw != kwAs {
			return
		}
	case p.is("rows") && p.ahead(1).kw == kwFrom:
		p.i += 2
		p.group(sc, 0)
	case isName(t):
		schema, name, _ := p.tableName()
		alias = name
		switch {
		case p.peek().kind == tLParen:
			p.group(sc, inCall)
			p.tableFunctionTail()
		case schema == "" && p.isCTE(name):
		default:
			use = p.addUse(schema, name, RoleRead)
		}
	case t.kw == kwSelect || t.kw == kwValues || t.kw == kwWith:
		p.query(sc)
	case t.kw == kwTable && p.ahead(1).kind == tLParen: // TABLE(function())
		p.advance()
		p.group(sc, 0)
	default:
		return
	}
	p.acceptKind(tStar)
	p.alias(sc, use, rowsAt, alias)
}

// fromRest reads joins behind a first item in parentheses.
func (p *parser) fromRest(sc int32) {
	p.alias(sc, -1, -1, "")
	kind, natural := innerJoin, false
	for p.joinWords(&kind, &natural) {
		p.fromItem(sc)
		if p.acceptKw(kwOn) {
			p.boolean(sc, false)
		}
	}
	p.skipToClose()
}

func (p *parser) tableFunctionTail() {
	if p.peek().kw == kwWith && p.isAt(p.i+1, "ordinality") {
		p.i += 2
	}
}

// alias reads [AS] name [(columns)] and the hints that stand around it, and puts the name into the scope.
func (p *parser) alias(sc, use, rowsAt int32, alias string) {
	p.hints()
	as := p.acceptKw(kwAs)
	t := p.peek()
	if isName(t) && (as || !p.clauseWord()) || as && t.kind == tString {
		if t.kind != tString {
			alias = p.name(t)
		}
		p.advance()
		if p.peek().kind == tLParen {
			cols := p.names()
			if rowsAt >= 0 {
				p.rows[rowsAt].columns = cols
			}
		}
	} else if as && t.kind == tLParen {
		p.skipGroup()
	}
	if use >= 0 {
		p.st.Tables[use].Alias = alias
	}
	if n := p.addItem(sc, alias, use, true); n >= 0 {
		p.items[n].rows = rowsAt
	}
	p.hints()
}

// clauseWord says whether the current word, though a good name, begins a clause here.
func (p *parser) clauseWord() bool {
	switch {
	case p.is("lock"):
		return p.lockAhead()
	case p.is("use"), p.is("ignore"), p.is("force"):
		return p.isAt(p.i+1, "index") || p.isAt(p.i+1, "key")
	case p.is("indexed"):
		return p.ahead(1).kw == kwBy
	}
	return p.is("tablesample") || p.is("partition") && p.ahead(1).kind == tLParen
}

// hints steps over index hints, samples and partitions.
func (p *parser) hints() {
	for {
		switch {
		case (p.is("use") || p.is("ignore") || p.is("force")) && p.clauseWord():
			p.i += 2
			for p.acceptKw(kwFor) || p.acceptKw(kwJoin) || p.acceptKw(kwOrder) || p.acceptKw(kwGroup) || p.acceptKw(kwBy) {
			}
			p.skipGroup()
		case p.is("indexed") && p.clauseWord():
			p.i = min(p.i+3, len(p.toks)-1)
		case p.peek().kw == kwNot && p.isAt(p.i+1, "indexed"):
			p.i += 2
		case p.is("partition") && p.clauseWord():
			p.advance()
			p.skipGroup()
		case p.is("tablesample"):
			p.i = min(p.i+2, len(p.toks)-1)
			p.skipGroup()
			if p.accept("repeatable") {
				p.skipGroup()
			}
		default:
			return
		}
	}
}

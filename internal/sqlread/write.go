package sqlread

// insert reads INSERT and REPLACE with all that SQLite, MySQL and PostgreSQL put before INTO and after the rows.
func (p *parser) insert(parent int32) {
	replace := p.is("replace")
	p.advance()
	if p.acceptKw(kwOr) {
		replace = p.is("replace")
		p.advance()
	}
	for p.accept("ignore") || p.accept("low_priority") || p.accept("high_priority") || p.accept("delayed") {
	}
	p.acceptKw(kwInto)
	schema, name, ok := p.tableName()
	if !ok {
		return
	}
	sc := p.newScope(parent)
	u := p.addUse(schema, name, RoleInsert)
	if u < 0 {
		return
	}
	if p.acceptKw(kwAs) && isName(p.peek()) {
		p.st.Tables[u].Alias = p.name(p.peek())
		p.advance()
	}
	p.addItem(sc, p.st.Tables[u].Alias, u, true)
	p.addItem(sc, "excluded", -1, false)
	if p.accept("partition") {
		p.skipGroup()
	}
	if p.peek().kind == tLParen && !p.queryAhead(p.i) {
		p.st.Tables[u].Written = p.names()
	}
	if p.accept("overriding") {
		p.advance()
		p.accept("value")
	}
	p.insertSource(sc, u)
	if p.acceptKw(kwAs) && isName(p.peek()) { // MySQL: VALUES … AS new
		p.addItem(sc, p.name(p.peek()), -1, false)
		p.advance()
		p.names()
	}
	if replace {
		p.addUse(schema, name, RoleDelete)
	}
	up := p.conflict(sc, u)
	p.returning(sc, u)
	if up >= 0 {
		p.bindConflict(u, up)
	}
}

func (p *parser) insertSource(sc, u int32) {
	switch {
	case p.peek().kw == kwDefault:
		p.advance()
		p.acceptKw(kwValues)
	case p.peek().kw == kwValues || p.is("value"):
		p.advance()
		r := p.valueRows(sc)
		use := &p.st.Tables[u]
		if r.width == len(use.Written) || len(use.Written) == 0 && r.width > 0 {
			use.Values = r.values
		}
	case p.acceptKw(kwSet):
		if u >= 0 { // no database takes a list of columns before it
			p.st.Tables[u].Written, p.st.Tables[u].Values = nil, nil
		}
		p.assignments(sc, u, false)
	case p.peek().kw == kwWith || p.queryAhead(p.i):
		first := len(p.scopes)
		from := p.i
		mark := len(p.ctes)
		if p.peek().kw == kwWith {
			p.with(-1)
		}
		body := p.i
		p.query(-1)
		p.ctes = p.ctes[:min(mark, len(p.ctes))]
		if body == from {
			p.insertFromValues(u, body, int32(first))
		}
	}
}

// conflict reads ON CONFLICT … and ON DUPLICATE KEY UPDATE …. An update gets a use of its own, whose index it returns.
func (p *parser) conflict(sc, u int32) int32 {
	up := int32(-1)
	for p.peek().kw == kwOn && (p.isAt(p.i+1, "conflict") || p.isAt(p.i+1, "duplicate")) {
		p.advance()
		duplicate := p.is("duplicate")
		p.advance()
		if duplicate {
			p.accept("key")
		} else {
			p.conflictTarget(sc, u)
			p.accept("do")
		}
		if !p.acceptKw(kwUpdate) {
			p.advance() // NOTHING
			continue
		}
		p.acceptKw(kwSet)
		t := p.st.Tables[u]
		n := p.addUse(t.Schema, t.Name, RoleUpdate)
		if n < 0 {
			return up
		}
		up = n
		p.st.Tables[up].Alias, p.st.Tables[up].Conflict = t.Alias, t.Conflict
		s := p.newScope(p.scopes[sc].parent)
		p.addItem(s, t.Alias, up, true)
		for i := p.scopes[sc].first; i >= 0; i = p.items[i].next {
			if p.items[i].use < 0 {
				p.addItem(s, p.items[i].alias, -1, false)
			}
		}
		p.assignments(s, up, false)
		if p.acceptKw(kwWhere) {
			p.where(s)
		}
	}
	return up
}

// maxConflict is the number of columns of a conflict target that are kept; PostgreSQL's indexes have no more.
const maxConflict = 32

func (p *parser) conflictTarget(sc, u int32) {
	if p.acceptKw(kwOn) { // ON CONSTRAINT name
		p.i = min(p.i+2, len(p.toks)-1)
	}
	if p.peek().kind == tLParen {
		c := p.names()
		p.st.Tables[u].Conflict = c[:min(len(c), maxConflict)]
	}
	if p.acceptKw(kwWhere) { // of a partial index
		p.exprUntil(sc, 0)
	}
}

// bindConflict says what is known of the row that an upsert updates: its key is one of those that were to be inserted.
func (p *parser) bindConflict(u, up int32) {
	ins := &p.st.Tables[u]
	for _, c := range ins.Conflict {
		if v, ok := ins.Bound(c); ok {
			p.st.Tables[up].Where = append(p.st.Tables[up].Where, Predicate{Column: c, Values: v, All: true})
		}
	}
}

func (p *parser) update(parent int32) {
	p.advance()
	if p.acceptKw(kwOr) { // SQLite: UPDATE OR IGNORE
		p.advance()
	}
	for p.accept("low_priority") || p.accept("ignore") {
	}
	sc := p.newScope(parent)
	first := int32(len(p.st.Tables))
	p.fromList(sc)
	n := int32(len(p.st.Tables))
	if n == first {
		return
	}
	if !p.acceptKw(kwSet) {
		return
	}
	target := p.scopeTable(sc)
	if target < 0 {
		return
	}
	if p.scopes[sc].count == 1 {
		p.st.Tables[target].Role = RoleUpdate
	}
	p.assignments(sc, target, true)
	if p.acceptKw(kwFrom) {
		p.fromList(sc)
	}
	if p.acceptKw(kwWhere) {
		p.where(sc)
	}
	p.tail(sc)
	p.returning(sc, target)
}

// scopeTable returns the first table of a scope, -1 if it has none.
func (p *parser) scopeTable(sc int32) int32 {
	for i := p.scopes[sc].first; i >= 0; i = p.items[i].next {
		if p.items[i].use >= 0 {
			return p.items[i].use
		}
	}
	return -1
}

func (p *parser) findItem(sc int32, alias string) int32 {
	for i := p.scopes[sc].first; i >= 0; i = p.items[i].next {
		if p.items[i].alias == alias {
			return i
		}
	}
	return -1
}

// assignments reads SET a = x, (b, c) = (y, z), …. In a MySQL UPDATE of several tables (multi) the qualifier says
// which one is written.
func (p *parser) assignments(sc, u int32, multi bool) {
	for {
		if p.peek().kind == tLParen {
			for _, c := range p.names() {
				p.assign(u, c, Value{})
			}
			p.acceptKind(tEq)
			p.exprUntil(sc, 0)
		} else {
			_, qualifier, column, ok := p.chain()
			if !ok {
				return
			}
			use := u
			if multi && qualifier != "" {
				if it := p.findItem(sc, qualifier); it >= 0 && p.items[it].use >= 0 {
					use = p.items[it].use
				}
			}
			sub := false
			for p.peek().kind == tLBracket {
				p.group(sc, 0)
				sub = true
			}
			if !p.acceptKind(tEq) {
				p.acceptKind(tOp) // :=
			}
			v, j, ok := p.valueAt(p.i)
			if k := p.tok(j); !ok || sub || !p.ends(k) && k.kind != tComma {
				v = Value{}
			}
			p.assign(use, column, v)
			if multi {
				p.st.Tables[use].Role = RoleUpdate
			}
			p.exprUntil(sc, 0)
		}
		if !p.acceptKind(tComma) {
			return
		}
	}
}

func (p *parser) assign(u int32, column string, v Value) {
	t := &p.st.Tables[u]
	if len(t.Written) >= MaxValues {
		p.st.Cut = true
		return
	}
	t.Written = append(t.Written, column)
	t.Values = append(t.Values, v)
}

// delete reads DELETE FROM t [USING …], and MySQL's DELETE a, b FROM … and DELETE FROM a, b USING ….
func (p *parser) delete(parent int32) {
	p.advance()
	for p.accept("low_priority") || p.accept("quick") || p.accept("ignore") {
	}
	sc := p.newScope(parent)
	var targets []string
	for p.peek().kw != kwFrom && len(targets) < MaxTables {
		_, name, ok := p.tableName()
		if !ok {
			break
		}
		targets = append(targets, name)
		if p.acceptKind(tDot) {
			p.acceptKind(tStar)
		}
		p.acceptKind(tComma)
	}
	p.acceptKw(kwFrom)
	p.fromList(sc)
	if len(targets) > 0 {
		for _, name := range targets {
			if i := p.findItem(sc, name); i >= 0 && p.items[i].use >= 0 {
				p.st.Tables[p.items[i].use].Role = RoleDelete
			}
		}
	} else {
		for i := p.scopes[sc].first; i >= 0; i = p.items[i].next {
			if u := p.items[i].use; u >= 0 {
				p.st.Tables[u].Role = RoleDelete
			}
		}
	}
	if p.acceptKw(kwUsing) {
		p.fromList(sc)
	}
	if p.acceptKw(kwWhere) {
		p.where(sc)
	}
	p.tail(sc)
	p.returning(sc, p.scopeTable(sc))
}

// merge reads MERGE INTO t USING source ON … WHEN [NOT] MATCHED … THEN ….
func (p *parser) merge(parent int32) {
	p.advance()
	p.acceptKw(kwInto)
	sc := p.newScope(parent)
	p.fromItem(sc)
	u := p.scopeTable(sc)
	if u < 0 {
		return
	}
	target := p.st.Tables[u]
	if p.acceptKw(kwUsing) {
		p.fromItem(sc)
	}
	if p.acceptKw(kwOn) {
		p.boolean(sc, false)
	}
	for p.acceptKw(kwWhen) {
		for p.peek().kw != kwThen && p.peek().kw != kwAnd && p.peek().kind == tWord {
			p.advance()
		}
		if p.acceptKw(kwAnd) {
			p.boolean(sc, false)
		}
		p.acceptKw(kwThen)
		var role Role
		switch {
		case p.acceptKw(kwUpdate):
			role = RoleUpdate
		case p.acceptKw(kwDelete):
			role = RoleDelete
		case p.acceptKw(kwInsert):
			role = RoleInsert
		default:
			p.advance() // DO NOTHING
			p.advance()
			continue
		}
		w := p.addUse(target.Schema, target.Name, role)
		if w < 0 {
			return
		}
		p.st.Tables[w].Alias = target.Alias
		switch role {
		case RoleUpdate:
			p.acceptKw(kwSet)
			p.assignments(sc, w, false)
		case RoleInsert:
			p.st.Tables[w].Written = p.names()
			p.insertSource(sc, w)
		}
	}
	p.returning(sc, u)
}

// returning reads RETURNING a, t.b AS c, *.
func (p *parser) returning(sc, u int32) {
	if !p.acceptKw(kwReturning) {
		return
	}
	for {
		at := p.i
		if p.acceptKind(tStar) {
			p.addRef(ref{scope: sc, column: "*", pred: -1, returning: true})
			p.giveBack(u, "*")
		} else if _, q, c, ok := p.chain(); ok && (p.ends(p.peek()) || p.peek().kind == tComma || p.peek().kw == kwAs) &&
			(q == "" || u >= 0 && p.st.Tables[u].Alias == q) {
			p.addRef(ref{scope: sc, qualifier: q, column: c, pred: -1, returning: true})
			p.giveBack(u, c)
		} else {
			p.i = at
			p.giveBack(u, "")
		}
		if p.i == at {
			p.exprUntil(sc, 0)
		}
		if p.acceptKw(kwAs) {
			p.advance()
		}
		if !p.acceptKind(tComma) {
			return
		}
	}
}

func (p *parser) giveBack(u int32, column string) {
	if u >= 0 && len(p.st.Tables[u].Returning) < MaxColumns {
		p.st.Tables[u].Returning = append(p.st.Tables[u].Returning, column)
	}
}

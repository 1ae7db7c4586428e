package sqlread

// statements reads everything between semicolons.
func (p *parser) statements() {
	for {
		for p.acceptKind(tSemi) {
		}
		if p.peek().kind == tEOF {
			return
		}
		kind := p.kindAt(p.i)
		if p.st.Count == 0 {
			p.st.Kind = kind
			if k, i := savepoint(p.text, p.toks, p.i); k != Other {
				p.st.Savepoint = p.savepointName(i)
			}
		}
		p.st.Count++
		p.ctes = p.ctes[:0]
		if kind != Begin && kind < Commit {
			p.statement(-1)
		}
		for p.peek().kind != tSemi && p.peek().kind != tEOF {
			p.skipGroup()
		}
	}
}

func (p *parser) savepointName(i int) string {
	switch t := p.tok(i); t.kind {
	case tWord, tQuoted:
		return p.name(t)
	case tString:
		return p.literal(t)
	}
	return ""
}

// kindAt tells the kind of the statement that begins at token i. Behind WITH it is the verb after the last CTE.
func (p *parser) kindAt(i int) Kind {
	for p.tok(i).kind == tLParen {
		i++
	}
	if p.tok(i).kw == kwWith {
		depth := 0
		for i++; p.tok(i).kind != tEOF && p.tok(i).kind != tSemi; i++ {
			switch p.tok(i).kind {
			case tLParen:
				depth++
			case tRParen:
				depth--
			}
			if depth == 0 && p.tok(i).kind == tRParen {
				if k := p.verb(i + 1); k != Other {
					return k
				}
			}
		}
		return Other
	}
	return p.verb(i)
}

func (p *parser) verb(i int) Kind {
	t := p.tok(i)
	if t.kind != tWord {
		if t.kind == tLParen {
			return p.kindAt(i)
		}
		return Other
	}
	switch t.kw {
	case kwSelect, kwValues, kwTable:
		return Select
	case kwInsert:
		return Insert
	case kwUpdate:
		return Update
	case kwDelete:
		return Delete
	case kwEnd:
		return Commit
	}
	switch lower(p.text[t.start:t.end]) {
	case "replace":
		return Insert
	case "begin":
		return Begin
	case "start":
		if p.isAt(i+1, "transaction") {
			return Begin
		}
	case "commit":
		if !p.isAt(i+1, "prepared") {
			return Commit
		}
	case "rollback":
		if k, n := savepoint(p.text, p.toks, i); n > 0 {
			return k
		}
		if !p.isAt(i+1, "prepared") {
			return Rollback
		}
	case "abort":
		return Rollback
	case "savepoint", "release":
		k, _ := savepoint(p.text, p.toks, i)
		return k
	}
	return Other
}

// statement reads one statement, at the top, in EXPLAIN ANALYZE or in a CTE.
func (p *parser) statement(parent int32) {
	if !p.enter() {
		return
	}
	defer p.leave()
	mark := len(p.ctes)
	defer func() { p.ctes = p.ctes[:min(mark, len(p.ctes))] }()
	t := p.peek()
	if t.kw == kwWith {
		p.with(parent)
		t = p.peek()
	}
	switch t.kw {
	case kwSelect, kwValues, kwTable:
		p.query(parent)
		return
	case kwInsert:
		p.insert(parent)
		return
	case kwUpdate:
		p.update(parent)
		return
	case kwDelete:
		p.delete(parent)
		return
	}
	if t.kind == tLParen {
		p.query(parent)
		return
	}
	if t.kind != tWord {
		return
	}
	switch lower(p.text[t.start:t.end]) {
	case "replace":
		p.insert(parent)
	case "merge":
		p.merge(parent)
	case "truncate":
		p.advance()
		p.acceptKw(kwTable)
		p.tableList(RoleTruncate)
	case "lock":
		p.advance()
		if p.acceptKw(kwTable) || p.d == PostgreSQL {
			p.tableList(RoleLock)
		}
	case "copy":
		p.copy(parent)
	case "explain":
		p.explain(parent)
	case "declare":
		for p.peek().kind != tEOF && p.peek().kind != tSemi && !p.acceptKw(kwFor) {
			p.advance()
		}
		p.statement(parent)
	case "create", "alter", "drop", "rename", "refresh":
		p.define(parent)
	}
}

// tableList reads t [*] [, …] for statements that treat all alike.
func (p *parser) tableList(role Role) {
	for {
		p.accept("only")
		paren := p.acceptKind(tLParen)
		schema, name, ok := p.tableName()
		if !ok {
			return
		}
		p.addUse(schema, name, role)
		if paren {
			p.acceptKind(tRParen)
		}
		p.acceptKind(tStar)
		if !p.acceptKind(tComma) {
			return
		}
	}
}

func (p *parser) explain(parent int32) {
	p.advance()
	run := false
	for {
		switch t := p.peek(); {
		case t.kind == tLParen:
			for i := p.i; p.tok(i).kind != tRParen && p.tok(i).kind != tEOF; i++ {
				run = run || p.isAt(i, "analyze") && !p.isAt(i+1, "false") && !p.isAt(i+1, "off")
			}
			p.skipGroup()
		case p.accept("analyze"):
			run = true
		case p.accept("verbose"), p.accept("query"), p.accept("plan"):
		default:
			if run { // otherwise nothing is read or written
				p.statement(parent)
			}
			return
		}
	}
}

// copy reads COPY t (cols) FROM|TO … and COPY (query) TO ….
func (p *parser) copy(parent int32) {
	p.advance()
	if p.acceptKind(tLParen) {
		p.statement(parent)
		return
	}
	schema, name, ok := p.tableName()
	if !ok {
		return
	}
	u := p.addUse(schema, name, RoleRead)
	cols := p.names()
	if u < 0 {
		return
	}
	use := &p.st.Tables[u]
	if p.peek().kw == kwFrom {
		use.Role, use.Written = RoleInsert, cols
		return
	}
	if use.Columns = cols; cols == nil {
		use.Columns = []string{"*"}
	}
}

// define reads DDL on tables, views and indexes; on anything else it does nothing.
func (p *parser) define(parent int32) {
	create := p.is("create")
	rename := p.is("rename")
	p.advance()
	for n := 0; n < 8; n++ {
		t := p.peek()
		switch {
		case t.kw == kwTable || p.is("view"):
			p.advance()
			p.defineTables(parent, create, rename)
			return
		case p.is("index"):
			if create {
				p.defineIndex()
			}
			return
		case p.is("or"), p.is("replace"), p.is("unique"), p.is("temp"), p.is("temporary"), p.is("unlogged"),
			p.is("materialized"), p.is("global"), p.is("local"), p.is("foreign"), p.is("recursive"), p.is("virtual"),
			p.is("fulltext"), p.is("spatial"):
			p.advance()
		default:
			return
		}
	}
}

func (p *parser) defineTables(parent int32, create, rename bool) {
	p.accept("concurrently")
	if p.accept("if") {
		p.acceptKw(kwNot)
		p.acceptKw(kwExists)
	}
	p.tableList(RoleDDL)
	for rename && p.accept("to") {
		p.tableList(RoleDDL)
	}
	if !create {
		return
	}
	for p.peek().kind != tEOF && p.peek().kind != tSemi { // CREATE … AS SELECT
		if p.acceptKw(kwAs) {
			p.statement(parent)
			return
		}
		p.skipGroup()
	}
}

func (p *parser) defineIndex() {
	for p.peek().kind != tEOF && p.peek().kind != tSemi {
		if p.acceptKw(kwOn) {
			p.accept("only")
			if schema, name, ok := p.tableName(); ok {
				p.addUse(schema, name, RoleDDL)
			}
			return
		}
		p.advance()
	}
}

// with reads WITH [RECURSIVE] name [(cols)] AS [[NOT] MATERIALIZED] (statement) [SEARCH …|CYCLE …], ….
func (p *parser) with(parent int32) {
	p.advance()
	recursive := p.accept("recursive")
	for isName(p.peek()) {
		name := p.name(p.peek())
		p.advance()
		if recursive {
			p.addCTE(name)
		}
		p.names()
		if !p.acceptKw(kwAs) {
			return
		}
		p.acceptKw(kwNot)
		p.accept("materialized")
		if !p.acceptKind(tLParen) {
			return
		}
		p.statement(parent)
		p.skipToClose()
		p.acceptKind(tRParen)
		if !recursive {
			p.addCTE(name)
		}
		for !p.verbAhead() { // SEARCH and CYCLE
			if p.acceptKind(tComma) {
				break
			}
			if k := p.peek().kind; k == tEOF || k == tSemi || k == tRParen {
				return
			}
			p.skipGroup()
		}
	}
}

func (p *parser) verbAhead() bool {
	switch t := p.peek(); t.kw {
	case kwSelect, kwValues, kwInsert, kwUpdate, kwDelete, kwTable:
		return true
	default:
		return t.kind == tLParen || p.is("replace") || p.is("merge")
	}
}

func (p *parser) addCTE(name string) {
	if len(p.ctes) >= MaxTables {
		p.st.Cut = true
		return
	}
	p.ctes = append(p.ctes, name)
}

func (p *parser) isCTE(name string) bool {
	for i := len(p.ctes) - 1; i >= 0; i-- {
		if p.ctes[i] == name {
			return true
		}
	}
	return false
}

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

func (p *parser) conflictTarget(sc, u int32) {
	if p.acceptKw(kwOn) { // ON CONSTRAINT name
		p.i = min(p.i+2, len(p.toks)-1)
	}
	if p.peek().kind == tLParen {
		p.st.Tables[u].Conflict = p.names()
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
		role := RoleRead
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

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
				n := i + 1
				for p.tok(n).kind == tLParen {
					n++
				}
				if k := p.tok(n); n > i+1 && (k.kw == kwSelect || k.kw == kwWith || k.kw == kwValues) {
					return Select
				}
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
		use.Filters = []string{"*"}
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

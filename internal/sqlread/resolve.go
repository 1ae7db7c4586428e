package sqlread

import "slices"

// resolve gives every column reference to the table use that it means, innermost scope first, as SQL does.
func (p *parser) resolve() {
	var seen map[useColumn]struct{}
	if len(p.refs) > 64 {
		seen = make(map[useColumn]struct{}, len(p.refs))
	}
	for _, r := range p.refs {
		if r.qualifier == "" {
			p.resolveBare(r, seen)
		} else {
			p.resolveQualified(r, seen)
		}
	}
	for s := 1; s < len(p.scopes); s++ { // what stands around a subquery chooses among its rows
		p.filterAll(int32(s))
	}
}

// useColumn is one column of one use, to find what is listed already.
type useColumn struct {
	use    int32
	column string
}

func (p *parser) resolveQualified(r ref, seen map[useColumn]struct{}) {
	for s := r.scope; s >= 0; s = p.scopes[s].parent {
		for i := p.scopes[s].first; i >= 0; i = p.items[i].next {
			if p.items[i].alias == r.qualifier {
				p.attribute(r, s, p.items[i].use, seen)
				return
			}
		}
	}
}

func (p *parser) resolveBare(r ref, seen map[useColumn]struct{}) {
	if r.output {
		for _, o := range p.outputs {
			if o.scope == r.scope && o.name == r.column {
				p.filterAll(r.scope)
				return
			}
		}
	}
	s := r.scope
	for s >= 0 && p.scopes[s].count == 0 {
		s = p.scopes[s].parent
	}
	if s < 0 {
		return
	}
	one := p.scopes[s].count == 1
	for i := p.scopes[s].first; i >= 0; i = p.items[i].next {
		it := p.items[i]
		switch {
		case it.use < 0:
		case r.column == "*" && (!r.returning || i == p.scopes[s].first), one:
			p.attribute(r, s, it.use, seen)
			if it.alias == r.column { // the whole row, unless there is a column of this name
				p.st.Tables[it.use].Partial = true
			}
		case r.column != "*":
			p.st.Tables[it.use].Partial = true
		}
	}
}

// attribute notes that a reference found in scope s means a column of this use.
func (p *parser) attribute(r ref, s, use int32, seen map[useColumn]struct{}) {
	if use < 0 || r.column == "" {
		return
	}
	t := &p.st.Tables[use]
	if !p.listed(t, use, r.column, seen) {
		t.Columns = append(t.Columns, r.column)
	}
	if !r.shown && !slices.Contains(t.Filters, r.column) && len(t.Filters) < MaxFilters {
		t.Filters = append(t.Filters, r.column)
		if len(t.Filters) == MaxFilters {
			t.Filters[MaxFilters-1] = "*"
		}
	}
	if r.pred >= 0 {
		q := p.preds[r.pred]
		all := q.all && s == r.scope && use >= q.notBefore && use < q.notFrom
		t.Where = append(t.Where, Predicate{Column: r.column, Values: q.values, All: all, More: q.more})
	}
}

// filterAll notes that any column of a scope's tables may decide which rows are used, or in what order.
func (p *parser) filterAll(s int32) {
	for i := p.scopes[s].first; i >= 0; i = p.items[i].next {
		if u := p.items[i].use; u >= 0 {
			p.st.Tables[u].Filters = append(p.st.Tables[u].Filters[:0], "*")
		}
	}
}

func (p *parser) listed(t *Table, use int32, column string, seen map[useColumn]struct{}) bool {
	if seen != nil {
		k := useColumn{use, column}
		if _, ok := seen[k]; ok {
			return true
		}
		seen[k] = struct{}{}
		return false
	}
	for _, c := range t.Columns {
		if c == column {
			return true
		}
	}
	return false
}

// insertFromValues recognises two ways in which ORMs insert many rows through a SELECT, and takes the values from them:
//
//	INSERT INTO t (a, b) SELECT p0::int, p1::text FROM (VALUES (…), (…)) AS v(p0, p1, …)
//	INSERT INTO t (a, b) SELECT * FROM UNNEST(%s::int[], %s::text[])
//
// body is the token of the SELECT, sc its scope.
func (p *parser) insertFromValues(u int32, body int, sc int32) {
	t := &p.st.Tables[u]
	if int(sc) >= len(p.scopes) || p.scopes[sc].count != 1 || p.tok(body).kw != kwSelect || len(t.Written) == 0 {
		return
	}
	it := p.items[p.scopes[sc].first]
	if it.use >= 0 {
		return
	}
	if it.rows < 0 {
		p.insertFromUnnest(t, body)
		return
	}
	r := p.rows[it.rows]
	if r.width <= 0 || len(r.columns) != r.width || r.width > MaxValues {
		return
	}
	pick := make([]int, 0, len(t.Written))
	for i := body + 1; ; i++ {
		at := p.i
		p.i = i
		_, _, column, ok := p.chain()
		i, p.i = p.castsEnd(p.i), at
		if !ok {
			return
		}
		n := -1
		for c, name := range r.columns {
			if name == column {
				n = c
				break
			}
		}
		if n < 0 {
			return
		}
		if pick = append(pick, n); p.tok(i).kw == kwFrom {
			break
		}
		if p.tok(i).kind != tComma {
			return
		}
	}
	if len(pick) != len(t.Written) {
		return
	}
	for row := 0; row+r.width <= len(r.values); row += r.width {
		for _, n := range pick {
			t.Values = append(t.Values, r.values[row+n])
		}
	}
}

func (p *parser) insertFromUnnest(t *Table, body int) {
	i := body + 1
	if p.tok(i).kind != tStar || p.tok(i+1).kw != kwFrom || !p.isAt(i+2, "unnest") || p.tok(i+3).kind != tLParen {
		return
	}
	values := make([]Value, 0, len(t.Written))
	for i += 4; len(values) < len(t.Written); i++ {
		v, j, ok := p.valueAt(i)
		if !ok {
			return
		}
		v.List = true
		if v.Kind != Param {
			v = Value{}
		}
		values = append(values, v)
		if i = j; p.tok(i).kind == tRParen {
			break
		}
	}
	if len(values) == len(t.Written) {
		t.Values = values
	}
}

// joinUsing notes a column that both sides must have; with more than two tables the other one is not known.
func (p *parser) joinUsing(sc int32, column string) {
	s := p.scopes[sc]
	known := s.count == 2
	for i := s.first; i >= 0; i = p.items[i].next {
		u := p.items[i].use
		switch {
		case u < 0:
		case known || i == s.last:
			p.addRef(ref{scope: sc, qualifier: p.items[i].alias, column: column, pred: -1})
		default:
			p.st.Tables[u].Partial = true
		}
	}
}

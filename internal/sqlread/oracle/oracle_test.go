package oracle_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"sort"
	"strconv"
	"strings"

	pgquery "github.com/wasilibs/go-pgquery"

	"github.com/demarc-dev/demarc/internal/sqlread"
)

// oracle is what PostgreSQL's own parser says about a statement, found in its syntax tree by rules written for the tree
// alone. It shares no code with the package: scopes are resolved here a second time.
type oracle struct {
	uses   []*oracleUse
	ctes   []string
	params int
}

type oracleUse struct {
	role, schema, name, alias string
	columns                   map[string]bool
	written                   []string
	where                     map[string]bool // "column=$1,$2" of top conjuncts
	partial                   bool
}

type node = map[string]any

type oracleScope struct {
	parent *oracleScope
	items  []oracleItem
	extra  []oracleItem // reachable by qualifier only
	output map[string]bool
}

type oracleItem struct {
	alias string
	use   *oracleUse
}

func askOracle(sql string) (*oracle, error) {
	text, err := pgquery.ParseToJSON(sql)
	if err != nil {
		return nil, err
	}
	var tree node
	if err := json.Unmarshal([]byte(text), &tree); err != nil {
		return nil, err
	}
	o := &oracle{}
	for _, s := range list(tree["stmts"]) {
		o.statement(s.(node)["stmt"], nil)
		o.countParams(s)
	}
	return o, nil
}

func (o *oracle) countParams(v any) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			o.countParams(e)
		}
	case node:
		if k, b := one(x); k == "ParamRef" {
			n, _ := strconv.Atoi(fmt.Sprint(b["number"]))
			o.params = max(o.params, n)
		}
		for _, e := range x {
			o.countParams(e)
		}
	}
}

func list(v any) []any { l, _ := v.([]any); return l }

func str(v any) string { s, _ := v.(string); return s }

// one returns the type and body of a node {"Type": {…}}.
func one(v any) (string, node) {
	if m, ok := v.(node); ok && len(m) == 1 {
		for k, b := range m {
			if body, ok := b.(node); ok {
				return k, body
			}
		}
	}
	return "", nil
}

func stringsOf(v any) []string {
	var out []string
	for _, f := range list(v) {
		switch k, b := one(f); k {
		case "String":
			out = append(out, str(b["sval"]))
		case "A_Star":
			out = append(out, "*")
		}
	}
	return out
}

func (o *oracle) use(role string, rel node) *oracleUse {
	u := &oracleUse{role: role, schema: str(rel["schemaname"]), name: str(rel["relname"]), columns: map[string]bool{},
		where: map[string]bool{}}
	u.alias = u.name
	if a, ok := rel["alias"].(node); ok {
		u.alias = str(a["aliasname"])
	}
	o.uses = append(o.uses, u)
	return u
}

func (o *oracle) statement(stmt any, parent *oracleScope) {
	kind, b := one(stmt)
	mark := len(o.ctes)
	if w, ok := b["withClause"].(node); ok {
		recursive, _ := w["recursive"].(bool)
		for _, c := range list(w["ctes"]) {
			_, cte := one(c)
			if recursive {
				o.ctes = append(o.ctes, str(cte["ctename"]))
			}
			o.statement(cte["ctequery"], parent)
			if !recursive {
				o.ctes = append(o.ctes, str(cte["ctename"]))
			}
		}
	}
	sc := &oracleScope{parent: parent, output: map[string]bool{}}
	switch kind {
	case "SelectStmt":
		o.selectStmt(b, sc)
	case "InsertStmt":
		o.insertStmt(b, sc)
	case "UpdateStmt":
		u := o.use("update", b["relation"].(node))
		sc.items = append(sc.items, oracleItem{u.alias, u})
		o.from(b["fromClause"], sc)
		o.assign(b["targetList"], u, sc)
		o.where(b["whereClause"], sc)
		o.expr(b["returningList"], sc)
	case "DeleteStmt":
		u := o.use("delete", b["relation"].(node))
		sc.items = append(sc.items, oracleItem{u.alias, u})
		o.from(b["usingClause"], sc)
		o.where(b["whereClause"], sc)
		o.expr(b["returningList"], sc)
	case "TruncateStmt":
		for _, r := range list(b["relations"]) {
			_, rel := one(r)
			o.use("truncate", rel)
		}
	case "LockStmt":
		for _, r := range list(b["relations"]) {
			_, rel := one(r)
			o.use("lock", rel)
		}
	case "CreateStmt", "AlterTableStmt", "IndexStmt":
		o.use("ddl", b["relation"].(node))
	case "RenameStmt":
		if rel, ok := b["relation"].(node); ok {
			o.use("ddl", rel)
		}
	case "DropStmt":
		if str(b["removeType"]) == "OBJECT_TABLE" {
			for _, x := range list(b["objects"]) {
				_, l := one(x)
				names := stringsOf(l["items"])
				o.use("ddl", node{"relname": names[len(names)-1]})
			}
		}
	}
	o.ctes = o.ctes[:mark]
}

func (o *oracle) selectStmt(b node, sc *oracleScope) {
	if op := str(b["op"]); op != "" && op != "SETOP_NONE" {
		o.statement(node{"SelectStmt": b["larg"]}, sc.parent)
		o.statement(node{"SelectStmt": b["rarg"]}, sc.parent)
		return
	}
	o.from(b["fromClause"], sc)
	for _, t := range list(b["targetList"]) {
		_, rt := one(t)
		if n := str(rt["name"]); n != "" {
			sc.output[n] = true
		}
	}
	for _, k := range []string{"targetList", "valuesLists", "distinctClause", "windowClause", "limitCount", "limitOffset"} {
		o.expr(b[k], sc)
	}
	o.where(b["whereClause"], sc)
	for _, k := range []string{"groupClause", "havingClause", "sortClause"} {
		o.grouped(b[k], sc)
	}
	for _, l := range list(b["lockingClause"]) {
		_, lc := one(l)
		var of []string
		for _, r := range list(lc["lockedRels"]) {
			_, rel := one(r)
			of = append(of, str(rel["relname"]))
		}
		for _, it := range sc.items {
			if it.use != nil && (of == nil || slices.Contains(of, it.alias)) {
				it.use.role = "lock"
			}
		}
	}
}

// grouped is expr, except that a bare name may be an output column.
func (o *oracle) grouped(v any, sc *oracleScope) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			o.grouped(e, sc)
		}
	case node:
		if k, b := one(x); k == "ColumnRef" {
			if f := stringsOf(b["fields"]); len(f) == 1 && sc.output[f[0]] {
				return
			}
		} else if k == "SubLink" || k == "SelectStmt" {
			o.expr(x, sc)
			return
		}
		if k, _ := one(x); k == "ColumnRef" {
			o.expr(x, sc)
			return
		}
		for _, e := range x {
			o.grouped(e, sc)
		}
	}
}

func (o *oracle) insertStmt(b node, sc *oracleScope) {
	u := o.use("insert", b["relation"].(node))
	for _, c := range list(b["cols"]) {
		_, rt := one(c)
		u.written = append(u.written, str(rt["name"]))
	}
	if s, ok := b["selectStmt"]; ok {
		o.statement(s, nil)
	}
	sc.items = append(sc.items, oracleItem{u.alias, u})
	if c, ok := b["onConflictClause"].(node); ok && str(c["action"]) == "ONCONFLICT_UPDATE" {
		up := o.use("update", b["relation"].(node))
		o.bindConflict(c, b, u, up)
		us := &oracleScope{items: []oracleItem{{up.alias, up}}, extra: []oracleItem{{"excluded", nil}}}
		o.assign(c["targetList"], up, us)
		o.where(c["whereClause"], us)
	}
	o.expr(b["returningList"], sc)
}

// bindConflict says which keys the row that an upsert updates can have: those of the rows to insert.
func (o *oracle) bindConflict(conflict, insert node, u, up *oracleUse) {
	_, source := one(insert["selectStmt"])
	infer, _ := conflict["infer"].(node)
	for _, e := range list(infer["indexElems"]) {
		_, elem := one(e)
		at := slices.Index(u.written, str(elem["name"]))
		var values []string
		for _, row := range list(source["valuesLists"]) {
			_, l := one(row)
			if v := list(l["items"]); at >= 0 {
				p := paramsOf(v[at])
				if p == "" {
					p = "c"
				}
				values = append(values, p)
			}
		}
		if v := unnested(source); at >= 0 && at < len(v) {
			values = append(values, paramsOf(v[at]))
		}
		if values != nil {
			up.where[str(elem["name"])+"="+strings.Join(values, ",")] = true
		}
	}
}

// unnested returns the arguments in SELECT * FROM UNNEST(…).
func unnested(selectStmt node) []any {
	from := list(selectStmt["fromClause"])
	if len(from) != 1 {
		return nil
	}
	if k, f := one(from[0]); k == "RangeFunction" {
		_, l := one(list(f["functions"])[0])
		if k, call := one(list(l["items"])[0]); k == "FuncCall" && slices.Equal(stringsOf(call["funcname"]), []string{"unnest"}) {
			return list(call["args"])
		}
	}
	return nil
}

func (o *oracle) assign(v any, u *oracleUse, sc *oracleScope) {
	for _, t := range list(v) {
		_, rt := one(t)
		u.written = append(u.written, str(rt["name"]))
		o.expr(rt["val"], sc)
	}
}

func (o *oracle) from(v any, sc *oracleScope) {
	for _, f := range list(v) {
		o.fromItem(f, sc)
	}
}

func aliasOf(b node) string {
	a, _ := b["alias"].(node)
	return str(a["aliasname"])
}

func (o *oracle) fromItem(f any, sc *oracleScope) {
	switch k, b := one(f); k {
	case "RangeVar":
		if str(b["schemaname"]) == "" && slices.Contains(o.ctes, str(b["relname"])) {
			alias := aliasOf(b)
			if alias == "" {
				alias = str(b["relname"])
			}
			sc.items = append(sc.items, oracleItem{alias, nil})
			return
		}
		u := o.use("read", b)
		sc.items = append(sc.items, oracleItem{u.alias, u})
	case "JoinExpr":
		first := len(sc.items)
		o.fromItem(b["larg"], sc)
		right := len(sc.items)
		o.fromItem(b["rarg"], sc)
		items := sc.items
		var pinned []*oracleUse
		for i, it := range items {
			left := i >= first && i < right
			switch str(b["jointype"]) {
			case "JOIN_INNER":
				pinned = append(pinned, it.use)
			case "JOIN_LEFT":
				if i >= right {
					pinned = append(pinned, it.use)
				}
			case "JOIN_RIGHT":
				if left {
					pinned = append(pinned, it.use)
				}
			}
		}
		o.expr(b["quals"], sc)
		o.conjuncts(b["quals"], sc, pinned)
	case "RangeSubselect":
		o.statement(b["subquery"], sc)
		sc.items = append(sc.items, oracleItem{aliasOf(b), nil})
	case "RangeFunction":
		o.expr(b["functions"], sc)
		alias := aliasOf(b)
		sc.items = append(sc.items, oracleItem{alias, nil})
	case "RangeTableSample":
		o.fromItem(b["relation"], sc)
		o.expr(b["args"], sc)
	default:
		panic("oracle: FROM holds " + k)
	}
}

func (o *oracle) where(v any, sc *oracleScope) {
	o.expr(v, sc)
	var all []*oracleUse
	for _, it := range sc.items {
		all = append(all, it.use)
	}
	o.conjuncts(v, sc, all)
}

// conjuncts notes column = parameters where it stands under nothing but AND.
func (o *oracle) conjuncts(v any, sc *oracleScope, pinned []*oracleUse) {
	k, b := one(v)
	if k == "BoolExpr" && str(b["boolop"]) == "AND_EXPR" {
		for _, a := range list(b["args"]) {
			o.conjuncts(a, sc, pinned)
		}
		return
	}
	if k != "A_Expr" {
		return
	}
	name := stringsOf(b["name"])
	kind := str(b["kind"])
	if len(name) != 1 || name[0] != "=" || kind != "AEXPR_OP" && kind != "AEXPR_IN" && kind != "AEXPR_OP_ANY" &&
		kind != "AEXPR_NOT_DISTINCT" {
		return
	}
	l, r := b["lexpr"], b["rexpr"]
	if kind == "AEXPR_OP" {
		if k, _ := one(r); k == "ColumnRef" {
			l, r = r, l
		}
	}
	lk, lb := one(l) // a cast column is another value
	values := paramsOf(r)
	if lk != "ColumnRef" || values == "" && !onlyNull(r) {
		return
	}
	fields := stringsOf(lb["fields"])
	u := o.resolve(fields, sc)
	if u != nil && slices.Contains(pinned, u) {
		u.where[fields[len(fields)-1]+"="+values] = true
	}
}

func strip(v any) any {
	for {
		k, b := one(v)
		if k != "TypeCast" {
			return v
		}
		v = b["arg"]
	}
}

// paramsOf spells a list of parameters and constants, "" for anything else.
func paramsOf(v any) string {
	switch k, b := one(strip(v)); k {
	case "ParamRef":
		return fmt.Sprintf("$%v", b["number"])
	case "A_Const":
		if isnull, _ := b["isnull"].(bool); isnull {
			return ""
		}
		return "c"
	case "List", "A_ArrayExpr":
		items := b["items"]
		if k == "A_ArrayExpr" {
			items = b["elements"]
		}
		var out []string
		for _, e := range list(items) {
			p := paramsOf(e)
			if ek, eb := one(strip(e)); ek == "A_Const" && eb["isnull"] == true {
				continue
			}
			if p == "" || strings.Contains(p, ",") {
				return ""
			}
			out = append(out, p)
		}
		return strings.Join(out, ",")
	}
	return ""
}

// onlyNull says whether v is the list (NULL), which SQLAlchemy writes for an empty one: it pins the column to nothing.
func onlyNull(v any) bool {
	_, b := one(v)
	items := list(b["items"])
	if len(items) != 1 {
		return false
	}
	_, c := one(items[0])
	return c["isnull"] == true
}

// resolve finds the use that a column reference means; nil for a derived table or for "cannot be known".
func (o *oracle) resolve(fields []string, sc *oracleScope) *oracleUse {
	if len(fields) == 1 {
		for sc != nil && len(sc.items) == 0 {
			sc = sc.parent
		}
		if sc == nil {
			return nil
		}
		if len(sc.items) == 1 {
			return sc.items[0].use
		}
		for _, it := range sc.items {
			if it.use != nil {
				it.use.partial = true
			}
		}
		return nil
	}
	q := fields[len(fields)-2]
	for ; sc != nil; sc = sc.parent {
		for _, it := range append(slices.Clone(sc.items), sc.extra...) {
			if it.alias == q {
				return it.use
			}
		}
	}
	return nil
}

// expr notes the columns in any tree.
func (o *oracle) expr(v any, sc *oracleScope) {
	switch x := v.(type) {
	case []any:
		for _, e := range x {
			o.expr(e, sc)
		}
	case node:
		switch k, b := one(x); k {
		case "SelectStmt":
			o.statement(x, sc)
			return
		case "ColumnRef":
			f := stringsOf(b["fields"])
			if len(f) == 1 && f[0] == "*" {
				for _, it := range sc.items {
					if it.use != nil {
						it.use.columns["*"] = true
					}
				}
				return
			}
			if u := o.resolve(f, sc); u != nil {
				u.columns[f[len(f)-1]] = true
			}
			return
		}
		for _, e := range x {
			o.expr(e, sc)
		}
	}
}

// describe writes a use down, so that the oracle's and ours can be compared as text.
func (u *oracleUse) describe() string {
	return describe(u.role, u.schema, u.name, u.alias, keys(u.columns), u.written, keys(u.where))
}

func describe(role, schema, name, alias string, columns, written, where []string) string {
	return fmt.Sprintf("%s %s.%s as %s columns %v written %v where %v", role, schema, name, alias, columns, written, where)
}

func keys(m map[string]bool) []string {
	out := make([]string, 0, len(m))
	for k := range m {
		out = append(out, k)
	}
	sort.Strings(out)
	return out
}

// describeTable writes one of our uses down in the same way.
func describeTable(t *sqlread.Table) string {
	columns := slices.Clone(t.Columns)
	sort.Strings(columns)
	where := map[string]bool{}
	for _, p := range t.Where {
		if !p.All {
			continue
		}
		var vs []string
		for _, v := range p.Values {
			if v.Kind == sqlread.Param {
				vs = append(vs, fmt.Sprintf("$%d", v.Index+1))
			} else {
				vs = append(vs, "c")
			}
		}
		where[p.Column+"="+strings.Join(vs, ",")] = true
	}
	written := t.Written
	if written == nil {
		written = []string{}
	}
	return describe(t.Role.String(), t.Schema, t.Name, t.Alias, columns, written, keys(where))
}

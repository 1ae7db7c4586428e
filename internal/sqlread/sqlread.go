// Package sqlread reads SQL text: which tables and columns a statement reads and writes, which columns it pins to
// which parameter, and which text it shares with its siblings (the fingerprint).
//
// It is a lexer and a walker over its tokens, not a parser: text that no database would accept is read as far as it
// makes sense, and nothing panics. It knows no schema; what cannot be known from the text alone is left out and the
// table concerned is marked Partial. Three spellings are read: PostgreSQL, SQLite and MySQL, with the parameter
// styles of their Python drivers.
//
// Everything here is a pure function of its arguments. Time and memory grow linearly with the text, and the limits
// below bound both.
package sqlread

// Limits. A statement beyond one of them is read up to it and says so (Statement.TooLong, Statement.Cut).
const (
	// MaxText is the longest text that is read, in bytes. Of a longer one only the kind and the fingerprint of its
	// first headText bytes are known.
	MaxText = 1 << 20
	// MaxDepth is the deepest nesting of parentheses, subqueries and CASE that is followed.
	MaxDepth = 100
	// MaxTables is the number of table uses kept (and, apart from it, of names in FROM lists and of CTEs).
	MaxTables = 500
	// MaxFilters is the number of columns in Table.Filters, the last of which is then "*".
	MaxFilters = 64
	// MaxColumns is the number of column references, of predicates and of RETURNING entries kept.
	MaxColumns = 1 << 14
	// MaxValues is the number of values kept of one IN list or of the rows of one INSERT.
	MaxValues = 4096

	// MaxParams is the highest number of a parameter; higher ones count as this one.
	MaxParams = 1 << 16

	headText = 4096
)

// Dialect says whose spelling a text follows: what quotes an identifier, what escapes a quote, what is a comment.
type Dialect uint8

// The dialects. Any is for texts of unknown origin: where dialects disagree on what is a literal, it is taken for one.
const (
	Any Dialect = iota
	PostgreSQL
	SQLite
	MySQL
)

// DialectOf returns the dialect for the db field of a query event; Any for a name it does not know.
func DialectOf(db string) Dialect {
	switch db {
	case "postgresql", "postgres":
		return PostgreSQL
	case "sqlite":
		return SQLite
	case "mysql", "mariadb":
		return MySQL
	}
	return Any
}

// Kind is what a statement does, by its main verb: WITH … INSERT is an Insert, WITH x AS (INSERT …) SELECT a Select
// (its table is still listed as inserted into).
type Kind uint8

// The kinds. MERGE, COPY, TRUNCATE, EXPLAIN, DDL, SET and everything unknown are Other; END is a Commit, ABORT a
// Rollback, REPLACE an Insert, VALUES and TABLE a Select.
const (
	Other Kind = iota
	Select
	Insert
	Update
	Delete
	Begin
	Commit
	Rollback
	Savepoint
	Release
	RollbackTo
)

var kindNames = [...]string{"other", "select", "insert", "update", "delete", "begin", "commit", "rollback", "savepoint",
	"release", "rollback-to"}

// String returns the kind in lower case, as it stands in reports: "select", "rollback-to".
func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "other"
}

// Role is what a statement does with one table.
type Role uint8

// The roles. RoleLock means read with a row lock (SELECT … FOR UPDATE, FOR SHARE) or locked as a whole (LOCK TABLE).
// An upsert uses its table twice, as RoleInsert and RoleUpdate; REPLACE and INSERT OR REPLACE as RoleInsert and RoleDelete.
const (
	RoleRead Role = iota
	RoleInsert
	RoleUpdate
	RoleDelete
	RoleLock
	RoleTruncate
	RoleDDL // by DDL: CREATE, ALTER, DROP, RENAME, REFRESH
)

var roleNames = [...]string{"read", "insert", "update", "delete", "lock", "truncate", "ddl"}

// String returns the role in lower case, as it stands in reports: "read", "lock", "ddl".
func (r Role) String() string {
	if int(r) < len(roleNames) {
		return roleNames[r]
	}
	return "read"
}

// Writes says whether the role changes rows or the table itself.
func (r Role) Writes() bool { return r != RoleRead && r != RoleLock }

// Statement is what one text says. It shares memory with the text it was read from and must not be changed by those
// who share it (a Cache hands the same one to all).
type Statement struct {
	// Kind is that of the first statement where the text holds several.
	Kind Kind
	// Savepoint is the name in SAVEPOINT, RELEASE and ROLLBACK TO; empty otherwise.
	Savepoint string
	// Tables holds every use of a table, in the order of the text. A table named twice (a self join, an upsert) has
	// two uses. CTEs, table functions and derived tables are not tables.
	Tables []Table
	// Params is the number of parameter positions: the highest index plus one.
	Params int
	// Names holds the names of named parameters, by index, each once; nil where all are positional. A name has its
	// index by first appearance.
	Names []string
	// Fingerprint is the text with literals and parameters as ?, IN lists and the rows of VALUES folded into one,
	// comments dropped, whitespace and the case of keywords folded, names kept. It holds no literal, and reading it
	// again (in the same dialect) gives the same fingerprint.
	Fingerprint string
	// Hash is the 64-bit FNV-1a hash of Fingerprint; it is the same on every machine and in every run.
	Hash uint64
	// Count is the number of statements in the text (separated by semicolons).
	Count int
	// TooLong says that the text exceeded MaxText and was not read; Cut that another limit was met and something
	// is missing from Tables.
	TooLong, Cut bool
}

// Table is one use of one table.
type Table struct {
	// Schema is the qualifier before the name, "" if the text has none. Name is the table's name. Names are
	// unquoted and unescaped; in lower case where the database ignores case (everywhere but in PostgreSQL's quotes).
	Schema, Name string
	// Alias is the name that the statement gives it, else Name.
	Alias string
	Role  Role
	// Columns holds the columns whose values the statement uses or returns, each once, "*" for all of them; with
	// those of Where, Returning and a join's ON among them.
	Columns []string
	// Filters holds those of Columns on which it may depend which rows are used, and in what order: all but those that
	// the SELECT list returns as they are. "*" stands for any.
	Filters []string
	// Written holds the columns set: an INSERT's list in its order (empty where it gives none: all columns, in the
	// table's order), the targets of UPDATE … SET in theirs.
	Written []string
	// Values holds what is written, row after row: for an INSERT, len(Written) values a row where that is known.
	// It is nil where the text does not tell (INSERT … SELECT), and holds whole rows only, MaxValues at most.
	Values []Value
	// Where holds equality predicates on this use.
	Where []Predicate
	// Returning holds what RETURNING gives back, in its order: a column of this table, "*", or "" for anything else.
	Returning []string
	// Conflict holds the columns of ON CONFLICT (…), for both uses of an upsert.
	Conflict []string
	// Partial says that there may be columns or predicates which the text alone does not assign to this use (an
	// unqualified name beside several tables, NATURAL JOIN, a whole row).
	Partial bool
}

// Predicate ties one column to values by equality.
type Predicate struct {
	Column string
	// Values holds the alternatives: one for =, several for IN; MaxValues at most.
	Values []Value
	// All says that every row of this use that the statement changes, or that its answer depends on through this
	// use, satisfies the predicate: it stands in a conjunction of WHERE, or of ON where the join does not keep
	// other rows of this use. Otherwise (OR, NOT, CASE) it is a hint.
	All bool
	// More says that values beyond MaxValues were left out.
	More bool
}

// ValueKind says what a Value is.
type ValueKind uint8

// The kinds of value. Computed is anything the text does not reduce to one parameter or literal, and a literal that
// Redact has removed.
const (
	Computed ValueKind = iota
	Param
	Literal
	Null
	Default
)

// Value is a parameter or literal in the text; casts around it are looked through.
type Value struct {
	Kind ValueKind
	// Index is the position in the parameters, from 0, for Param.
	Index int
	// List says that the parameter or literal holds a list and the value is one of its elements: = ANY($1), IN %s,
	// UNNEST(%s).
	List bool
	// Text is the literal, unescaped, numbers as written, true and false in lower case. It is data of the service's
	// users: never to be stored.
	Text string
}

// Writes says whether any table is written.
func (s *Statement) Writes() bool {
	for i := range s.Tables {
		if s.Tables[i].Role.Writes() {
			return true
		}
	}
	return false
}

// Bound returns the values that the columns of the row are pinned to for every row that the use touches: for an
// insert those of the inserted rows, else those of a predicate with All. ok is false where the text does not tell.
func (t *Table) Bound(column string) (values []Value, ok bool) {
	if t.Role == RoleInsert {
		for c, name := range t.Written {
			if name != column || t.Values == nil {
				continue
			}
			for i := c; i < len(t.Values); i += len(t.Written) {
				values = append(values, t.Values[i])
			}
			return values, true
		}
		return nil, false
	}
	for i := range t.Where {
		if p := &t.Where[i]; p.All && !p.More && p.Column == column {
			return p.Values, true
		}
	}
	return nil, false
}

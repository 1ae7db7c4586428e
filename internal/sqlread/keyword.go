package sqlread

// kw is a keyword. Only words that are reserved somewhere and mean something to the walker have a code of their own;
// they are never taken for names unless quoted or qualified.
type kw uint8

const (
	kwNone  kw = iota
	kwSoft     // a keyword that is also a good name: folded in fingerprints, a name to the walker
	kwVar      // not a keyword: a MySQL variable, @x or @@x
	kwConst    // CURRENT_DATE and the like
	kwNull
	kwTrue
	kwFalse
	kwDefault
	kwEnd
	kwAsc
	kwDesc
	// From here on a keyword is followed by an operand.
	kwOther
	kwSelect
	kwInsert
	kwUpdate
	kwDelete
	kwWith
	kwValues
	kwTable
	kwFrom
	kwWhere
	kwGroup
	kwHaving
	kwWindow
	kwOrder
	kwBy
	kwLimit
	kwOffset
	kwFetch
	kwFor
	kwUnion
	kwIntersect
	kwExcept
	kwAll
	kwDistinct
	kwInto
	kwSet
	kwOn
	kwUsing
	kwReturning
	kwJoin
	kwInner
	kwLeft
	kwRight
	kwFull
	kwCross
	kwOuter
	kwNatural
	kwLateral
	kwAs
	kwAnd
	kwOr
	kwXor
	kwNot
	kwIn
	kwIs
	kwLike
	kwBetween
	kwExists
	kwAny
	kwArray
	kwCase
	kwWhen
	kwThen
	kwElse
	kwCast
	kwCollate
	kwInterval
)

// takesOperand says whether an operand follows the word; otherwise the word ends one.
func (k kw) takesOperand() bool { return k >= kwOther }

// maxKeyword is the length of the longest keyword.
const maxKeyword = 17

var keywords = map[string]kw{
	"select": kwSelect, "insert": kwInsert, "update": kwUpdate, "delete": kwDelete, "with": kwWith, "values": kwValues,
	"table": kwTable, "from": kwFrom, "where": kwWhere, "group": kwGroup, "having": kwHaving, "window": kwWindow,
	"order": kwOrder, "by": kwBy, "limit": kwLimit, "offset": kwOffset, "fetch": kwFetch, "for": kwFor, "union": kwUnion,
	"intersect": kwIntersect, "except": kwExcept, "all": kwAll, "distinct": kwDistinct, "into": kwInto, "set": kwSet,
	"on": kwOn, "using": kwUsing, "returning": kwReturning, "join": kwJoin, "straight_join": kwJoin, "inner": kwInner,
	"left": kwLeft, "right": kwRight, "full": kwFull, "cross": kwCross, "outer": kwOuter, "natural": kwNatural,
	"lateral": kwLateral, "as": kwAs, "and": kwAnd, "or": kwOr, "xor": kwXor, "not": kwNot, "in": kwIn, "is": kwIs,
	"isnull": kwOther, "notnull": kwOther, "like": kwLike, "ilike": kwLike, "glob": kwLike, "regexp": kwLike,
	"rlike": kwLike, "similar": kwSoft, "escape": kwSoft, "between": kwBetween, "exists": kwExists, "any": kwAny, "some": kwAny,
	"array": kwArray, "case": kwCase, "when": kwWhen, "then": kwThen, "else": kwElse, "end": kwEnd, "cast": kwCast,
	"collate": kwCollate, "interval": kwInterval, "null": kwNull, "true": kwTrue, "false": kwFalse,
	"default": kwDefault, "asc": kwAsc, "desc": kwDesc, "div": kwOther, "unique": kwSoft, "both": kwOther,
	"leading": kwOther, "trailing": kwOther,

	"current_date": kwConst, "current_time": kwConst, "current_timestamp": kwConst, "current_user": kwConst,
	"localtime": kwConst, "localtimestamp": kwConst, "session_user": kwConst, "utc_timestamp": kwConst,

	"add": kwSoft, "alter": kwSoft, "begin": kwSoft, "cascade": kwSoft, "commit": kwSoft,
	"conflict": kwSoft, "constraint": kwSoft, "create": kwSoft, "deferred": kwSoft, "do": kwSoft, "drop": kwSoft,
	"duplicate": kwSoft, "exclusive": kwSoft, "explain": kwSoft, "foreign": kwSoft, "if": kwSoft,
	"ignore": kwSoft, "immediate": kwSoft, "locked": kwSoft,
	"matched": kwSoft, "materialized": kwSoft, "merge": kwSoft, "nothing": kwSoft, "nowait": kwSoft, "nulls": kwSoft,
	"of": kwSoft, "only": kwSoft, "over": kwSoft, "partition": kwSoft, "pragma": kwSoft, "primary": kwSoft,
	"recursive": kwSoft, "references": kwSoft, "release": kwSoft, "rollback": kwSoft, "savepoint": kwSoft,
	"skip": kwSoft, "temporary": kwSoft, "to": kwSoft, "transaction": kwSoft,
	"truncate": kwSoft, "within": kwSoft, "replace": kwSoft}

// keyword looks a word up, whatever its case.
func keyword(s string) kw {
	if len(s) < 2 || len(s) > maxKeyword {
		return kwNone
	}
	var b [maxKeyword]byte
	for i := 0; i < len(s); i++ {
		c := s[i]
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		b[i] = c
	}
	return keywords[string(b[:len(s)])]
}

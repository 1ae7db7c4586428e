package stale

import (
	"regexp"
	"strings"
	"time"
)

// Families are keys of one shape: split at ":", "/" and "|", segments that are numbers, UUIDs or hashes become {}. A
// segment that takes more than manyValues values in its place becomes {} too; what was counted apart until then is added
// up. The tree of segments has at most maxNodes nodes; beyond, new segments are {}.
const (
	manyValues = 64
	maxNodes   = 1 << 16
	// maxSegments is the number of segments looked at; the rest of a key is one segment.
	maxSegments = 32
	// otherFamilies is the family of all keys beyond Options.MaxFamilies.
	otherFamilies = "(other families)"
	maxPerFamily  = 64 // tables, tags, jobs, writers noted with one family, each
)

type node struct {
	kids map[string]*node // by separator and segment
	fam  *family
	open bool // kids were put together under {}
}

type families struct {
	root  node
	nodes int
	n     int
	max   int
	other *family
	opt   *Options
}

// family is what is known of the keys of one shape. A family that was put into another points to it.
type family struct {
	name   string
	into   *family
	budget int64

	hits, misses, sets, fills, deletes, removed0 int64
	live                                         int64
	lag                                          histogram

	covered bool              // some delete named a key of it, or a tag or pattern of one
	tables  map[string]bool   // read by its fills
	removed bool              // a delete by key removed something
	drops   map[string]*drops // what writers of a table do to it, by table
	jobs    map[string]bool   // names of jobs that dropped keys of it
	factor  factor
}

// drops says who drops a family after writing one table.
type drops struct {
	oneRow bool   // after a write of one row
	many   bool   // after any other
	by     string // route or code of one that does
	how    string // key, tag, pattern, clear
}

func (f *family) find() *family {
	for f.into != nil {
		if f.into.into != nil {
			f.into = f.into.into
		}
		f = f.into
	}
	return f
}

func (fs *families) budgetOf(name string) int64 {
	if d, ok := fs.opt.Budgets[name]; ok {
		return int64(d)
	}
	return int64(fs.opt.Budgets["default"])
}

// inner finds hashes and UUIDs inside a segment: keys of page caches join them with dots.
var inner = regexp.MustCompile(`~[0-9a-f]{16}\b|\b[0-9a-f]{32,64}\b|\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b`)

// of returns the family of a key.
func (fs *families) of(key string) *family {
	n := &fs.root
	name := make([]byte, 0, 96)
	for count, rest := 0, key; ; count++ {
		i := strings.IndexAny(rest, ":/|")
		if count >= maxSegments {
			i = -1
		}
		seg, sep := rest, ""
		if i >= 0 {
			seg, sep = rest[:i], rest[i:i+1]
		}
		shown := "{}"
		if !variable(seg) && len(seg) <= 256 {
			shown = seg
			if len(seg) > len("~0123456789abcdef") { // the shortest hash, and something beside it
				shown = inner.ReplaceAllString(seg, "{}")
			}
		}
		n, shown = fs.kid(n, sep, shown)
		name = append(append(name, shown...), sep...)
		if i < 0 {
			break
		}
		rest = rest[i+1:]
	}
	if n.fam == nil {
		n.fam = fs.make(string(name))
	}
	return n.fam
}

func (fs *families) make(name string) *family {
	if fs.n >= fs.max {
		if fs.other == nil {
			fs.other = &family{name: otherFamilies, budget: fs.budgetOf(otherFamilies)}
		}
		return fs.other
	}
	fs.n++
	return &family{name: name, budget: fs.budgetOf(name)}
}

// kid returns the node of a segment, and the segment as it is shown.
func (fs *families) kid(n *node, sep, seg string) (*node, string) {
	if n.open {
		seg = "{}"
	}
	at := sep + seg
	if k := n.kids[at]; k != nil {
		return k, seg
	}
	if n.kids == nil {
		n.kids = map[string]*node{}
	}
	if fs.nodes >= maxNodes && seg != "{}" {
		return fs.kid(n, sep, "{}")
	}
	k := &node{}
	n.kids[strings.Clone(at)] = k
	fs.nodes++
	if len(n.kids) > manyValues && !n.open {
		fs.fold(n)
		return fs.kid(n, sep, seg)
	}
	return k, seg
}

// fold puts all children of a node together under {}.
func (fs *families) fold(n *node) {
	kids := n.kids
	n.kids, n.open = map[string]*node{}, true
	for at, k := range kids {
		sep := ""
		if at != "" && strings.IndexByte(":/|", at[0]) >= 0 {
			sep = at[:1]
		}
		to := n.kids[sep+"{}"]
		if to == nil {
			n.kids[sep+"{}"] = k
			continue
		}
		fs.nodes--
		fs.join(to, k)
	}
	fs.rename(&fs.root, "")
}

// join puts what is known below one node into another.
func (fs *families) join(to, from *node) {
	switch {
	case from.fam == nil || from.fam == fs.other:
	case to.fam == nil || to.fam == fs.other:
		to.fam = from.fam
	case to.fam.find() != from.fam.find():
		to.fam.find().take(from.fam.find())
		fs.n--
	}
	for at, k := range from.kids {
		if to.open {
			sep := ""
			if at != "" && strings.IndexByte(":/|", at[0]) >= 0 {
				sep = at[:1]
			}
			at = sep + "{}"
		}
		if to.kids == nil {
			to.kids = map[string]*node{}
		}
		if have := to.kids[at]; have != nil {
			fs.nodes--
			fs.join(have, k)
		} else {
			to.kids[at] = k
		}
	}
	if !to.open && len(to.kids) > manyValues {
		fs.fold(to)
	}
}

// rename gives all families below a node the name of their place. The separator of a segment stands after it in the
// name, and before it in the tree.
func (fs *families) rename(n *node, name string) {
	if n.fam != nil && n.fam != fs.other {
		f := n.fam.find()
		f.name, f.budget = name, fs.budgetOf(name)
	}
	for at, k := range n.kids {
		seg, sep := at, ""
		if at != "" && strings.IndexByte(":/|", at[0]) >= 0 {
			seg, sep = at[1:], at[:1]
		}
		fs.rename(k, name+seg+sep)
	}
}

// take adds what is known of another family, which then points here.
func (f *family) take(o *family) {
	f.add(o)
	o.into = f
}

func (f *family) add(o *family) {
	f.hits += o.hits
	f.misses += o.misses
	f.sets += o.sets
	f.fills += o.fills
	f.deletes += o.deletes
	f.removed0 += o.removed0
	f.live += o.live
	f.lag.add(&o.lag)
	f.covered = f.covered || o.covered
	f.removed = f.removed || o.removed
	for t := range o.tables {
		f.reads(t)
	}
	for j := range o.jobs {
		f.job(j)
	}
	for t, d := range o.drops {
		mine := f.drop(t)
		if mine == nil {
			continue
		}
		mine.oneRow, mine.many = mine.oneRow || d.oneRow, mine.many || d.many
		if mine.by == "" || d.by != "" && d.by < mine.by {
			mine.by, mine.how = d.by, d.how
		}
	}
	f.factor.add(&o.factor)
}

func (f *family) reads(table string) {
	if !f.tables[table] && len(f.tables) < maxPerFamily {
		if f.tables == nil {
			f.tables = map[string]bool{}
		}
		f.tables[table] = true
	}
}

func (f *family) job(name string) {
	if !f.jobs[name] && len(f.jobs) < maxPerFamily {
		if f.jobs == nil {
			f.jobs = map[string]bool{}
		}
		f.jobs[name] = true
	}
}

func (f *family) drop(table string) *drops {
	d := f.drops[table]
	if d == nil && len(f.drops) < maxPerFamily {
		if f.drops == nil {
			f.drops = map[string]*drops{}
		}
		d = &drops{}
		f.drops[table] = d
	}
	return d
}

// variable says whether a segment is a number, a UUID or a hash.
func variable(s string) bool {
	if s == "" {
		return false
	}
	if strings.HasPrefix(s, "0x") && len(s) > 2 && strings.Trim(s[2:], "0123456789abcdefABCDEF") == "" {
		return true
	}
	digits, hex, other := 0, 0, 0
	for i := range len(s) {
		switch c := s[i]; {
		case c >= '0' && c <= '9':
			digits++
		case c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F':
			hex++
		case (c == '-' || c == '+') && i == 0 || c == '.' && i > 0 && i < len(s)-1:
			other += 1
		case c == '~' && i == 0: // how a recorder writes a hashed segment
			return len(s) == 17
		default:
			other += 2
		}
	}
	if digits > 0 && hex == 0 && other <= 1 { // 42, -1, 3.14
		return true
	}
	if hex+digits == len(s) && len(s) >= 8 && digits > 0 && hex > 0 || hex+digits == len(s) && len(s) >= 32 {
		return true
	}
	return uuid(s)
}

func uuid(s string) bool {
	if len(s) != 36 {
		return false
	}
	for i := range len(s) {
		c := s[i]
		if i == 8 || i == 13 || i == 18 || i == 23 {
			if c != '-' {
				return false
			}
		} else if (c < '0' || c > '9') && (c < 'a' || c > 'f') && (c < 'A' || c > 'F') {
			return false
		}
	}
	return true
}

// variables are the parts of a key that its family shows as {}, in order, and the words of the rest.
func (fs *families) variables(key string) (parts []string, words []string) {
	n := &fs.root
	for count, rest := 0, key; ; count++ {
		i := strings.IndexAny(rest, ":/|")
		if count >= maxSegments {
			i = -1
		}
		seg, sep := rest, ""
		if i >= 0 {
			seg, sep = rest[:i], rest[i:i+1]
		}
		folded := n != nil && n.open
		if n != nil {
			at := sep + inner.ReplaceAllString(seg, "{}")
			if folded || variable(seg) {
				at = sep + "{}"
			}
			n = n.kids[at]
		}
		if variable(seg) || folded {
			parts = append(parts, strings.Trim(seg, `'"`))
		} else {
			parts = append(parts, inner.FindAllString(seg, -1)...)
			words = append(words, strings.FieldsFunc(strings.ToLower(inner.ReplaceAllString(seg, " ")), func(r rune) bool {
				return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r < 128
			})...)
		}
		if i < 0 {
			return parts, words
		}
		rest = rest[i+1:]
	}
}

// factor notes how the lifetime that a store took relates to the one asked for.
type factor struct {
	n     int64
	ratio float64
	mixed bool
	over  int64 // hits on entries older than the lifetime asked for
}

func (f *factor) note(asked, taken int64) {
	if asked <= 0 || taken <= 0 {
		return
	}
	r := float64(taken) / float64(asked)
	if f.n > 0 && (r > f.ratio*1.1 || r < f.ratio/1.1) {
		f.mixed = true
	}
	f.n++
	f.ratio = r
}

func (f *factor) add(o *factor) {
	if o.n > 0 {
		if f.n > 0 && (o.ratio > f.ratio*1.1 || o.ratio < f.ratio/1.1) {
			f.mixed = true
		}
		f.n += o.n
		f.ratio = o.ratio
	}
	f.mixed = f.mixed || o.mixed
	f.over += o.over
}

// off says whether the lifetime taken is the asked one times a constant that is not one.
func (f *factor) off() bool {
	return f.n >= 1 && !f.mixed && (f.ratio >= 1.5 || f.ratio <= 0.67) || f.over > 0 && f.n == 0
}

func ms(d int64) float64 { return float64(d) / float64(time.Millisecond) }

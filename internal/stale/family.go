package stale

import (
	"maps"
	"slices"
	"strings"
	"time"
)

// Families are keys of one shape: split at ":", "/" and "|", segments that are numbers, UUIDs or hashes become {}, and behind
// "|" all that hold a digit. A
// segment that takes more than manyValues values in its place, with the same separator after it, becomes {} too; what was
// counted apart until then is added up. The trees of segments have at most maxNodes nodes; beyond, new segments are {}.
//
// Keys that say what they are of share one tree, so that article:{} is one family in whatever store it lies. Those that name
// nothing before their last segment (7, hello-world, :1:hello-world) have a tree for each store, for it alone tells
// them apart; where no segment is left that is not {}, the store stands before the name: functools:shop.price {}.
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
	open uint8 // kids were put together under {}: those with the separators of these bits
}

// tree is the tree of keys that share families.
type tree struct {
	node
	store string // whose it is; "" for all
}

type families struct {
	root  tree
	own   []*tree // of single stores
	nodes int
	n     int
	max   int
	other *family
	opt   *Options
}

// family is what is known of the keys of one shape. A family that was put into another points to it.
type family struct {
	name   string
	shape  string // the name without a store
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
	kinds   map[uint64]outcome // by the kind of a write
	noise   int64              // fills that differ although they read the same: a time, a random number, what is read elsewhere
}

// outcome counts what fills found after writes of one kind to a row that the entry before had read: the value from before
// them, be it that others came as well, or another one, where no other kind came.
type outcome struct{ same, differ int32 }

const maxKinds = 256 // whose outcomes one family counts

// learn takes a fill after writes as evidence of what they do to the family.
func (f *family) learn(old, n *entry) {
	if old.susp == nil || old.inherit || n.inherit || n.pos == 0 || old.elsewhere(n) {
		return
	}
	alike := same(old, n) || unaltered(old, n)
	if !alike && (!differ(old, n) || old.susp.full) {
		return
	}
	for i, x := range old.susp.ws {
		sure := x.lapse == lapseWrite && x.level == levelRow && x.cols == colsYes && x.w.end <= n.pos
		switch {
		case !alike && (!sure || !x.w.like(old.susp.ws[0].w)):
			return
		case alike && sure && !slices.ContainsFunc(old.susp.ws[:i], func(y suspect) bool { return y.w.like(x.w) }):
			f.count(x.w.kind(), outcome{same: 1})
		}
	}
	if !alike && len(old.susp.ws) > 0 {
		f.count(old.susp.ws[0].w.kind(), outcome{differ: 1})
	}
}

func (f *family) count(kind uint64, o outcome) {
	mine, ok := f.kinds[kind]
	if !ok && len(f.kinds) >= maxKinds {
		return
	}
	if f.kinds == nil {
		f.kinds = map[uint64]outcome{}
	}
	f.kinds[kind] = outcome{mine.same + o.same, mine.differ + o.differ}
}

// harmless says whether writes of a kind were seen to leave the values of the family as they are, and never otherwise:
// many statements read columns that nothing is made of.
func (f *family) harmless(w *write) bool {
	o := f.kinds[w.kind()]
	return o.same > 0 && o.differ == 0
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

// budgetOf is the budget of a family: by its name, else by its shape.
func (fs *families) budgetOf(name, shape string) int64 {
	for _, by := range []string{name, shape, "default"} {
		if d, ok := fs.opt.Budgets[by]; ok {
			return int64(d)
		}
	}
	return 0
}

// sepBit is the bit of a separator, which an edge of a tree begins with.
func sepBit(sep string) uint8 { return 1 << (1 + strings.IndexAny(":/|", sep)) }

// edge divides the name of an edge into its separator and its segment.
func edge(at string) (sep, seg string) {
	if at != "" && strings.IndexByte(":/|", at[0]) >= 0 {
		return at[:1], at[1:]
	}
	return "", at
}

// named says whether a key names something before its last segment.
func named(key string) bool {
	for rest, before := key, ""; ; {
		i := strings.IndexAny(rest, ":/|")
		if i < 0 {
			return false
		}
		if seg := rest[:i]; seg != "" && !value(before, seg) {
			return true
		}
		rest, before = rest[i+1:], rest[i:i+1]
	}
}

// shown is a segment as it stands in a shape.
func shown(before, seg string) string {
	switch {
	case value(before, seg) || len(seg) > 256:
		return "{}"
	case len(seg) > len("~0123456789abcdef"): // the shortest hash, and something beside it
		return inner.ReplaceAllString(seg, "{}")
	}
	return seg
}

// treeOf is the tree of a key of a store.
func (fs *families) treeOf(st *store, key string) *tree {
	if named(key) {
		return &fs.root
	}
	if st.keys == nil {
		st.keys = &tree{store: st.name}
		fs.own = append(fs.own, st.keys)
	}
	return st.keys
}

// of returns the family of a key of a store.
func (fs *families) of(st *store, key string) *family {
	t := fs.treeOf(st, key)
	n := &t.node
	shape := make([]byte, 0, 96)
	for count, rest, before := 0, key, ""; ; count++ {
		seg, sep := firstSegment(rest, count)
		var at string
		n, at = fs.kid(t, n, sep, shown(before, seg))
		shape = append(append(shape, at...), sep...)
		if sep == "" {
			break
		}
		rest, before = rest[len(seg)+1:], sep
	}
	if n.fam == nil {
		n.fam = fs.make(t, string(shape))
	}
	return n.fam
}

func (fs *families) make(t *tree, shape string) *family {
	if fs.n >= fs.max {
		if fs.other == nil {
			fs.other = &family{name: otherFamilies, shape: otherFamilies, budget: fs.budgetOf(otherFamilies, otherFamilies)}
		}
		return fs.other
	}
	fs.n++
	f := &family{}
	fs.call(f, t, shape)
	return f
}

// call names a family of a tree.
func (fs *families) call(f *family, t *tree, shape string) {
	f.name, f.shape = FamilyName(label(t.store), shape), shape
	f.budget = fs.budgetOf(f.name, f.shape)
}

// label is what a store is called in the names of families: of an address its scheme and path, so that the name is the same
// on every host.
func label(store string) string {
	scheme, rest, ok := strings.Cut(store, "://")
	if !ok {
		return store
	}
	if i := strings.IndexAny(rest, "/?"); i >= 0 && rest[i] == '/' {
		path, _, _ := strings.Cut(rest[i:], "?")
		return scheme + path
	}
	return scheme
}

// kid returns the node of a segment, and the segment as it is shown.
func (fs *families) kid(t *tree, n *node, sep, seg string) (*node, string) {
	if n.open&sepBit(sep) != 0 {
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
		return fs.kid(t, n, sep, "{}")
	}
	k := &node{}
	n.kids[strings.Clone(at)] = k
	fs.nodes++
	if n.many(sep) {
		fs.fold(n, sep)
		fs.rename(t, &t.node, "")
		return fs.kid(t, n, sep, seg)
	}
	return k, seg
}

// many says whether a node has so many kids with a separator that they are one.
func (n *node) many(sep string) bool {
	if len(n.kids) <= manyValues || n.open&sepBit(sep) != 0 {
		return false
	}
	count := 0
	for at := range n.kids {
		if s, _ := edge(at); s == sep {
			count++
		}
	}
	return count > manyValues
}

// fold puts all children of a node with a separator together under {}.
func (fs *families) fold(n *node, sep string) {
	kids := n.kids
	n.kids = map[string]*node{}
	n.open |= sepBit(sep)
	for _, at := range slices.Sorted(maps.Keys(kids)) {
		k := kids[at]
		if s, _ := edge(at); s != sep {
			n.kids[at] = k
			continue
		}
		to := n.kids[sep+"{}"]
		if to == nil {
			n.kids[sep+"{}"] = k
			continue
		}
		fs.nodes--
		fs.join(to, k)
	}
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
	for _, at := range slices.Sorted(maps.Keys(from.kids)) {
		k := from.kids[at]
		sep, _ := edge(at)
		if to.open&sepBit(sep) != 0 {
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
		if to.many(sep) {
			fs.fold(to, sep)
		}
	}
}

// rename gives all families below a node of a tree the name of their place. The separator of a segment stands after it in
// the name, and before it in the tree.
func (fs *families) rename(t *tree, n *node, name string) {
	if n.fam != nil && n.fam != fs.other {
		fs.call(n.fam.find(), t, name)
	}
	for at, k := range n.kids {
		sep, seg := edge(at)
		fs.rename(t, k, name+seg+sep)
	}
}

// all are the families that there are, by their names. Those of several stores that are called the same are added up.
func (fs *families) all() map[string]*family {
	out, sums := map[string]*family{}, map[*family]bool{}
	var walk func(n *node)
	walk = func(n *node) {
		if n.fam != nil && n.fam != fs.other {
			f := n.fam.find()
			switch have := out[f.name]; {
			case have == nil:
				out[f.name] = f
			case sums[have]:
				have.add(f)
			case have != f:
				sum := &family{name: f.name, shape: f.shape, budget: f.budget}
				sum.add(have)
				sum.add(f)
				out[f.name], sums[sum] = sum, true
			}
		}
		for _, k := range n.kids {
			walk(k)
		}
	}
	walk(&fs.root.node)
	for _, t := range fs.own {
		walk(&t.node)
	}
	if fs.other != nil {
		out[otherFamilies] = fs.other
	}
	return out
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
	for kind, x := range o.kinds {
		f.count(kind, x)
	}
	f.noise += o.noise
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

package forecast

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// What makes a cache that stands already one that answers a candidate: nearly all of its requests ask it, some are hits, and a hit
// leaves hardly a statement to run; where no statement tells, it takes at most half of the time of a miss.
const (
	standingAsked   = 0.9
	standingHits    = 0.05
	standingQueries = 0.1
	standingTime    = 0.5
	// maxShapes is how many shapes of keys are told apart; beyond, all are one.
	maxShapes = 4096
	// manyShapes is how many shapes of one length and beginning a candidate may use before they count as one.
	manyShapes = 8
)

// marks stands in the keys under which printed code keeps which write to a table was the last: they answer nothing.
const marks = ":written:"

// look is one look-up in a standing cache.
type look struct {
	at     int64
	trace  uint64
	parent uint64
	key    span   // hash of it, in inputs
	value  uint64 // hash of what it gave; 0: not known, or nothing
	shape  uint32 // of its key, in names
	hit    bool
}

// asked is what a unit asked of a standing cache.
type asked struct {
	shape uint32
	hit   bool
}

// standing is the cache that answers a candidate already.
type standing struct {
	family         string // shape of its keys; "" where only the answers' headers tell
	requests, hits int64
	adds           int64 // hits that a cache here would have beside its own
}

// by names it.
func (s *standing) by() string { return cmp.Or(s.family, "a cache that its answers' headers speak of") }

func (s *standing) ratio() float64 { return float64(s.hits) / float64(max(s.requests, 1)) }

// keyName is what the key of a look-up is called among what was asked.
const keyName = "key"

// cache notes a look-up in a cache that stands already: what a hit answered is not the origin's truth.
func (f *Forecast) cache(e *event.Event) {
	f.gets.note(e)
	if c := e.Cache; c.Op == "get" && c.Hit.Known && e.Trace != "" && !c.Count.Known && !strings.Contains(c.Key, marks) {
		from := len(f.inputs)
		f.inputs = append(f.inputs, input{f.names.id(keyName), fnv(c.Key)})
		f.looks = append(f.looks, look{
			at: e.At, trace: id(e.Trace), parent: id(e.Parent), key: f.shared(from), value: uint64(c.ValueHash), shape: f.shapeOf(c.Store, c.Key), hit: c.Hit.V,
		})
	}
}

// shapeOf numbers the shape of a key of a store.
func (f *Forecast) shapeOf(store, key string) uint32 {
	of, s := stale.Shape(store, key)
	if of != "" {
		s = of + apartBy + s
	}
	if n, ok := f.names.ids[s]; ok {
		return n
	}
	if f.shapes++; f.shapes > maxShapes {
		s = "{}"
	}
	return f.names.id(s)
}

// apartBy stands between a store and the shape of its keys, where it takes the store to tell them apart.
const apartBy = "\x00"

// keysOf returns the store of a shape that was numbered, "" where its keys say what they are of, and the shape.
func (l *log) keysOf(n uint32) (store, shape string) {
	text := l.names.text(n)
	if store, shape, ok := strings.Cut(text, apartBy); ok {
		return store, shape
	}
	return "", text
}

// ask notes what a unit asked of standing caches: each shape once, as a hit where all of its look-ups were.
func (l *log) ask(u *unit, list []asked) {
	slices.SortFunc(list, func(a, b asked) int { return cmp.Compare(a.shape, b.shape) })
	from := len(l.asks)
	for _, a := range list {
		if n := len(l.asks); n > from && l.asks[n-1].shape == a.shape {
			l.asks[n-1].hit = l.asks[n-1].hit && a.hit
		} else {
			l.asks = append(l.asks, a)
		}
	}
	u.asks = span{uint32(from), uint32(len(l.asks))}
}

// stands finds the cache that answers a candidate already, and marks the units that it answered; nil where there is none. Where
// no family alone does, such as one for each language, those that differ in one segment may together.
func (l *log) stands(c *candidate) *standing {
	if s := l.standsBy(c, l.families(c, manyShapes)); s != nil {
		return s
	}
	return l.standsBy(c, l.families(c, 1))
}

func (l *log) standsBy(c *candidate, family map[uint32]string) *standing {
	type sum struct{ requests, hits, hitQueries, missQueries, hitNs, missNs int64 }
	sums := map[string]*sum{}
	count := func(name string, u *unit, hit bool) {
		s := sums[name]
		if s == nil {
			s = &sum{}
			sums[name] = s
		}
		s.requests++
		if hit {
			s.hits++
			s.hitQueries += int64(u.queries)
			s.hitNs += u.end - u.at
		} else {
			s.missQueries += int64(u.queries)
			s.missNs += u.end - u.at
		}
	}
	all := int64(0)
	each := func(u *unit, do func(name string, hit bool)) {
		found := map[string]bool{}
		for _, a := range l.asks[u.asks.from:u.asks.to] {
			name := family[a.shape]
			hit, ok := found[name]
			found[name] = a.hit && (hit || !ok)
		}
		if u.flags&said != 0 && len(found) == 0 {
			found[""] = true
		}
		for name, hit := range found {
			do(name, hit)
		}
	}
	for _, n := range c.units {
		u := &l.units[n]
		if u.flags&failed != 0 || u.status >= 400 {
			continue
		}
		all++
		each(u, func(name string, hit bool) { count(name, u, hit) })
	}
	if s := sums[""]; s != nil { // headers are sent by what answered, and a miss has none
		s.requests = all
	}
	var best *standing
	for name, s := range sums {
		misses := s.requests - s.hits
		switch {
		case float64(s.requests) < standingAsked*float64(all) || float64(s.hits) < standingHits*float64(s.requests) || s.hits == 0:
			continue
		case name == "":
		case misses == 0 && s.hitQueries > 0:
			continue
		case misses > 0 && s.missQueries > 0 && float64(s.hitQueries)/float64(s.hits) > standingQueries*float64(s.missQueries)/float64(misses):
			continue
		case misses > 0 && s.missQueries == 0 && float64(s.hitNs)/float64(s.hits) > standingTime*float64(s.missNs)/float64(misses):
			continue
		}
		if best == nil || s.hits > best.hits || s.hits == best.hits && name < best.family {
			best = &standing{family: name, requests: s.requests, hits: s.hits}
		}
	}
	if best == nil {
		return nil
	}
	c.answered = make([]bool, len(c.units))
	for i, n := range c.units {
		each(&l.units[n], func(name string, hit bool) { c.answered[i] = c.answered[i] || name == best.family && hit })
	}
	return best
}

// families puts the shapes together that a candidate asks for: each is its own, in the words of demarc stale, unless more than many
// differ in one segment.
func (l *log) families(c *candidate, many int) map[uint32]string {
	type group struct {
		store, first string
		n            int
	}
	of := map[group][]uint32{}
	seen := map[uint32]bool{}
	for _, n := range c.units {
		u := &l.units[n]
		for _, a := range l.asks[u.asks.from:u.asks.to] {
			if !seen[a.shape] {
				seen[a.shape] = true
				g := group{}
				var shape string
				g.store, shape = l.keysOf(a.shape)
				parts := segments(shape)
				g.n = len(parts)
				if i := slices.IndexFunc(parts, func(p string) bool { return strings.Trim(p, ":/|") != "" }); i >= 0 && g.store == "" {
					g.first = parts[i]
				}
				of[g] = append(of[g], a.shape)
			}
		}
	}
	names := map[uint32]string{}
	for g, list := range of {
		_, whole := l.keysOf(list[0])
		for _, s := range list {
			_, shape := l.keysOf(s)
			names[s] = stale.FamilyName(g.store, shape)
			whole = unite(whole, shape)
		}
		if len(list) > many {
			for _, s := range list {
				names[s] = stale.FamilyName(g.store, whole)
			}
		}
	}
	return names
}

// segments divides a shape into its segments, each with the separator after it.
func segments(shape string) []string {
	var list []string
	for {
		i := strings.IndexAny(shape, ":/|")
		if i < 0 {
			return append(list, shape)
		}
		list = append(list, shape[:i+1])
		shape = shape[i+1:]
	}
}

// unite writes {} for what differs in two shapes of as many segments: a segment, or of words joined by dots those between the
// first and the last that do.
func unite(a, b string) string {
	x, y := segments(a), segments(b)
	for i := range min(len(x), len(y)) {
		if x[i] == y[i] {
			continue
		}
		sep := x[i][len(strings.TrimRight(x[i], ":/|")):]
		v, w := strings.Split(strings.TrimRight(x[i], ":/|"), "."), strings.Split(strings.TrimRight(y[i], ":/|"), ".")
		head, tail, n := 0, 0, min(len(v), len(w))
		for head < n && v[head] == w[head] {
			head++
		}
		for tail < n-head && v[len(v)-1-tail] == w[len(w)-1-tail] {
			tail++
		}
		x[i] = strings.Join(slices.Concat(v[:head], []string{"{}"}, v[len(v)-tail:]), ".") + sep
	}
	return strings.Join(x, "")
}

// adds counts the hits that a cache at the chosen point would have on what the standing one did not answer.
func (c *candidate) adds(p *Point) int64 {
	w := &lane{fence: p.Invalidation.fenced()}
	var hits int64
	for i := range c.keys {
		k := c.keys[i]
		k.Requests = slices.Clone(k.Requests)
		for n := range k.Requests {
			k.Requests[n].Queries = 1
		}
		w.load(k.Requests)
		w.dropsBy(&k, p.Invalidation)
		var d delta
		w.one(p.TTL, &d)
		hits += d.savedQueries
	}
	return hits
}

// already says that a candidate is answered by a standing cache, and what another would add to it.
func (l *log) already(c *candidate, all int64) string {
	s := c.standing
	text := fmt.Sprintf("already cached by %s, hit ratio %s", s.by(), share(s.hits, s.requests))
	switch p := c.chosen; {
	case p == nil || s.adds == 0:
		return text + "; a cache here would add nothing"
	default:
		return text + fmt.Sprintf("; another here, kept for %s, would add %d hits to its %d and save %s of the time of all requests",
			time.Duration(p.TTL), s.adds, s.hits, share(p.SavedNs, all))
	}
}

package stale

import (
	"slices"
	"strings"
)

// Bounds of one store.
const (
	maxStores  = 4096
	maxTags    = 1 << 18 // tags of all stores together
	maxTagDels = 16
	maxKeyDels = 8
)

// store is one cache, by layer and name. Local ones hold a cache for each process.
type store struct {
	id     uint64
	layer  string
	name   string
	local  bool
	tagged bool   // a set with tags was seen
	wide   []*del // deletes by pattern and clear, the last MaxDeletes
	tags   map[string]*tag
	fams   []*family // of keys set in it
	known  map[*family]bool
	keys   *tree             // of keys that name nothing but it
	blind  map[string]*drops // writers of a table that drop tags nothing is known to have
}

func (s *store) http() bool { return s.layer == "http" }

// tag is a tag of one store.
type tag struct {
	dels []*del
	keys []*key    // set with it, and not all of them still
	fams []*family // of entries set with it
}

func (d *Detector) store(layer, name string) *store {
	if s := d.lastStore; s != nil && s.layer == layer && s.name == name {
		return s
	}
	k := [2]string{layer, name}
	s := d.stores[k]
	if s == nil {
		if len(d.stores) >= maxStores {
			d.reach("stores")
			k = [2]string{layer, "(other stores)"}
			if s = d.stores[k]; s != nil {
				return s
			}
		}
		k = [2]string{strings.Clone(k[0]), strings.Clone(cut(k[1], maxText))}
		s = &store{id: hashText(hashText(8, k[0]), k[1]), layer: k[0], name: k[1], local: layer == "local"}
		d.stores[k] = s
	}
	d.lastStore = s
	return s
}

func (d *Detector) tag(s *store, name string) *tag {
	t := s.tags[name]
	if t == nil {
		if d.tagCount >= maxTags {
			d.reach("tags")
			return &tag{}
		}
		if s.tags == nil {
			s.tags = map[string]*tag{}
		}
		t = &tag{}
		s.tags[name] = t
		d.tagCount++
	}
	return t
}

// register notes that a key of a family was set in a store, under tags.
func (d *Detector) register(st *store, f *family, tags []string) {
	if !st.known[f] {
		if st.known == nil {
			st.known = map[*family]bool{}
		}
		if len(st.known) < 2*d.opt.MaxFamilies {
			st.known[f] = true
			st.fams = append(st.fams, f)
		}
	}
	if len(tags) > 0 {
		st.tagged = true
	}
	for _, t := range tags {
		tg := d.tag(st, t)
		if !slices.Contains(tg.fams, f) && len(tg.fams) < maxPerFamily {
			tg.fams = append(tg.fams, f)
		}
	}
}

// wideFamilies are those of a store that a delete by pattern, or of everything, may name a key of.
func wideFamilies(x *del) []*family {
	var out []*family
	for _, f := range x.st.fams {
		f = f.find()
		if !slices.Contains(out, f) && (x.by == byClear || mayMatch(x.pattern, f.shape)) {
			out = append(out, f)
		}
	}
	return out
}

// mayMatch says whether a pattern can match a key of the family with that name: {} in it stands for any text.
func mayMatch(pattern, name string) bool {
	// reach[j]: the pattern's first j bytes can match what was looked at of the name
	reach := make([]bool, len(pattern)+1)
	spread := func() {
		for j := range pattern {
			if reach[j] && pattern[j] == '*' {
				reach[j+1] = true
			}
		}
	}
	reach[0] = true
	spread()
	for i := 0; i < len(name); i++ {
		if strings.HasPrefix(name[i:], "{}") {
			i++
			any := false
			for j := range reach { // any part of the pattern may be met by it
				any = any || reach[j]
				reach[j] = any
			}
			continue
		}
		next := make([]bool, len(pattern)+1)
		for j := range pattern {
			if !reach[j] {
				continue
			}
			if pattern[j] == '*' {
				next[j] = true
			} else if ok, width := one(pattern[j:], name[i]); ok {
				next[j+width] = true
			}
		}
		reach = next
		spread()
	}
	return reach[len(pattern)]
}

// del is a delete.
type del struct {
	at, end int64
	tr      *trace
	src     *source
	txn     *txn
	st      *store
	by      uint8
	failed  bool
	code    uint32
	key     string
	keyID   uint64
	fam     *family // of the key
	tag     string
	pattern string
	removed int64 // -1: not known
	err     string
	fams    []*family  // that it named
	one     [1]*family // the place of the only one
}

func lastOf[T any](list []T, v T, n int) []T {
	if len(list) >= n {
		copy(list, list[1:])
		list[len(list)-1] = v
		return list
	}
	return append(list, v)
}

// covers says whether a delete names a key of a store that a process sees. Tags are those of the entry.
func (x *del) covers(k *key, tags []string) bool {
	if x.st != k.st || k.proc != nil && x.src.proc != k.proc {
		return false
	}
	return x.names(k, tags)
}

// names says whether a delete names a key, in whatever process's copy of the store.
func (x *del) names(k *key, tags []string) bool {
	if x.st != k.st {
		return false
	}
	switch x.by {
	case byKey:
		if k.proc != nil {
			return mix(x.keyID, k.proc.id) == k.id
		}
		return x.keyID == k.id || k.whole != 0 && x.keyID == k.whole
	case byTag:
		for _, t := range tags {
			if t == x.tag {
				return true
			}
		}
		return false
	case byPattern:
		return matches(x.pattern, k.name)
	}
	return true
}

// matches says whether a key matches a pattern as Redis reads it: *, ?, [a-z], [^a], \ before a character. Time grows
// with the product of the lengths at worst.
func matches(pattern, key string) bool {
	p, k, star, from := 0, 0, -1, 0
	for k < len(key) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, from = p, k
				p++
				continue
			}
			if ok, width := one(pattern[p:], key[k]); ok {
				p += width
				k++
				continue
			}
		}
		if star < 0 {
			return false
		}
		from++
		p, k = star+1, from
	}
	for p < len(pattern) && pattern[p] == '*' {
		p++
	}
	return p == len(pattern)
}

// one matches the first element of a pattern with one character and returns the element's length.
func one(p string, c byte) (ok bool, width int) {
	switch p[0] {
	case '?':
		return true, 1
	case '\\':
		if len(p) > 1 {
			return p[1] == c, 2
		}
	case '[':
		end := strings.IndexByte(p[1:], ']')
		if end < 0 {
			break
		}
		set := p[1 : 1+end]
		not := strings.HasPrefix(set, "^")
		set = strings.TrimPrefix(set, "^")
		in := false
		for i := 0; i < len(set); i++ {
			if i+2 < len(set) && set[i+1] == '-' {
				in = in || set[i] <= c && c <= set[i+2]
				i += 2
			} else {
				in = in || set[i] == c
			}
		}
		return in != not, end + 2
	}
	return p[0] == c, 1
}

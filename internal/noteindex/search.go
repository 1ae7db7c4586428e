package noteindex

import (
	"container/heap"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/note"
)

// Limits of a question.
const (
	MaxWords    = 32  // words of a question; those after them are passed over
	maxPrefixed = 200 // words that one beginning ("cach*") stands for
)

// Query is a question.
type Query struct {
	Words  string   // all must be in the note; one that ends in * stands for all that begin so
	Entity []string // names that the note must be about, as its entities have them
	All    bool     // also notes that wait for a review
	Limit  int
}

// Hit is a note that answers a question.
type Hit struct {
	Doc
	Words []string // of the question that the note has, where it has not all of them

	score float64
	key   string
}

// Answer is what a question found.
type Answer struct {
	Hits    []Hit
	Total   int  // of notes that answer
	Partial bool // no note has all words; these have the most
	Hidden  int  // notes that would answer, too, but wait for a review
}

// clause is one word of a question: documents that have any of its terms.
type clause struct {
	word   string
	terms  []string
	prefix bool
	must   bool
}

// Search answers a question. Notes are ordered by how much of the question they are about (BM25 over words weighted by their
// place), never by views. Memory: 12 bytes for each note.
func (x *Index) Search(q Query) (*Answer, error) {
	clauses := x.clauses(q)
	a, stale, err := x.search(clauses, q)
	for range 3 {
		if err != nil && !errors.Is(err, errDamaged) || err == nil && !stale {
			break
		}
		// A file of the answer is not as it was, or the index is not.
		if err != nil {
			_ = os.Remove(filepath.Join(x.dir, manifestName)) // so that it is made anew
		}
		if err = x.again(); err != nil {
			return nil, err
		}
		a, stale, err = x.search(clauses, q)
	}
	return a, err
}

// again brings the open index up to date with every file.
func (x *Index) again() error {
	x.Close()
	y, err := Open(x.dir, x.sources, true, nil)
	if err != nil {
		return err
	}
	*x = *y
	return nil
}

func (x *Index) clauses(q Query) []clause {
	var list []clause
	for raw := range strings.FieldsSeq(q.Words) {
		var words []string
		tokens([]byte(raw), nil, func(word []byte) { words = append(words, string(word)) })
		for i, w := range words {
			prefix := i == len(words)-1 && strings.HasSuffix(raw, "*")
			if prefix { // as it was written, not as a singular
				w = strings.ToLower(strings.TrimRight(raw, "*"))
				if k := strings.LastIndexFunc(w, func(r rune) bool { return !strings.ContainsRune("abcdefghijklmnopqrstuvwxyz0123456789", r) && r < 0x80 }); k >= 0 {
					w = w[k+1:]
				}
			}
			if w != "" && len(list) < MaxWords && !slices.ContainsFunc(list, func(c clause) bool { return c.word == w }) {
				list = append(list, clause{word: w, terms: []string{w}, prefix: prefix})
			}
		}
	}
	for _, e := range q.Entity {
		list = append(list, clause{word: e, terms: []string{entityTerm(e)}, must: true})
	}
	return list
}

func (x *Index) search(clauses []clause, q Query) (*Answer, bool, error) {
	a := &Answer{Hits: []Hit{}}
	if len(clauses) == 0 {
		return a, false, nil
	}
	docs, total := 0, int64(0)
	for _, s := range x.segments {
		docs += s.docs
		total += s.total
	}
	average := float64(max(total, 1)) / float64(max(docs, 1))
	entries := make([][][]entry, len(x.segments)) // by segment and clause
	counts := make([]int, len(clauses))
	for i, s := range x.segments {
		entries[i] = make([][]entry, len(clauses))
		for k, c := range clauses {
			for _, t := range c.terms {
				found, err := s.find(t, c.prefix, maxPrefixed)
				if err != nil {
					return nil, false, err
				}
				for _, e := range found {
					counts[k] += e.count
				}
				entries[i][k] = append(entries[i][k], found...)
			}
		}
	}
	const k1, b = 1.2, 0.75
	best := &hits{limit: max(q.Limit, 1)}
	most, must := 0, 0
	var mask uint64
	for k, c := range clauses {
		if c.must {
			must |= 1 << k
		}
		mask |= 1 << k
	}
	for i, s := range x.segments {
		found := make([]scored, s.docs)
		for k := range clauses {
			idf := math.Log(1 + (float64(docs)-float64(min(counts[k], docs))+0.5)/(float64(counts[k])+0.5))
			for _, e := range entries[i][k] {
				if err := s.each(e, func(doc int, weight byte) {
					f := float64(weight)
					norm := k1 * (1 - b + b*float64(s.length(doc))/average)
					found[doc].score += float32(idf * f * (k1 + 1) / (f + norm))
					found[doc].has |= 1 << k
				}); err != nil {
					return nil, false, err
				}
			}
		}
		for doc := range found {
			f := &found[doc]
			if f.has == 0 || f.has&uint64(must) != uint64(must) || s.isDead(doc) || s.flags[doc]&flagError != 0 {
				continue
			}
			n := ones(f.has)
			if s.flags[doc]&flagHidden != 0 && !q.All {
				if f.has == mask {
					a.Hidden++
				}
				continue
			}
			if n > most {
				most, best.list, a.Total = n, best.list[:0], 0
			}
			if n < most {
				continue
			}
			a.Total++
			best.add(candidate{i, doc, float64(f.score), f.has})
		}
	}
	a.Partial = most < len(clauses)
	if a.Partial && a.Hidden > 0 { // the whole question is answered by notes that are not shown; those that half do are no answer
		best.list, a.Total, a.Partial = nil, 0, false
	}
	stale := false
	slices.SortFunc(best.list, func(a, b candidate) int { return b.compare(a) })
	for _, c := range best.list {
		d, err := x.segments[c.segment].doc(c.doc)
		if err != nil {
			return nil, false, err
		}
		h := Hit{Doc: *d, score: c.score, key: d.ID}
		if a.Partial {
			for k := range clauses {
				if c.has&(1<<k) != 0 {
					h.Words = append(h.Words, clauses[k].word)
				}
			}
		}
		stale = stale || !unchanged(d.Path, d.Size, d.Modified)
		a.Hits = append(a.Hits, h)
	}
	slices.SortStableFunc(a.Hits, byScore)
	return a, stale, nil
}

// scored is what a document has of a question.
type scored struct {
	score float32
	has   uint64 // clauses, a bit each
}

func ones(v uint64) int {
	n := 0
	for ; v != 0; v &= v - 1 {
		n++
	}
	return n
}

type candidate struct {
	segment, doc int
	score        float64
	has          uint64
}

// compare is negative where c is the worse of the two.
func (c candidate) compare(d candidate) int {
	switch {
	case c.score != d.score:
		if c.score < d.score {
			return -1
		}
		return 1
	case c.segment != d.segment:
		return d.segment - c.segment
	}
	return d.doc - c.doc
}

// hits keeps the best candidates: a heap with the worst on top.
type hits struct {
	list  []candidate
	limit int
}

func (h *hits) Len() int           { return len(h.list) }
func (h *hits) Less(i, j int) bool { return h.list[i].compare(h.list[j]) < 0 }
func (h *hits) Swap(i, j int)      { h.list[i], h.list[j] = h.list[j], h.list[i] }
func (h *hits) Push(v any)         { h.list = append(h.list, v.(candidate)) }
func (h *hits) Pop() any {
	last := h.list[len(h.list)-1]
	h.list = h.list[:len(h.list)-1]
	return last
}

func (h *hits) add(c candidate) {
	if len(h.list) < h.limit {
		heap.Push(h, c)
	} else if h.list[0].compare(c) < 0 {
		h.list[0] = c
		heap.Fix(h, 0)
	}
}

// All calls f for every note, in no order; with those that cannot be read and those that wait for a review.
func (x *Index) All(f func(d *Doc) error) error {
	for _, s := range x.segments {
		if err := s.all(func(i int, d *Doc) error {
			if s.isDead(i) {
				return nil
			}
			return f(d)
		}); err != nil {
			return err
		}
	}
	return nil
}

// Find returns the notes of an id: one, none, or several where files in different folders have the same name.
func (x *Index) Find(id string) ([]Doc, error) {
	var found []Doc
	for _, s := range x.segments {
		entries, err := s.find(idTerm(id), false, 1)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			var docs []int
			if err := s.each(e, func(doc int, _ byte) { docs = append(docs, doc) }); err != nil {
				return nil, err
			}
			for _, i := range docs {
				if s.isDead(i) {
					continue
				}
				d, err := s.doc(i)
				if err != nil {
					return nil, err
				}
				found = append(found, *d)
			}
		}
	}
	return found, nil
}

// Related is a note that shares something with another.
type Related struct {
	Doc
	Reasons []string // "same cause: forgot"
}

// MaxSimilar is how many similar notes are named.
const MaxSimilar = 5

// weights of what two notes may share, beside how rare it is.
var shared = map[string]float64{"cause": 3, "boundary": 3, "route": 2}

// Similar returns the notes that share most with one: its cause, boundary, route and other entities, each weighted by how few notes
// have it. Notes that wait for a review are left out.
func (x *Index) Similar(id string, entities []note.Entity) ([]Related, error) {
	entities = entities[:min(len(entities), 60)]
	docs := 0
	for _, s := range x.segments {
		docs += s.docs
	}
	best := &hits{limit: MaxSimilar + 1}
	counts := make([]int, len(entities))
	found := make([][]entry, len(entities)*len(x.segments))
	for k, e := range entities {
		if e.Name == "" || slices.Contains(entities[:k], e) {
			continue
		}
		for i, s := range x.segments {
			list, err := s.find(typedTerm(e.Type, e.Name), false, 1)
			if err != nil {
				return nil, err
			}
			for _, f := range list {
				counts[k] += f.count
			}
			found[k*len(x.segments)+i] = list
		}
	}
	for i, s := range x.segments {
		scores := make([]scored, s.docs)
		for k, e := range entities {
			weight := max(1, shared[e.Type]) * math.Log(1+float64(docs)/(1+float64(counts[k])))
			for _, f := range found[k*len(x.segments)+i] {
				if err := s.each(f, func(doc int, _ byte) {
					if s.isDead(doc) || s.flags[doc] != 0 {
						return
					}
					scores[doc].score += float32(weight)
					scores[doc].has |= 1 << k
				}); err != nil {
					return nil, err
				}
			}
		}
		for doc, c := range scores {
			if c.has != 0 {
				best.add(candidate{i, doc, float64(c.score), c.has})
			}
		}
	}
	slices.SortFunc(best.list, func(a, b candidate) int { return b.compare(a) })
	similar := []Related{}
	for _, c := range best.list {
		d, err := x.segments[c.segment].doc(c.doc)
		if err != nil {
			return nil, err
		}
		if d.ID == id || len(similar) == MaxSimilar {
			continue
		}
		r := Related{Doc: *d}
		for k, e := range entities {
			if c.has&(1<<k) != 0 {
				r.Reasons = append(r.Reasons, "same "+e.Type+": "+e.Name)
			}
		}
		similar = append(similar, r)
	}
	return similar, nil
}

// Package forecast says which caches would be worth having, by replaying the observed traffic through caches that are
// not there: which inputs an answer depends on, which writes change it, and what every lifetime would have hit, saved
// and served stale.
//
// It is pure: events go in (Add), a Report comes out. Whoever calls it may let it work on several candidates at the same
// time (Options.Parallel); the answer is the same.
//
// Memory: what is kept of requests, calls and statements is bounded by Options.Memory, 1 GB if nothing else is said; a
// report needs about half as much again. A request with ten statements takes about 1.5 kB, and 3 kB where their results
// were hashed, so that is some 700,000 or 350,000 of them. What comes beyond that is counted and not kept, and the report
// says so; the traffic can then be read again as a Sample of its keys.
package forecast

import (
	"cmp"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

// Levels of boundaries.
const (
	LevelResponse = "response"
	LevelFunction = "function"
	LevelQuery    = "query"
)

// Options of a forecast; the zero value takes the defaults that are named.
type Options struct {
	Since     int64  // events that began earlier are left out, Unix nanoseconds
	SinceName string // the mark that it came from

	TTLs   []time.Duration // lifetimes beside those of Lifetimes
	Levels []string        // only boundaries of these levels
	Names  []string        // only boundaries of these names or routes

	// CacheBytes is how much memory the chosen caches may take together; 0 for no limit.
	CacheBytes int64
	// Staleness are the budgets by boundary name or route; "" is that of all others. The zero Budget allows no stale serve.
	Staleness map[string]Budget

	// NoRow says, where it is not empty, why no entry can be dropped by the rows that it rests on: then only tables are chosen.
	NoRow string
	// Hook is that of the recorder for the library whose statements are listened to for drops ("sqlalchemy"); "" for none.
	Hook string
	// LeastTTL is the shortest lifetime that can be chosen.
	LeastTTL time.Duration

	Memory int64   // bytes for what is kept of events: 1 GB
	Sample *Sample // only these requests; nil for all
	// Parallel calls work for 0 to n-1, in any order, perhaps several at the same time, and returns when all are done; nil
	// for one after the other.
	Parallel func(n int, work func(i int))
}

// Budget is how stale a boundary may serve. With both zero, no hit may be stale.
type Budget struct {
	Age   time.Duration // a stale serve may be as old
	Ratio float64       // of the hits may be stale
}

// allows says whether a point keeps the budget. Stale hits whose observed request overlapped the write do not count: who
// asked before the commit was answered as of then.
func (b Budget) allows(p *Point) bool {
	stale := p.Stale - p.Overlapping
	return stale <= 0 || b.Age > 0 && p.MaxStaleNs <= int64(b.Age) || b.Ratio > 0 && float64(stale) <= b.Ratio*float64(p.Hits)
}

// Forecast takes events and reports. It is not safe for concurrent use.
type Forecast struct {
	opt   Options
	texts map[string]*statement // by database and text
	sql   *sqlread.Cache
	names names
	tags  tagSet

	units  []unit
	inputs []input
	sets   map[uint64]span // vary inputs that came before
	reads  []read
	refs   []uint32 // tags of reads and units
	writes []write
	pins   []pin
	txns   map[uint64]int64 // commit time; rolledBack
	looks  []look           // in standing caches
	shapes int              // of their keys
	seen   seen
	heard  writers
	gets   gets

	progress func(done, of int)
}

// New makes an empty forecast.
func New(opt Options) *Forecast {
	opt.Memory = cmp.Or(opt.Memory, 1<<30)
	if opt.Parallel == nil {
		opt.Parallel = func(n int, work func(int)) {
			for i := range n {
				work(i)
			}
		}
	}
	f := &Forecast{
		opt: opt, texts: map[string]*statement{}, sql: sqlread.NewCache(8 << 20), names: names{ids: map[string]uint32{}},
		tags: tagSet{ids: map[tag]uint32{}}, sets: map[uint64]span{}, txns: map[uint64]int64{},
		seen: seen{changed: map[uint32]bool{}, hooks: map[string]bool{}, hosts: map[[2]string]*apart{}}, heard: newWriters(opt.Hook),
	}
	f.names.id(principalName) // before candidates are weighed at the same time
	return f
}

// Progress has do told, while a report is made, how many of how many candidates are done. It is called from within
// Options.Parallel.
func (f *Forecast) Progress(do func(done, of int)) { f.progress = do }

// Add takes a batch of events, which need not be in order. The batch is valid only during the call. It never fails; the
// error is there so that every analysis takes events in the same way.
func (f *Forecast) Add(batch []event.Event) error {
	for i := range batch {
		e := &batch[i]
		if e.Recorder != nil {
			f.seen.watched(e.Recorder.Hooks)
			f.heard.hooks(e)
		}
		f.seen.askers.look(e)
		if e.At >= f.opt.Since {
			f.add(e)
		}
	}
	return nil
}

func (f *Forecast) add(e *event.Event) {
	f.seen.look(e)
	if f.full() {
		f.seen.left++
		return
	}
	inSample := f.opt.Sample == nil || f.opt.Sample.has(e)
	switch {
	case !inSample && e.Query != nil:
		f.onlyWrites(e)
	case !inSample:
	case e.Request != nil:
		f.request(e)
	case e.Call != nil:
		f.call(e)
	case e.Query != nil:
		f.query(e)
	case e.Txn != nil:
		f.txn(e)
	case e.Change != nil:
		f.change(e)
	case e.Cache != nil:
		f.cache(e)
	}
}

// full says whether the memory is used up.
func (f *Forecast) full() bool {
	const unitSize, inputSize, readSize, writeSize, pinSize, lookSize, mapSize = 128, 16, 72, 72, 16, 56, 64
	return int64(len(f.units)*unitSize+len(f.inputs)*inputSize+len(f.reads)*readSize+4*len(f.refs)+len(f.writes)*writeSize+
		len(f.pins)*pinSize+len(f.looks)*lookSize+(len(f.txns)+len(f.tags.list)+len(f.sets)+len(f.names.list))*mapSize)+f.names.bytes > f.opt.Memory
}

// names gives texts small numbers. 0 is the empty text.
type names struct {
	ids   map[string]uint32
	list  []string
	bytes int64
}

func (n *names) id(s string) uint32 {
	if s == "" {
		return 0
	}
	if id, ok := n.ids[s]; ok {
		return id
	}
	n.list = append(n.list, s)
	n.ids[s] = uint32(len(n.list))
	n.bytes += int64(len(s))
	return uint32(len(n.list))
}

func (n *names) text(id uint32) string {
	if id == 0 {
		return ""
	}
	return n.list[id-1]
}

// fnv is the 64-bit FNV-1a hash, which is never 0.
func fnv(parts ...string) uint64 {
	h := uint64(14695981039346656037)
	for _, s := range parts {
		for i := range len(s) {
			h = (h ^ uint64(s[i])) * 1099511628211
		}
		h = (h ^ 0xff) * 1099511628211
	}
	return max(h, 1)
}

// id hashes a trace, span or transaction; 0 for none.
func id(s string) uint64 {
	if s == "" {
		return 0
	}
	return fnv(s)
}

func mix(h, v uint64) uint64 {
	h = (h<<23 ^ h>>41 ^ v) * 0x9e3779b97f4a7c15
	h = (h ^ h>>29) * 0xbf58476d1ce4e5b9
	return max(h^h>>32, 1)
}

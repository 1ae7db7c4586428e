package forecast

import (
	"cmp"
	"slices"
)

// Peaks are the greatest number of entries alive at one time, and of bytes; not always at the same time.
type Peaks struct{ Keys, Bytes int64 }

// Peak finds how much a cache with one lifetime and one way to invalidate would have held at most. Memory: 24 bytes for
// each time that an entry is stored.
func Peak(keys []Key, ttl int64, v Invalidation) Peaks {
	type step struct {
		at    int64
		keys  int64
		bytes int64
	}
	var steps []step
	w := &lane{fence: v.fenced()}
	w.live = func(from, until int64, bytes int32) {
		steps = append(steps, step{from, 1, int64(bytes)}, step{until, -1, -int64(bytes)})
	}
	for i := range keys {
		k := &keys[i]
		if len(k.Requests) == 0 {
			continue
		}
		w.load(k.Requests)
		w.dropsBy(k, v)
		var d delta
		w.one(ttl, &d)
	}
	slices.SortFunc(steps, func(a, b step) int { return cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.keys, b.keys)) })
	var p, now Peaks
	for _, s := range steps {
		now.Keys += s.keys
		now.Bytes += s.bytes
		p.Keys, p.Bytes = max(p.Keys, now.Keys), max(p.Bytes, now.Bytes)
	}
	return p
}

package stale

import "math"

// histogram counts durations in buckets that grow by histGrowth, so a quantile is within 2.5 % of the true one. It holds
// at most histBuckets counters and only those it needs.
const (
	histGrowth  = 1.05
	histBuckets = 1024
)

type histogram struct {
	n      int64
	counts map[int16]int64
}

var histLog = math.Log(histGrowth)

func (h *histogram) note(ns, times int64) {
	if times <= 0 {
		return
	}
	b := int16(-1)
	if ns > 0 {
		b = int16(min(math.Log(float64(ns))/histLog, histBuckets))
	}
	if h.counts == nil {
		h.counts = map[int16]int64{}
	}
	h.counts[b] += times
	h.n += times
}

func (h *histogram) add(o *histogram) {
	for b, n := range o.counts {
		if h.counts == nil {
			h.counts = map[int16]int64{}
		}
		h.counts[b] += n
	}
	h.n += o.n
}

// quantile returns the duration in ns below which the share q lies; 0 for none.
func (h *histogram) quantile(q float64) float64 {
	if h.n == 0 {
		return 0
	}
	want := int64(math.Ceil(q * float64(h.n)))
	want = max(want, 1)
	for b := int16(-1); b <= histBuckets; b++ {
		if want -= h.counts[b]; want <= 0 {
			if b < 0 {
				return 0
			}
			return math.Pow(histGrowth, float64(b)+0.5)
		}
	}
	return 0
}

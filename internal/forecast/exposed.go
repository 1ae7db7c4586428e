package forecast

import "slices"

// exposed is how many entries a lifetime alone would have kept beyond a change of what they hold, by expectation, whether or not
// anybody asked for them then: the next answer was another one, and of the writes that may have changed it, some came while the
// entry lived. Where no write was seen, the change may have come at any time between. That no hit was stale is chance then, and
// other traffic has other chances.
func exposed(keys []Key, ttl int64) float64 {
	risk := 0.0
	for i := range keys {
		k := &keys[i]
		drops := k.Row
		if len(drops) == 0 {
			drops = k.Table
		}
		var stored *Request
		for n := range k.Requests {
			r := &k.Requests[n]
			if stored != nil && r.At < stored.End+ttl {
				continue // answered by the entry, or made while it was
			}
			if stored != nil && stored.Hash != 0 && r.Hash != 0 && !stored.Untold && !r.Untold && stored.Hash != r.Hash {
				risk += livedShare(drops, stored.End, stored.End+ttl, r.At)
			}
			stored = r
			if r.NoStore {
				stored = nil
			}
		}
	}
	return risk
}

// livedShare is the share of what was written between two times that was written before a time between them; of the time itself
// where nothing was.
func livedShare(drops [][]int64, from, until, to int64) float64 {
	before, all := 0, 0
	for _, list := range drops {
		at := func(t int64) int {
			n, _ := slices.BinarySearch(list, t)
			return n
		}
		first := at(from)
		before += at(until) - first
		all += at(to) - first
	}
	if all == 0 {
		return float64(until-from) / float64(max(to-from, 1))
	}
	return float64(before) / float64(all)
}

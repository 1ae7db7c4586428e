package stale

// LeakReads are the reads of leaks, by a route and the family of keys: those by another identity than that of who filled the
// entry. They are not among the stale reads: a key that leaks is not judged for its age. The report must come from
// Detector.Report in this process.
func (r *Report) LeakReads() map[string]map[string]int64 {
	out := map[string]map[string]int64{}
	if r.raw == nil || r.Leaks == 0 {
		return out
	}
	found, _ := r.raw.answers()
	for _, s := range found {
		if s.f.Cause != Vary || s.f.Verdict == CannotTell {
			continue
		}
		for route, n := range s.routes {
			if out[route] == nil {
				out[route] = map[string]int64{}
			}
			out[route][s.f.Family] += n
		}
	}
	return out
}

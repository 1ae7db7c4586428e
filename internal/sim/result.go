package sim

import "math"

// Schema names the form of Result as JSON.
const Schema = "demarc.simulate/1"

// Result is what a simulation of several policies at several sizes has found.
type Result struct {
	Schema string       `json:"schema"`
	Trace  TraceSummary `json:"trace"`
	// Unit is "bytes" where sizes are bytes; else they are objects.
	Unit     string        `json:"unit,omitempty"`
	Sample   *Sample       `json:"sample,omitempty"` // absent where all requests were replayed
	Curves   []PolicyCurve `json:"curves"`
	Warnings []string      `json:"warnings"`
}

// TraceSummary says what was replayed. Of a sampled trace, Keys is an estimate.
type TraceSummary struct {
	Requests int64  `json:"requests"`
	Keys     int64  `json:"keys"`
	Name     string `json:"name"`
	Format   string `json:"format"`
	// Bytes is the sum of the last sizes of all keys: what a cache that holds everything takes. 0 where sizes are not counted.
	Bytes int64 `json:"bytes,omitempty"`
	// Key is what the keys of a boundary are made of; absent for other traces.
	Key []string `json:"key,omitempty"`
}

// Sample says which part of a trace was replayed: the requests of every key whose hash falls into the rate.
type Sample struct {
	Rate     float64 `json:"rate"`
	Requests int64   `json:"requests"` // replayed
	Keys     int64   `json:"keys"`     // replayed
	Reason   string  `json:"reason"`
}

// PolicyCurve is one policy at all sizes, in ascending order.
type PolicyCurve struct {
	Policy string  `json:"policy"`
	Points []Point `json:"points"`
	// Knee is the size at which the curve bends (see Knee); 0 where it does not.
	Knee int64 `json:"knee,omitempty"`
}

// Point is one policy at one size. Of a sampled trace, Misses is an estimate.
type Point struct {
	Size      int64   `json:"size"` // objects, or Result.Unit
	Misses    int64   `json:"misses"`
	MissRatio float64 `json:"miss_ratio"`
	// Shares of the cost and of the bytes of all requests that the misses cost; absent where the trace does not tell.
	CostRatio *float64 `json:"cost_miss_ratio,omitempty"`
	ByteRatio *float64 `json:"byte_miss_ratio,omitempty"`
	Error     *float64 `json:"error,omitempty"` // half the width of the 95 % interval of MissRatio; sampled only
}

// Knee returns the size at which the curve, drawn over the logarithm of the size, lies farthest below the straight line between
// its ends (the idea of Kneedle: Satopää and others, 2011). It is 0 if there are fewer than three points or none lies below by 2 % of
// the curve's height.
func Knee(points []Point) int64 {
	if len(points) < 3 {
		return 0
	}
	first, last := points[0], points[len(points)-1]
	wide := math.Log(float64(last.Size) / float64(first.Size))
	high := first.MissRatio - last.MissRatio
	if wide <= 0 || high <= 0 {
		return 0
	}
	knee, most := int64(0), 0.02
	for _, p := range points[1 : len(points)-1] {
		line := first.MissRatio - high*math.Log(float64(p.Size)/float64(first.Size))/wide
		if below := (line - p.MissRatio) / high; below > most {
			knee, most = p.Size, below
		}
	}
	return knee
}

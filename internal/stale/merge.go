package stale

// partial is what a shard knows.
type partial struct{}

// Merge puts the reports of all shards together.
func Merge(reports ...*Report) *Report {
	return reports[0]
}

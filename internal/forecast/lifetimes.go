package forecast

import "time"

// Lifetimes are the grid on which boundaries are replayed: 1, 2 and 5 in each power of ten of a second up to a minute,
// and steps that people use from there to a day; 100 ms to 24 h.
func Lifetimes() []time.Duration {
	return []time.Duration{
		100 * time.Millisecond, 200 * time.Millisecond, 500 * time.Millisecond,
		time.Second, 2 * time.Second, 5 * time.Second, 10 * time.Second, 20 * time.Second, 30 * time.Second,
		time.Minute, 2 * time.Minute, 5 * time.Minute, 10 * time.Minute, 20 * time.Minute, 30 * time.Minute,
		time.Hour, 2 * time.Hour, 5 * time.Hour, 12 * time.Hour, 24 * time.Hour,
	}
}

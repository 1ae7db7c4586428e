// Package measure is what the benchmarks of receiving have in common: one core for the side that is measured, and its
// processor time beside the clock's.
package measure

import (
	"slices"
	"syscall"
	"time"
)

// Figure is what one run took.
type Figure struct {
	CPU   time.Duration // of this process, user and system
	Clock time.Duration
}

// Timed measures f.
func Timed(f func() error) (Figure, error) {
	cpu, err := cpuTime()
	if err != nil {
		return Figure{}, err
	}
	clock := time.Now()
	if err := f(); err != nil {
		return Figure{}, err
	}
	end, err := cpuTime()
	return Figure{end - cpu, time.Since(clock)}, err
}

func cpuTime() (time.Duration, error) {
	var u syscall.Rusage
	err := syscall.Getrusage(syscall.RUSAGE_SELF, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano()), err
}

// Median returns the middle of the runs by processor time and by clock, each for itself.
func Median(runs []Figure) Figure {
	middle := func(of func(Figure) time.Duration) time.Duration {
		values := make([]time.Duration, len(runs))
		for i, m := range runs {
			values[i] = of(m)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return Figure{middle(func(m Figure) time.Duration { return m.CPU }), middle(func(m Figure) time.Duration { return m.Clock })}
}

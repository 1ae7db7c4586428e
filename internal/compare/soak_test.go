//go:build soak

package compare

import "testing"

// TestSoakShift is TestShift with so many pairs that a true share below nine of ten would show.
func TestSoakShift(t *testing.T) { shifted(t, 200) }

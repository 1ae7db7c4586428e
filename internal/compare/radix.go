package compare

import "slices"

// sortKeys sorts by radix, eleven bits at a time and only those that differ: some three times as fast as comparing where there
// are very many. It takes as much memory again.
func sortKeys[K uint32 | uint64](list []K) {
	if len(list) < 4096 {
		slices.Sort(list)
		return
	}
	const bits, size = 11, 1 << 11
	var differ K
	for _, v := range list {
		differ |= v ^ list[0]
	}
	from, to := list, make([]K, len(list))
	for shift := 0; differ>>shift > 0; shift += bits {
		if differ>>shift&(size-1) == 0 {
			continue
		}
		var at [size]int
		for _, v := range from {
			at[v>>shift&(size-1)]++
		}
		sum := 0
		for i, n := range at {
			at[i] = sum
			sum += n
		}
		for _, v := range from {
			digit := v >> shift & (size - 1)
			to[at[digit]] = v
			at[digit]++
		}
		from, to = to, from
	}
	if &from[0] != &list[0] {
		copy(list, from)
	}
}

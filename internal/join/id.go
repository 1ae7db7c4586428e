package join

import "math/bits"

// ID is a 64-bit hash of an identifier, the same in every process, 0 for "". Two of the at most some ten thousand
// identifiers alive at one time meet with a probability of about one in 10^10.
func ID(s string) uint64 {
	if s == "" {
		return 0
	}
	h := uint64(len(s)) * 0x9e3779b97f4a7c15
	for len(s) >= 8 {
		h = Mix(h^(uint64(s[0])|uint64(s[1])<<8|uint64(s[2])<<16|uint64(s[3])<<24|
			uint64(s[4])<<32|uint64(s[5])<<40|uint64(s[6])<<48|uint64(s[7])<<56), 0xa0761d6478bd642f)
		s = s[8:]
	}
	var tail uint64
	for i := range len(s) {
		tail = tail<<8 | uint64(s[i])
	}
	return max(Mix(h^tail, 0xe7037ed1a0b428db), 1)
}

// Mix makes one hash of two.
func Mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0x8ebc6af09c88c6e3, b^0x589965cc75374cc3)
	return hi ^ lo
}

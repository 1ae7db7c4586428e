package stale

import "math/bits"

// hashText is a 64-bit hash of a text, the same on every machine and in every run, so that shards agree on it.
func hashText(seed uint64, s string) uint64 {
	h := seed ^ 0x9e3779b97f4a7c15 ^ uint64(len(s))*0xff51afd7ed558ccd
	i := 0
	for ; i+8 <= len(s); i += 8 {
		h = mix(h, word(s[i:i+8]))
	}
	rest := uint64(0) // the last bytes, fewer than eight
	switch n := len(s) - i; {
	case n == 0:
	case len(s) >= 8:
		rest = word(s[len(s)-8:]) >> (8 * uint(8-n))
	case n >= 4:
		rest = uint64(half(s[:4])) | uint64(half(s[n-4:n]))<<(8*uint(n-4))
	default:
		rest = uint64(s[0]) | uint64(s[n/2])<<(8*uint(n/2)) | uint64(s[n-1])<<(8*uint(n-1))
	}
	return mix(h, rest^0xc4ceb9fe1a85ec53)
}

func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
		uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

func half(s string) uint32 {
	_ = s[3]
	return uint32(s[0]) | uint32(s[1])<<8 | uint32(s[2])<<16 | uint32(s[3])<<24
}

func mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^0xa0761d6478bd642f, b^0xe7037ed1a0b428db)
	return hi ^ lo
}

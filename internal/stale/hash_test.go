package stale

import (
	"strings"
	"testing"
)

// TestHashText holds that hashes stay what they are, for the names of findings are made of them: the text's bytes in words
// of eight, the last one filled up with zeros.
func TestHashText(t *testing.T) {
	slow := func(seed uint64, s string) uint64 {
		h := seed ^ 0x9e3779b97f4a7c15 ^ uint64(len(s))*0xff51afd7ed558ccd
		for ; len(s) >= 8; s = s[8:] {
			var w uint64
			for i := range 8 {
				w |= uint64(s[i]) << (8 * i)
			}
			h = mix(h, w)
		}
		var w uint64
		for i := range len(s) {
			w |= uint64(s[i]) << (8 * i)
		}
		return mix(h, w^0xc4ceb9fe1a85ec53)
	}
	text := strings.Repeat("article:{}\xff\x80é/7|", 3)
	for from := range 8 {
		for to := from; to <= len(text); to++ {
			if got, want := hashText(uint64(to), text[from:to]), slow(uint64(to), text[from:to]); got != want {
				t.Fatalf("the hash of %q is %x, expected %x", text[from:to], got, want)
			}
		}
	}
	if got := hashText(1, "article:7"); got != 0x17ef076709ffc094 {
		t.Errorf("the hash of article:7 is %#x", got)
	}
}

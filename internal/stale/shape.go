package stale

import "strings"

// Shape returns the store that tells a key apart and the shape of the key, in the words in which families are named: a segment
// that is a number, a UUID or a hash is {}. The store is "" for a key that says itself what it is of. What takes very many
// values is {} in the name of a family, too; that is known of many keys, and not of one.
func Shape(store, key string) (of, shape string) {
	b := make([]byte, 0, 96)
	for count, rest, before := 0, key, ""; ; count++ {
		seg, sep := firstSegment(rest, count)
		b = append(append(b, shown(before, seg)...), sep...)
		if sep == "" {
			break
		}
		rest, before = rest[len(seg)+1:], sep
	}
	if !named(key) {
		of = label(store)
	}
	return of, string(b)
}

// FamilyName is the name of a family of keys of one shape, of a store where that tells them apart.
func FamilyName(store, shape string) string {
	if store != "" && strings.Trim(strings.ReplaceAll(shape, "{}", ""), ":/|") == "" {
		return store + " " + shape
	}
	return shape
}

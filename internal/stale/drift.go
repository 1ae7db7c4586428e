package stale

import "slices"

// allDrift says whether who wrote one row, and no other of the table, then deleted keys of a family of which none was ever set.
func (d *Detector) allDrift(w *write, dels []*del, fam *family, ask func(*family) *family) bool {
	if !w.oneRow || slices.ContainsFunc(w.tr.writes, func(o *write) bool { return o != w && o.table == w.table }) {
		return false
	}
	return !slices.ContainsFunc(dels, func(x *del) bool {
		return x.by != byKey || x.failed || x.removed != 0 || ask(x.fam) == fam && d.wasSet(x.keyID)
	})
}

// sameParts says whether the variable parts of the key that a delete named are those of a story's key. Keys without any
// must have the words of one among those of the other.
func sameParts(d *Detector, s *story, x *del, parts, words *[]string) bool {
	if *parts == nil && *words == nil {
		*parts, *words = d.fams.variables(s.st, s.key)
		slices.Sort(*parts)
	}
	p, w := d.fams.variables(x.st, x.key)
	slices.Sort(p)
	if len(p) > 0 || len(*parts) > 0 {
		return slices.Equal(p, *parts)
	}
	within := func(a, b []string) bool {
		return len(a) > 0 && !slices.ContainsFunc(a, func(v string) bool { return !slices.Contains(b, v) })
	}
	return within(w, *words) || within(*words, w)
}

package stale

import "slices"

// A stamp is a key whose value nobody computes from the database: a counter, or a version that writers set anew so that
// keys made of it are not asked for any more. It is the source of truth itself, and no write can make it stale.
//
// A command that counts says so (value_kind counter). Without that a stamp shows by how it is set. Whoever misses it
// stores a value without a look at the database, and others set it over what is live, to another value; or they do so
// twice, though nothing that they had read was changed. One fill with reads behind it, or one set of the value that is
// there by who had not just read it, shows that a key is none, for good.
const (
	stampUnknown = iota
	stampBare    // filled without a look at the database
	stampOnce    // set once to another value for no reason
	stampSure
	stampNever
)

// stamped takes a set as evidence of what the key is. blind says that nobody missed the key since the set before.
func (d *Detector) stamped(k *key, old, n *entry, r *rec, blind bool) {
	bare := n.reads == nil || n.inherit
	switch {
	case k.stamp == stampNever:
	case !blind && !bare:
		k.stamp = stampNever
	case r.vkind == valueCounter:
		k.stamp = stampSure
	case !blind:
		if k.stamp == stampUnknown && r.fill != 0 && len(d.tables) > 0 {
			k.stamp = stampBare
		}
	case old.state != live:
	case same(old, n):
		k.stamp = stampNever
	case !differ(old, n) || k.stamp == stampSure:
	case k.stamp == stampBare || k.stamp == stampOnce && d.noWriteBetween(k, old, n, r):
		k.stamp = stampSure
	case d.noWriteBetween(k, old, n, r):
		k.stamp = stampOnce
	}
}

// ownWrites leaves of the reads behind a set that nobody asked for those of tables that its request wrote since the key
// was set before: a writer stores what it wrote, and what else it had looked at, such as who asks, is not in the value.
// Reads of requests that wrote nothing are what they read for.
func ownWrites(rd *reads, tr *trace, r *rec, in *txn, old *entry) *reads {
	if rd == nil || !tr.traced() {
		return rd
	}
	wrote := false
	written := func(t *table) bool {
		is := false
		look := func(ws []*write) {
			for _, w := range ws {
				wrote = true
				is = is || w.table == t && (old.state != live || w.stmtEnd > old.end)
			}
		}
		look(tr.writes)
		if t := r.txn(); t != nil {
			look(t.writes)
		}
		if in != nil && in != r.txn() {
			look(in.writes)
		}
		return is
	}
	own := slices.DeleteFunc(slices.Clone(rd.deps), func(x dep) bool { return !written(x.use.table) })
	switch {
	case !wrote || len(own) == len(rd.deps):
		return rd
	case len(own) == 0:
		return nil
	}
	kept := *rd
	kept.deps = own
	return &kept
}

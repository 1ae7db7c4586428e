package stale

import (
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// A hash of Redis holds a value for each of its fields, and each is an entry of its own: user:7|name. What is done to the whole
// hash is done to its fields: a delete ends all of them, a read reads all of them, for which it counts once. A field that was
// never stored by itself is part of what was stored as a whole, by a script.

// fieldOf is the field of a hash that an operation is about; "" for none.
func fieldOf(c *event.Cache) string {
	for _, p := range c.KeyParts {
		if p.Name == "field" {
			return p.Value
		}
	}
	return ""
}

// fieldName is the key of a field.
func fieldName(key, field string) string { return cut(key, maxKey) + "|" + cut(field, maxKey) }

// maxFields is how many fields a hash may have for what reads it as a whole to be judged.
const maxFields = 256

// fieldsOf are the fields of a hash of which something is known. Those that were forgotten are left out.
func (d *Detector) fieldsOf(whole uint64) []*key {
	fields := d.fields[whole]
	if len(fields) == 0 {
		return nil
	}
	fields = slices.DeleteFunc(fields, func(k *key) bool { return k.dead })
	if len(fields) == 0 {
		delete(d.fields, whole)
		return nil
	}
	d.fields[whole] = fields
	return fields
}

// isField notes that a key is a field of a hash. Those that were forgotten are left out when there is no room for another.
func (d *Detector) isField(k *key, whole uint64) {
	fields := d.fields[whole]
	if len(fields) == cap(fields) {
		fields = d.fieldsOf(whole)
	}
	d.fields[whole] = append(fields, k)
}

// read takes a get: of a key, of a field or of all fields.
func (d *Detector) read(r *rec) {
	k := r.key
	switch {
	case k.whole != 0 && !k.set:
		if w := d.keys.get(k.whole); w != nil && w.set {
			r.key, r.val = w, 0 // the value is that of the field alone
			d.got(r, true)
			r.key = k
			return
		}
	case !k.set && len(d.fields[k.id]) <= maxFields:
		var first *key // in whatever order they came
		fields := d.fieldsOf(k.id)
		for _, f := range fields {
			if f.set && (first == nil || f.name < first.name) {
				first = f
			}
		}
		if first == nil {
			break
		}
		for _, f := range fields {
			if f.set {
				r.key, r.val = f, 0
				d.got(r, f == first)
			}
		}
		r.key = k
		return
	}
	d.got(r, true)
}

// wholeFill is when what is stored in several fields at once was missed.
type wholeFill struct {
	whole    uint64
	at, fill int64
}

// fieldFill gives the fields that one command stores the miss that only the first of them is told with.
func (d *Detector) fieldFill(r *rec) {
	switch k := r.key; {
	case k.whole == 0:
	case r.fill != 0:
		d.missed = wholeFill{k.whole, r.at, r.fill}
	case d.missed.whole == k.whole && d.missed.at == r.at:
		r.fill = d.missed.fill
	}
}

// takeKey finds the key, or the field of a hash, that an operation is about; false where it is another shard's and says nothing here.
func (d *Detector) takeKey(r *rec, st *store, name, field string) bool {
	id := hashText(st.id, name)
	whole, shard := uint64(0), id
	if field != "" && !st.local {
		whole, name = id, fieldName(name, field)
		id = hashText(st.id, name)
	}
	if r.kind == kDelete {
		r.x.delID = id
		r.x.delKey = cut(name, maxKey)
	}
	if d.sharded && int(shard%uint64(d.opt.Shards)) != d.opt.Shard {
		switch r.kind {
		case kSet:
			if r.failed {
				return false
			}
			r.kind = kElsewhere
			d.more(r).st = st
			r.x.delID, r.x.delFam = id, d.fams.of(st, cut(name, maxKey))
			r.x.keyID = scoped(r, st, id)
			return true
		case kGet:
			if r.hit != 1 || r.failed || r.tr == nil {
				return false
			}
			r.kind = kElsewhere
			d.more(r).keyID = scoped(r, st, id)
			return true
		case kDelete:
			r.x.delKey = strings.Clone(r.x.delKey)
			r.x.delFam = d.fams.of(st, r.x.delKey)
			return true
		}
		return false
	}
	k := d.key(st, scope(r, st), id, name, r.kind == kGet && r.hit != 1, whole)
	if k == nil {
		return false
	}
	r.key = k
	k.pins++
	if r.kind == kSet {
		r.n = int64(id)
	}
	if r.kind == kDelete {
		r.x.delKey = k.name
		r.x.delFam = k.fam
	}
	return true
}

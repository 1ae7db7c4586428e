package stale

import (
	"github.com/demarc-dev/demarc/event"
)

// rec is an event on its way through the wheel, with names resolved. One record takes about 100 bytes, with what it
// points to at most maxList entries of each list.
type rec struct {
	at, end int64
	seq     uint64
	src     *source
	tr      *trace
	key     *key
	x       *aside
	val     event.Hash
	n       int64 // count, removed (-1 not known), rows (-1 not known), parent's pid
	fill    int64
	ttl     int64 // ms, 0: none or not known
	code    uint32
	kind    uint8
	by      uint8
	vkind   uint8
	form    uint8
	hit     int8 // 1 hit, 0 miss, -1 not known
	failed  bool
}

// txn is the transaction that an event is said to be in, or about.
func (r *rec) txn() *txn {
	if r.x == nil {
		return nil
	}
	return r.x.txn
}

// more is what few records have, made if it is not there.
func (d *Detector) more(r *rec) *aside {
	if r.x == nil {
		r.x = d.aside()
	}
	return r.x
}

// A request has an aside only for other inputs: of its record, code is the route, fill the target, ttl the identity, and by says that it is a
// job.
const byJob = 1

// aside is what few records have; it is used again.
type aside struct {
	txn    *txn
	stmt   *stmt
	in     *[]input
	ahead  *ahead
	xid    uint64
	many   int64
	result event.Hash
	role   uint8
	iso    uint8
	params []event.Hash
	names  []string
	pks    []event.Hash
	rest
}

// rest is what statements, transactions and requests never have.
type rest struct {
	st           *store   // of a delete, and of what another shard judges
	texts        []string // tags; columns of a change
	tag, pattern string
	name, op     string // of a task
	err          string
	ttlEff       int64
	table        string
	colsKnown    bool
	errored      bool
	delKey       string
	delID        uint64
	keyID        uint64 // of a key that another shard judges
	delFam       *family
	job          *job
}

func cut(s string, n int) string {
	if len(s) > n {
		s = s[:n]
	}
	return s
}

func (d *Detector) aside() *aside {
	if n := len(d.free); n > 0 {
		x := d.free[n-1]
		d.free = d.free[:n-1]
		return x
	}
	return &aside{}
}

// release takes back the aside of a record of that kind. Each field is set by itself: to overwrite all of it costs much while garbage is
// collected.
func (d *Detector) release(x *aside, kind uint8) {
	if x == nil || len(d.free) >= 4096 {
		return
	}
	x.txn, x.stmt, x.in, x.ahead = nil, nil, nil, nil
	x.xid, x.many, x.result, x.role, x.iso = 0, 0, 0, 0, 0
	x.params, x.names, x.pks = x.params[:0], x.names[:0], x.pks[:0]
	switch kind {
	case kRead, kWrite, kOther, kBegin, kCommit, kRollback, kAhead, kRequest:
	default:
		clear(x.texts)
		x.rest = rest{texts: x.texts[:0]}
	}
	d.free = append(d.free, x)
}

package stale

// txn is a database transaction.
type txn struct {
	serial   uint64 // its number, from 1
	at       int64  // of its begin; 0: not seen
	first    int64  // start and end of its first statement
	firstEnd int64
	iso      uint8
	state    uint8
	xid      uint64
	end0     int64 // start and end of its commit or rollback
	end1     int64
	writes   []*write
	saves    []savepoint
	sets     []setIn
	rows     []*rowChange
}

// number is the serial of a transaction, 0 where there is none.
func (t *txn) number() uint64 {
	if t == nil {
		return 0
	}
	return t.serial
}

const (
	txnOpen = iota
	txnCommitted
	txnRolledBack
)

type savepoint struct {
	name string
	n    int
	at   int64
}

type setIn struct {
	k      *key
	serial uint32
	at     int64
}

func (d *Detector) txn(id string) *txn {
	h := hashText(6, id)
	if d.lastTxn != nil && d.lastTxnOf == h {
		return d.lastTxn
	}
	if t := d.txns.get(h); t != nil {
		d.lastTxn, d.lastTxnOf = t, h
		return t
	}
	d.txnSerial++
	t := &txn{serial: d.txnSerial}
	d.txns.put(h, t)
	if d.txnRing.push(h); d.txnRing.n() > d.opt.MaxTraces {
		d.txns.delete(d.txnRing.pop())
	}
	d.lastTxn, d.lastTxnOf = t, h // it is the last that will be forgotten
	return t
}

package stale

import (
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// kinds of records.
const (
	kGet = iota + 1
	kSet
	kDelete // of a key, a tag, a pattern or everything
	kEvict
	kExpire
	kRead  // a statement that only reads
	kWrite // a statement that writes
	kOther // any other statement
	kBegin
	kCommit
	kRollback
	kAhead // a commit or a write outside a transaction, at its start: changes from the log fall into it
	kRequest
	kTask
	kStart
	kFork
	kExit
	kChange
	kGap       // the recorder of a process was switched off or on
	kElsewhere // a set of a key that another shard judges, or a hit
)

// What a delete names.
const (
	byKey = iota
	byTag
	byPattern
	byClear
)

// Bounds on what is taken of one event.
const (
	maxList = 512  // hashes of parameters or rows, tags
	maxKey  = 1024 // bytes of a key that are kept; a longer one is told apart by its hash
	maxText = 512  // bytes of any other text kept
)

const (
	formUnknown = iota
	formCanonical
	formRaw
)

const (
	valueUnknown = iota
	valueValue
	valueNone
	valueEmpty
	valueError
	valueCounter
)

const (
	roleUnknown = iota
	rolePrimary
	roleReplica
)

const (
	isoUnknown   = iota
	isoCommitted // READ COMMITTED or weaker
	isoSnapshot
)

// take makes a record of an event and puts it on the wheel, or counts why not.
func (d *Detector) take(e *event.Event) {
	d.cov.Events++
	src := d.source(e.Source)
	p := src.proc
	end := e.End()
	if end < e.At || e.At <= 0 { // a duration below zero, or one beyond all times
		end = e.At
	}
	if e.Seq == 0 || p.pid == 0 {
		if d.twice(e, src) {
			d.cov.Doubled++
			return
		}
	}
	if e.Type == event.TypeProcess && e.Process != nil && e.Process.Op != "exit" && end > p.seen.at {
		p.seen = seen{} // a new process, perhaps under an old number
	}
	if e.Seq != 0 && p.pid != 0 {
		fresh, known := p.seen.first(e.Seq, end)
		if !fresh {
			if known {
				d.cov.Doubled++
			} else {
				d.cov.Late++
			}
			return
		}
	}
	if d.from == 0 || e.At < d.from {
		d.from = e.At
	}
	d.to = max(d.to, end)
	switch e.Type {
	case event.TypeMark:
		d.mark(e)
		return
	case event.TypeRecorder:
		if r := e.Recorder; r != nil && r.Dropped.Known {
			p.dropped = max(p.dropped, r.Dropped.V)
		}
		p.last = max(p.last, end)
		if r := e.Recorder; r == nil || !r.Recording.Known || p.off == !r.Recording.V {
			return
		}
	case event.TypeRequest, event.TypeQuery, event.TypeTxn, event.TypeCache, event.TypeTask, event.TypeProcess, event.TypeChange:
	default:
		return
	}
	p.last = max(p.last, end)
	if !d.inStep(src, end) {
		d.cov.Skewed++
		d.taint(e, src)
		return
	}
	slot := d.wheel.slotOf(end)
	d.wheel.advance(end, slot, d.step)
	if d.wheel.late(slot) {
		d.cov.Late++
		d.taint(e, src)
		return
	}
	r := rec{at: e.At, end: end, seq: e.Seq, src: src, n: -1, hit: -1}
	if e.Trace != "" {
		r.tr = d.trace(e.Trace)
		r.tr.pins++
	}
	ok := false
	switch e.Type {
	case event.TypeCache:
		ok = e.Cache != nil && d.takeCache(&r, e.Cache)
	case event.TypeQuery:
		ok = e.Query != nil && d.takeQuery(&r, e.Query)
	case event.TypeRequest:
		ok = e.Request != nil && d.takeRequest(&r, e.Request)
	case event.TypeTxn:
		ok = e.Txn != nil && d.takeTxn(&r, e.Txn)
	case event.TypeTask:
		ok = e.Task != nil && d.takeTask(&r, e.Task)
	case event.TypeProcess:
		ok = e.Process != nil && d.takeProcess(&r, e.Process)
	case event.TypeChange:
		ok = e.Change != nil && d.takeChange(&r, e.Change)
	case event.TypeRecorder:
		r.kind, ok = kGap, true
		p.off = !p.off
		if r.n = 0; p.off {
			r.n = 1
		}
	}
	if !ok {
		d.unpin(&r)
		return
	}
	if r.tr != nil {
		switch r.kind {
		case kGet, kRead, kRequest, kBegin, kCommit, kRollback, kOther, kElsewhere, kEvict, kExpire:
		case kSet:
			r.tr.fills()
		default:
			r.tr.kept = true
		}
	}
	d.wheel.put(&r, slot)
	for d.wheel.n > d.opt.MaxBuffered {
		d.reach("buffered")
		d.wheel.takeSlot(d.step)
	}
}

func (d *Detector) unpin(r *rec) {
	if r.tr != nil {
		r.tr.pins--
	}
	if r.key != nil {
		r.key.pins--
		if d.keys.n > d.opt.MaxKeys {
			d.evictOne()
		}
	}
	d.release(r.x, r.kind)
}

func (d *Detector) takeCache(r *rec, c *event.Cache) bool {
	st := d.store(c.Layer, c.Store)
	r.code = d.names.id(c.Code)
	r.failed = c.Error != ""
	if c.Txn != "" {
		d.more(r).txn = d.txn(c.Txn)
	}
	switch c.Op {
	case "get":
		r.kind = kGet
		r.n = max(c.Count.Or(1), 1)
		if c.Hit.Known {
			r.hit = 0
			if c.Hit.V {
				r.hit = 1
			}
		}
	case "set":
		r.kind = kSet
	case "delete", "clear", "delete-tag":
		r.kind = kDelete
		r.n = c.Removed.Or(-1)
		d.more(r).st = st
		r.x.err = d.names.text(c.Error)
		switch {
		case c.Op == "clear":
			r.by = byClear
		case c.Op == "delete-tag":
			r.by = byTag
			r.x.tag = d.names.text(cut(c.Tag, maxKey))
		case c.Pattern != "":
			r.by = byPattern
			r.x.pattern = d.names.text(cut(c.Pattern, maxKey))
		case c.Key == "":
			return false
		}
	case "expire":
		r.kind = kExpire
	case "evict":
		r.kind = kEvict
	default:
		return false
	}
	if c.Key == "" && (r.kind != kDelete || r.by == byKey) {
		if r.kind == kGet && r.hit == 1 {
			d.cov.Hits += r.n
		}
		return false // hits that were only counted
	}
	r.val = c.ValueHash
	switch c.ValueForm {
	case "canonical":
		r.form = formCanonical
	case "raw":
		r.form = formRaw
	}
	switch c.ValueKind {
	case "value":
		r.vkind = valueValue
	case "none":
		r.vkind = valueNone
	case "empty":
		r.vkind = valueEmpty
	case "error":
		r.vkind = valueError
	case "counter":
		r.vkind = valueCounter
	}
	r.ttl, r.fill = c.TTLMs.Or(0), c.FillStart
	if r.kind == kSet && (len(c.Tags) > 0 || c.TTLEffectiveMs.Known) {
		d.more(r).ttlEff = c.TTLEffectiveMs.Or(0)
		for _, t := range c.Tags[:min(len(c.Tags), maxList)] {
			r.x.texts = append(r.x.texts, d.names.text(cut(t, maxKey)))
		}
	}
	if r.kind != kDelete || r.by == byKey {
		return d.takeKey(r, st, c.Key, fieldOf(c))
	}
	return true
}

// scoped is the id of a key with that of the process whose own store an event concerns.
func scoped(r *rec, st *store, id uint64) uint64 {
	if p := scope(r, st); p != nil {
		return mix(id, p.id)
	}
	return id
}

// scope is the process whose own store an event concerns; nil for stores that processes share.
func scope(r *rec, st *store) *proc {
	if st.local {
		return r.src.proc
	}
	return nil
}

func (d *Detector) takeQuery(r *rec, q *event.Query) bool {
	text := d.statement(q.DB, q.Text)
	if a := text.alt; a != nil && q.Many.Or(0) == 0 && len(q.Params) != text.params && len(q.Params) == a.params {
		text = a
	}
	switch {
	case text.writes:
		r.kind = kWrite
	case len(text.reads) > 0:
		r.kind = kRead
	default:
		r.kind = kOther
		if text.control == 0 && q.Txn == "" {
			return false
		}
	}
	x := d.more(r)
	x.stmt = text
	if q.Txn != "" {
		x.txn = d.txn(q.Txn)
	}
	if r.kind == kOther && text.control == 0 { // it says nothing but that its transaction has begun
		return true
	}
	r.code = d.names.id(q.Code)
	r.failed = q.Error != ""
	r.n = q.Rows.Or(-1)
	x.params = append(x.params, q.Params[:min(len(q.Params), maxList)]...)
	if len(q.ParamNames) > 0 && text.named {
		for _, n := range q.ParamNames[:min(len(q.ParamNames), maxList)] {
			x.names = append(x.names, d.names.text(n))
		}
	}
	if len(q.PKs) <= maxList { // else some would be missing
		x.pks = append(x.pks, q.PKs...)
	}
	x.result, x.many = q.ResultHash, q.Many.Or(0)
	switch q.Role {
	case "primary":
		x.role = rolePrimary
	case "replica":
		x.role = roleReplica
	default:
		if q.DB == "sqlite" {
			x.role = rolePrimary
		}
	}
	if r.kind == kWrite && x.txn == nil && !r.failed {
		d.ahead(r)
	}
	return true
}

func (d *Detector) takeTxn(r *rec, t *event.Txn) bool {
	if t.Txn == "" {
		return false
	}
	r.failed = t.Error != ""
	d.more(r).txn = d.txn(t.Txn)
	r.x.xid = t.Xid
	switch t.Op {
	case "begin":
		r.kind = kBegin
	case "commit":
		r.kind = kCommit
		d.ahead(r)
	case "rollback":
		r.kind = kRollback
	default:
		return false
	}
	switch iso := strings.ToUpper(strings.ReplaceAll(t.Isolation, "_", " ")); {
	case iso == "":
	case strings.Contains(iso, "COMMITTED") || iso == "AUTOCOMMIT":
		r.x.iso = isoCommitted
	default:
		r.x.iso = isoSnapshot
	}
	return true
}

func (d *Detector) takeRequest(r *rec, q *event.Request) bool {
	if r.tr == nil {
		return false
	}
	r.kind = kRequest
	if q.Kind == "job" || q.Kind == "" && q.Method == "" {
		r.by = byJob
	}
	name := q.Route
	if name == "" {
		name = "(no route)"
	}
	r.code = d.routes.id(q.Method, name)
	if q.Principal != "" {
		r.ttl = int64(hashText(1, q.Principal) | 1)
	}
	in := d.inputsOf[:0]
	for _, v := range q.Vary[:min(len(q.Vary), maxInputs-1)] {
		if v.Hash != 0 {
			in = append(in, newInput(d.names.id(v.Name), uint64(v.Hash)))
		}
	}
	if shared := d.shared(in); shared != nil {
		d.more(r).in = shared
	}
	d.inputsOf = in
	if q.Target != "" && r.by != byJob {
		r.fill = int64(hashText(2, q.Target) | 1)
	}
	r.val = q.BodyHash
	return true
}

func (d *Detector) takeTask(r *rec, t *event.Task) bool {
	if t.ID == "" {
		return false
	}
	r.kind = kTask
	r.x = d.aside()
	r.x.job = d.job(t.ID)
	r.x.name, r.x.op = d.names.text(cut(t.Name, maxText)), d.names.text(t.Op)
	r.x.errored = t.Error != ""
	return true
}

func (d *Detector) takeProcess(r *rec, p *event.Process) bool {
	switch p.Op {
	case "start":
		r.kind = kStart
	case "fork":
		r.kind = kFork
	case "exit":
		r.kind = kExit
	default:
		return false
	}
	r.n = p.Ppid
	return true
}

func (d *Detector) takeChange(r *rec, c *event.Change) bool {
	if c.Table == "" {
		return false
	}
	r.kind = kChange
	x := d.aside()
	r.x = x
	x.table, x.op, x.xid = d.names.text(cut(c.Table, maxText)), d.names.text(c.Op), c.Xid
	x.pks = append(x.pks, c.PK[:min(len(c.PK), 16)]...)
	x.colsKnown = len(c.Columns) > 0 || c.Op != "update"
	for _, col := range c.Columns[:min(len(c.Columns), maxList)] {
		x.texts = append(x.texts, d.names.text(col))
	}
	return true
}

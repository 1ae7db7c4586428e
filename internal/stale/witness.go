package stale

import (
	"cmp"
	"fmt"
	"slices"
	"time"
)

// witness writes a story down: at most MaxWitness events in their order.
func witness(s *story, a answer, d *Detector) []Step {
	var out []Step
	add := func(at int64, what string, who *caller, src *source, code uint32, format string, args ...any) {
		st := Step{At: at, What: what, Detail: fmt.Sprintf(format, args...), Code: d.names.of(code)}
		if who != nil {
			st.Trace = who.id()
		}
		if src != nil {
			st.Pid = src.proc.pid
		}
		out = append(out, st)
	}
	e := &s.e
	if s.about == aboutVary {
		for i := range s.fills {
			f := &s.fills[i]
			if i > 0 && len(s.fills) > MaxWitness-2 && i < len(s.fills)-(MaxWitness-3) {
				continue
			}
			add(f.at, "fill", f.who, d.sourceOf(f.src), 0, "filled by %s%s with the value %s", by(d, f.who), forWhom(f.who), f.val)
			if f.guestAt != 0 && len(out) < MaxWitness-2 {
				add(f.guestAt, "hit", nil, d.sourceOf(f.guest), 0, "read by another identity")
			}
		}
		if s.hit.n > 0 {
			add(out[len(out)-1].At, "hits", nil, nil, 0, "%d reads by another identity than that of who had filled", s.hit.n)
		}
		return sorted(out)
	}
	if a.cause == StaleSet && e.pos != 0 {
		add(e.pos, "miss", e.who, d.sourceOf(e.src), 0, "missed; the read began")
	}
	if s.about == aboutVersion && e.guestAt != 0 {
		add(e.guestAt, "hit", nil, d.sourceOf(e.guest), 0, "read by another version of the code")
	}
	fill := fmt.Sprintf("filled by %s", by(d, e.who))
	if e.pos != 0 {
		fill += fmt.Sprintf(" (read began %s)", clock(e.pos))
	}
	if e.reads != nil && e.reads.carried() && !e.inherit {
		fill += ", from what another cache held"
	}
	switch e.kind {
	case valueNone:
		fill += `: "there is none"`
	case valueEmpty:
		fill += ": empty"
	case valueError:
		fill += ": an error"
	}
	what := "fill"
	if s.about == aboutOld || a.cause == StaleSet || a.cause == Order && e.end > writeAt(s) {
		what, fill = "set", fill+", with the old value"
	}
	if s.about == aboutInside {
		what, fill = "set", fill+" inside the transaction"
	}
	add(e.at, what, e.who, d.sourceOf(e.src), uint32(e.code), "%s", fill)
	if w := s.hit.w; w != nil && s.about != aboutInside {
		d.tellWrite(w, add)
	}
	if s.about == aboutInside {
		w := s.hit.w
		add(w.stmtAt, "write", w.tr.who, w.src, w.code, "%s %s, not committed", opNames[w.op], w.table.name)
		if t := s.hit.txn; t.state == txnRolledBack {
			add(t.end0, "rollback", w.tr.who, w.src, 0, "the transaction is rolled back")
		}
	}
	if x := a.del; x != nil {
		d.tellDelete(x, add)
	}
	if j := a.task; j != nil {
		how := "was never run"
		if j.errored {
			how = "could not be enqueued"
		} else if j.failed {
			how = "failed"
		}
		add(j.enqAt, "enqueue", whoOf(j.from), j.src, 0, "job %s was enqueued and %s", j.name, how)
	}
	switch {
	case s.about == aboutAlias:
		add(s.refill.at, "hit", s.refill.who, d.sourceOf(s.refill.src), 0, "read with another value than was stored, and nothing was stored between")
		if s.hit.n > 1 {
			add(s.hit.last, "hits", nil, nil, 0, "%d reads of a changed value until here", s.hit.n)
		}
	case s.hit.n > 0 && s.hit.first > 0:
		n := "stale reads"
		if !s.confirmed || s.noisy || s.about == aboutUnseen {
			n = "reads that may be stale"
		}
		over := max(s.hit.last-s.hit.first, 0)
		ids := ""
		if len(s.hit.ids) > 0 {
			ids = fmt.Sprintf(", %d principals", len(s.hit.ids))
		}
		add(s.hit.first, "hits", nil, nil, 0, "%d %s over %s%s", s.hit.n, n, seconds(over), ids)
	}
	differs := "the value's hash differs"
	if s.noisy {
		differs += ", as it does where nothing changed"
	}
	if s.confirmed && s.about != aboutAlias {
		add(s.refill.at, "refill", s.refill.who, d.sourceOf(s.refill.src), 0, "refilled by %s, %s", by(d, s.refill.who), differs)
	}
	return sorted(out)
}

func writeAt(s *story) int64 {
	if s.hit.w == nil {
		return 0
	}
	return s.hit.w.open
}

type adder func(at int64, what string, who *caller, src *source, code uint32, format string, args ...any)

func (d *Detector) tellWrite(w *write, add adder) {
	row := ""
	if keys := w.rowKeys(); len(keys) == 1 {
		row = ":" + keys[0].String()
	}
	if w.external {
		add(w.at, "change", nil, nil, 0, "%s of %s%s committed by nobody who is observed", opNames[w.op], w.table.name, row)
		return
	}
	if w.logged {
		add(w.loggedAt, "change", nil, nil, 0, "%s of %s in the database's log", opNames[w.op], w.table.name)
	}
	how := ""
	if w.trigger {
		how = ", by a trigger or a cascade"
	}
	add(w.at, "commit", w.tr.who, w.src, w.code, "%s of %s%s committed by %s%s", opNames[w.op], w.table.name, row, by(d, w.tr.who), how)
}

func (d *Detector) tellDelete(x *del, add adder) {
	what := "key " + x.key
	switch x.by {
	case byTag:
		what = "tag " + x.tag
	case byPattern:
		what = "pattern " + x.pattern
	case byClear:
		what = "everything"
	}
	how := "removed is not known"
	if x.removed >= 0 {
		how = fmt.Sprintf("removed %d", x.removed)
	}
	if x.failed {
		how = "failed: " + x.err
	}
	if x.txn != nil {
		how += ", inside the transaction"
	}
	add(x.at, "delete", x.tr.who, x.src, x.code, "%s deleted (%s)", what, how)
}

func whoOf(t *trace) *caller {
	if t == nil {
		return nil
	}
	return t.who
}

func by(d *Detector, w *caller) string {
	if w == nil || w.route == 0 {
		return "work outside of requests"
	}
	return d.routes.shown(w.route)
}

func forWhom(w *caller) string {
	if w == nil || w.principal == 0 {
		return ""
	}
	return fmt.Sprintf(" for identity %04x", w.principal>>48)
}

func clock(ns int64) string { return time.Unix(0, ns).UTC().Format("15:04:05.000") }

func seconds(ns int64) string { return fmt.Sprintf("%.1f s", float64(ns)/1e9) }

func sorted(out []Step) []Step {
	slices.SortStableFunc(out, func(a, b Step) int { return cmp.Compare(a.At, b.At) })
	return out[:min(len(out), MaxWitness)]
}

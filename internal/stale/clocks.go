package stale

import "github.com/demarc-dev/demarc/event"

// Hosts whose clocks are far apart cannot be put in one order. Where several hosts are known, an event more than
// outOfStep ahead of all others is left out, and what it touches is not judged, until trial events of its host came
// without one of another host in step: then it was a pause. Once a clock that is ahead is believed, the events of hosts
// behind it are late.
const (
	outOfStep = 10 * 60 * int64(1e9)
	trial     = 64
	maxHosts  = 1024
)

// inStep says whether an event's host has a clock in step with the others.
func (d *Detector) inStep(src *source, end int64) bool {
	ahead := end - d.wheel.high
	if src.proc.inStep && !d.onTrial && ahead <= outOfStep && ahead >= -outOfStep {
		return true
	}
	host := src.proc.host
	if !d.wheel.begun || ahead <= outOfStep {
		if _, known := d.hosts[host]; !known && len(d.hosts) < maxHosts && (!d.wheel.begun || ahead >= -outOfStep) {
			d.hosts[host] = 0
		}
		src.proc.inStep = true
		if d.onTrial && ahead >= -outOfStep {
			for h := range d.hosts {
				if h != host {
					d.hosts[h] = 0
				}
			}
			d.onTrial = false
		}
		return ahead >= -outOfStep || !d.wheel.begun
	}
	if _, known := d.hosts[host]; known && len(d.hosts) == 1 {
		return true
	}
	if len(d.hosts) < maxHosts {
		d.hosts[host]++
		d.onTrial = true
	}
	if d.hosts[host] > trial {
		d.hosts[host], d.onTrial = 0, false
		return true
	}
	return false
}

// taint makes unknown what an event touches that cannot be put in its place: its key, the entries that it drops, its
// table.
func (d *Detector) taint(e *event.Event, src *source) {
	switch e.Type {
	case event.TypeCache:
		c := e.Cache
		if c == nil || c.Op == "get" && c.Hit.Or(true) {
			return
		}
		st := d.store(c.Layer, c.Store)
		if c.Key != "" {
			id := hashText(st.id, c.Key)
			if st.local {
				id = mix(id, src.proc.id)
			}
			if k := d.keys.get(id); k != nil {
				d.lose(k)
			}
			delete(d.made, id)
			if c.Op == "set" {
				d.noteSet(hashText(st.id, c.Key))
			}
			if c.Op == "delete" {
				d.fams.of(st, cut(c.Key, maxKey)).find().covered = true
			}
			return
		}
		for _, k := range d.clock {
			if !k.dead && k.st == st && (k.proc == nil || k.proc == src.proc) {
				x := del{st: st, src: src, by: byClear}
				switch c.Op {
				case "delete-tag":
					x.by, x.tag = byTag, c.Tag
				case "delete":
					x.by, x.pattern = byPattern, c.Pattern
				}
				var tags []string
				if k.more != nil {
					tags = k.more.tags
				}
				if x.names(k, tags) {
					d.lose(k)
					k.fam.find().covered = true
				}
			}
		}
	case event.TypeQuery:
		if e.Query != nil && e.Query.Text != "" {
			for _, u := range d.statement(e.Query.DB, e.Query.Text).changes {
				u.table.taint = max(u.table.taint, e.End())
			}
		}
	case event.TypeTxn:
		if e.Txn != nil && e.Txn.Op != "begin" && e.Txn.Txn != "" {
			t := d.txn(e.Txn.Txn)
			for _, w := range t.writes {
				w.table.taint = max(w.table.taint, e.End())
			}
		}
	case event.TypeChange:
		if e.Change != nil && e.Change.Table != "" {
			t := d.table(e.Change.Table)
			t.taint = max(t.taint, e.End())
		}
	}
}

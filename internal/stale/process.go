package stale

import (
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// source is one process with one version of the code.
type source struct {
	of      event.Source
	proc    *proc
	version string
	number  uint16 // its place in the list, from 1; 0 for one too many
}

// proc is one process, by host and number.
type proc struct {
	id      uint64
	name    string // host:pid
	host    string
	pid     int64
	seen    seen
	last    int64
	dropped int64
	inStep  bool // its host is among those known
	exited  bool
	off     bool  // its recorder is switched off, as far as was heard
	offAt   int64 // since then, as far as was judged; 0 while it is on
	local   []*key
	alone   *trace // what happened in no trace
}

func (d *Detector) source(s *event.Source) *source {
	if s == nil {
		s = &noSource
	}
	if d.lastSrc != nil && (d.lastOf == s || d.lastSrc.of == *s) {
		d.lastOf = s
		return d.lastSrc
	}
	src := d.sources[*s]
	if src == nil {
		of := event.Source{Service: strings.Clone(s.Service), Version: strings.Clone(s.Version), VersionFrom: strings.Clone(s.VersionFrom),
			Host: strings.Clone(s.Host), Pid: s.Pid}
		if len(d.sources) >= d.opt.MaxTraces {
			d.reach("processes")
			of = event.Source{Service: "(other processes)"}
			if src = d.sources[of]; src != nil {
				return src
			}
		}
		src = &source{of: of, version: of.Version, proc: d.process(of.Host, of.Pid)}
		if len(d.sourceList) < 1<<16-1 {
			d.sourceList = append(d.sourceList, src)
			src.number = uint16(len(d.sourceList))
		}
		d.sources[of] = src
	}
	d.lastSrc, d.lastOf = src, s
	return src
}

var noSource event.Source

// sourceOf is the source with a number; nil for 0.
func (d *Detector) sourceOf(n uint16) *source {
	if n == 0 || int(n) > len(d.sourceList) {
		return nil
	}
	return d.sourceList[n-1]
}

// otherVersion says whether two sources are known to run different versions of the code.
func otherVersion(a, b *source) bool {
	return a != nil && b != nil && a.version != "" && b.version != "" && a.version != b.version
}

// unversioned says whether two sources are processes of which it is not known whether they run the same code.
func unversioned(a, b *source) bool {
	return a != nil && b != nil && a.version == "" && b.version == "" && a.proc != b.proc
}

func (d *Detector) process(host string, pid int64) *proc {
	name := host + ":" + strconv.FormatInt(pid, 10)
	p := d.procs[name]
	if p == nil {
		p = &proc{id: hashText(3, name) | 1, name: name, host: host, pid: pid}
		d.procs[name] = p
	}
	return p
}

// lifeCycle takes start, fork and exit of a process.
func (d *Detector) lifeCycle(r *rec) {
	p := r.src.proc
	switch r.kind {
	case kExit:
		p.exited = true
		d.dropLocal(p)
	case kStart:
		p.exited = false
		d.dropLocal(p)
		p.alone = nil
	case kFork:
		p.exited = false
		d.dropLocal(p)
		parent := d.procs[p.host+":"+strconv.FormatInt(r.n, 10)]
		if parent == nil || parent == p {
			return
		}
		for i, k := range parent.local {
			if i >= maxInherit {
				d.reach("inherited entries")
				break
			}
			if k.dead || k.e.state != live || k.e.end > r.at {
				continue
			}
			id := hashText(k.st.id, k.name)
			c := d.key(k.st, p, id, k.name, false, 0)
			if c == nil || c.e.state == live {
				continue
			}
			c.e = k.e
			c.e.susp, c.e.state = nil, closed
			c.e.serial++
			d.setLive(c, true)
			c.e.state, c.set = live, true
		}
	}
}

// gap takes the switch of a process's recorder. What it does while it is off is not seen, be it writes, deletes or sets, so
// no entry of a store that it shares, nor one of its own, is known afterwards.
func (d *Detector) gap(r *rec) {
	p := r.src.proc
	if r.n == 1 {
		p.offAt = r.end
	} else if p.offAt != 0 {
		d.cov.OffMs += ms(r.end - p.offAt)
		p.offAt = 0
	}
	for _, k := range d.clock {
		if !k.dead && (k.proc == nil || k.proc == p) {
			d.lose(k)
		}
	}
	for _, t := range d.tables {
		t.taint = max(t.taint, r.end)
	}
}

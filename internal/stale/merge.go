package stale

import (
	"maps"
	"slices"
)

// partial is what a shard knows: its families, and the stories whose causes are decided when all is together.
type partial struct {
	d        *Detector
	fams     map[string]*family
	verdicts []*told
	looks    []*lookalike
	groups   index[group]
	cov      Coverage
	counts   counts
	sums     []*sum
	procs    map[string]int64 // dropped, by process
	silent   []string
	reached  map[string]bool
	marks    []Mark
	from, to int64
}

type counts struct{ judged, fillsWithReads, writesJoined, unsure, opened, live int64 }

// told is a story with the shard that it comes from.
type told struct {
	s *story
	d *Detector
}

// Merge puts the reports of all shards of one run together. The reports must come from Detector.Report in this process,
// and their detectors must not be given more events meanwhile. One report is returned as it is.
func Merge(reports ...*Report) *Report {
	if len(reports) == 1 {
		return reports[0]
	}
	all := &partial{fams: map[string]*family{}, procs: map[string]int64{}, reached: map[string]bool{}}
	for i, r := range reports {
		p := r.raw
		if p == nil {
			continue
		}
		if all.d == nil {
			all.d = p.d
		}
		for _, name := range slices.Sorted(maps.Keys(p.fams)) {
			f := all.fams[name]
			if f == nil {
				f = &family{name: name, shape: p.fams[name].shape, budget: p.fams[name].budget}
				all.fams[name] = f
			}
			f.add(p.fams[name])
		}
		all.verdicts = append(all.verdicts, p.verdicts...)
		all.looks = append(all.looks, p.looks...)
		all.sums = append(all.sums, p.sums...)
		for x := range p.groups.all {
			to := all.groups.get(x.id)
			if to == nil {
				to = &group{id: x.id, fam: x.fam, key: x.key}
				all.groups.put(x.id, to)
			}
			to.add(x)
		}
		all.counts.judged += p.counts.judged
		all.counts.fillsWithReads += p.counts.fillsWithReads
		all.counts.unsure += p.counts.unsure
		all.counts.opened += p.counts.opened
		all.counts.live += p.counts.live
		all.cov.Fills += p.cov.Fills
		all.cov.Hits += p.cov.Hits
		all.cov.Evicted += p.cov.Evicted
		all.cov.Overflow += p.cov.Overflow
		maps.Copy(all.reached, p.reached)
		all.cov.Schemas = all.cov.Schemas || p.cov.Schemas
		if i == 0 { // every shard saw these
			all.counts.writesJoined = p.counts.writesJoined
			all.cov.Events, all.cov.Doubled, all.cov.Late, all.cov.Skewed = p.cov.Events, p.cov.Doubled, p.cov.Late, p.cov.Skewed
			all.cov.OffMs = p.cov.OffMs
			all.cov.Writes, all.cov.ChangeLog = p.cov.Writes, p.cov.ChangeLog
			all.procs, all.silent, all.marks, all.from, all.to = p.procs, p.silent, p.marks, p.from, p.to
		}
	}
	return all.report()
}

func (g *group) add(o *group) {
	g.fills += o.fills
	g.keys += o.keys
	g.hits += o.hits
	if o.key < g.key {
		g.key, g.fam = o.key, o.fam
	}
}

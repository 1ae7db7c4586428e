package synth_test

import (
	"cmp"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/synth"
)

// seenRequest is a request as its events tell it.
type seenRequest struct {
	at, end int64
	key     string
	hash    event.Hash
	table   string
	row     event.Hash // 0: the answer rests on all of the table
}

type seenDrop struct {
	at  int64
	row event.Hash
}

// seenTraffic reads traffic back from its events alone: requests by route with the key that the truth names, commits by table.
func seenTraffic(t *testing.T, tr *synth.Traffic) (byRoute map[string][]seenRequest, drops map[string][]seenDrop, truth *synth.Truth) {
	t.Helper()
	type statement struct {
		text   string
		params []event.Hash
	}
	statements := map[string]statement{} // by trace
	commits := map[string]int64{}
	var requests []event.Event
	var bodies []event.Request
	for batch := tr.Next(); len(batch) > 0; batch = tr.Next() {
		for i := range batch {
			e := &batch[i]
			switch {
			case e.Query != nil:
				statements[e.Trace] = statement{e.Query.Text, slices.Clone(e.Query.Params)}
			case e.Txn != nil && e.Txn.Op == "commit":
				commits[e.Trace] = e.End()
			case e.Request != nil:
				r := *e.Request
				r.Vary = slices.Clone(r.Vary)
				requests, bodies = append(requests, *e), append(bodies, r)
			}
		}
	}
	truth = tr.Truth("")
	keys := map[string][]string{}
	for _, r := range truth.Routes {
		keys[r.Route] = r.Key
	}
	byRoute, drops = map[string][]seenRequest{}, map[string][]seenDrop{}
	for i := range requests {
		e, r := &requests[i], &bodies[i]
		name := r.Method + " " + r.Route
		st := statements[e.Trace]
		words := strings.Fields(st.text)
		switch {
		case strings.HasPrefix(st.text, "UPDATE") && commits[e.Trace] != 0:
			drops[words[1]] = append(drops[words[1]], seenDrop{commits[e.Trace], st.params[len(st.params)-1]})
			continue
		case strings.HasPrefix(st.text, "INSERT") && commits[e.Trace] != 0:
			drops[words[2]] = append(drops[words[2]], seenDrop{commits[e.Trace], st.params[0]})
			continue
		case len(keys[name]) == 0:
			continue
		}
		q := seenRequest{at: e.At, end: e.End(), hash: r.BodyHash, table: words[slices.Index(words, "FROM")+1]}
		if strings.Contains(st.text, "WHERE") {
			q.row = st.params[0]
		}
		u, err := url.Parse(r.Target)
		if err != nil {
			t.Fatal(err)
		}
		for _, part := range keys[name] {
			switch {
			case part == "principal":
				q.key += r.Principal
			case part == "path.id":
				q.key += u.Path
			case strings.HasPrefix(part, "query."):
				q.key += u.Query().Get(part[len("query."):])
			case strings.HasPrefix(part, "header."):
				at := slices.IndexFunc(r.Vary, func(v event.NamedHash) bool { return v.Name == part[len("header."):] })
				q.key += "|" + r.Vary[at].Hash.String()
			default:
				t.Fatalf("key part %s", part)
			}
		}
		byRoute[name] = append(byRoute[name], q)
	}
	return byRoute, drops, truth
}

// replayed is the definition, word by word: at each instant fills store first, those that began earlier before the others,
// then drops act, then requests start.
func replayed(requests []seenRequest, drops []seenDrop, ttl int64, way string) (hits, stale int64) {
	type entry struct {
		hash   event.Hash
		stored int64
	}
	type step struct {
		at   int64
		kind int // 0 store, 1 drop, 2 request
		r    *seenRequest
	}
	fenced := strings.HasSuffix(way, "-fenced")
	relevant := func(r *seenRequest, d seenDrop) bool {
		return way != "none" && (strings.HasPrefix(way, "table") || r.row == 0 || d.row == r.row)
	}
	var steps []step
	for i := range requests {
		steps = append(steps, step{requests[i].at, 2, &requests[i]}, step{requests[i].end, 0, &requests[i]})
	}
	for _, d := range drops {
		if relevant(&requests[0], d) {
			steps = append(steps, step{d.at, 1, nil})
		}
	}
	slices.SortStableFunc(steps, func(a, b step) int {
		c := cmp.Or(cmp.Compare(a.at, b.at), cmp.Compare(a.kind, b.kind))
		if c == 0 && a.r != nil {
			c = cmp.Compare(a.r.at, b.r.at)
		}
		return c
	})
	var now *entry
	missed := map[*seenRequest]bool{}
	for _, s := range steps {
		switch s.kind {
		case 0:
			if !missed[s.r] {
				continue
			}
			overtaken := slices.ContainsFunc(drops, func(d seenDrop) bool { return relevant(s.r, d) && d.at > s.r.at && d.at <= s.r.end })
			if !fenced || !overtaken {
				now = &entry{s.r.hash, s.at}
			}
		case 1:
			now = nil
		case 2:
			if now == nil || s.at >= now.stored+ttl {
				missed[s.r] = true
				continue
			}
			hits++
			if now.hash != s.r.hash {
				stale++
			}
		}
	}
	return hits, stale
}

// TestTruthIsThatOfItsEvents replays the events by the definition and holds the truth, which is kept while they are made,
// against it. Much traffic and few keys make requests, fills and writes overlap.
func TestTruthIsThatOfItsEvents(t *testing.T) {
	for name, change := range map[string]func(*synth.TrafficOptions){
		"slow": func(o *synth.TrafficOptions) { o.Lifetimes = []int64{300, 5000, 60_000} },
		"fast, many overlaps": func(o *synth.TrafficOptions) {
			o.Rate, o.Keys, o.Users, o.WriteRate, o.Lifetimes, o.Plant = 5000, 4, 4, 100_000, []int64{5, 20, 100, 1000}, nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(3) {
				opt := synth.DefaultTraffic()
				opt.Seed = seed
				change(&opt)
				byRoute, drops, truth := seenTraffic(t, traffic(t, opt))
				checked, stale := 0, int64(0)
				for _, r := range truth.Routes {
					if r.Verdict != "cache" {
						continue
					}
					keys := map[string][]seenRequest{}
					for _, q := range byRoute[r.Route] {
						keys[q.key] = append(keys[q.key], q)
					}
					if int64(len(byRoute[r.Route])) != r.Requests || int64(len(keys)) != r.Keys {
						t.Errorf("%s: %d requests of %d keys, the truth says %d of %d", r.Route, len(byRoute[r.Route]), len(keys), r.Requests, r.Keys)
					}
					for _, p := range r.Points {
						got := p
						got.Hits, got.StaleServes = 0, 0
						for _, list := range keys {
							h, s := replayed(list, drops[list[0].table], p.TTLMs*1_000_000, p.Invalidation)
							got.Hits, got.StaleServes = got.Hits+h, got.StaleServes+s
						}
						if got != p {
							t.Errorf("seed %d, %s: replayed %+v, the truth says %+v", seed, r.Route, got, p)
						}
						checked++
						stale += p.StaleServes
					}
				}
				if checked < 60 || stale == 0 {
					t.Fatalf("%d points were compared, with %d stale serves", checked, stale)
				}
			}
		})
	}
}

// TestWorldStaysInOrder: events come in the order in which they ended, those of a process are numbered so, and nothing is
// longer than its request.
func TestWorldStaysInOrder(t *testing.T) {
	opt := synth.DefaultTraffic()
	opt.Rate, opt.Requests = 300, 20_000
	tr := traffic(t, opt)
	last := int64(0)
	seq := map[int64]uint64{}
	open := map[string][2]int64{}
	for batch := tr.Next(); len(batch) > 0; batch = tr.Next() {
		for i := range batch {
			e := &batch[i]
			if e.End() < last {
				t.Fatalf("an event that ended at %d after one of %d", e.End(), last)
			}
			last = e.End()
			if e.Source != nil {
				if e.Seq != seq[e.Source.Pid]+1 {
					t.Fatalf("process %d: number %d after %d", e.Source.Pid, e.Seq, seq[e.Source.Pid])
				}
				seq[e.Source.Pid] = e.Seq
			}
			if e.Request == nil && e.Trace != "" {
				o, ok := open[e.Trace]
				if !ok {
					o = [2]int64{e.At, e.End()}
				}
				open[e.Trace] = [2]int64{min(o[0], e.At), max(o[1], e.End())}
			}
			if r := e.Request; r != nil {
				if o, ok := open[e.Trace]; ok && (o[0] < e.At || o[1] > e.End()) {
					t.Fatalf("request %s from %d to %d holds events from %d to %d", e.Trace, e.At, e.End(), o[0], o[1])
				}
				delete(open, e.Trace)
			}
		}
	}
	if len(seq) < opt.Processes {
		t.Errorf("%d processes, %d were asked for", len(seq), opt.Processes)
	}
}

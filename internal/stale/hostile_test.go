package stale_test

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// honest is a history of the model in which nothing is stale: every writer drops after its commit, and no fill is in
// flight while it writes.
func honest(articles int) []event.Event {
	src := &event.Source{Service: "shop", Host: "h1", Pid: 1}
	var out []event.Event
	seq := uint64(0)
	put := func(at, dur int64, trace string, e event.Event) {
		seq++
		e.At, e.Dur, e.Trace, e.Source, e.Seq = at, event.Some(dur), trace, src, seq
		out = append(out, e)
	}
	cache := func(op, key, value string) event.Event {
		c := &event.Cache{Op: op, Layer: "shared", Store: "redis:6379/0", Key: key}
		if value != "" {
			c.ValueHash, c.ValueForm, c.ValueKind = hashOf(value), "canonical", "value"
		}
		return event.Event{Type: event.TypeCache, Cache: c}
	}
	at := epoch
	for round := range 3 {
		for i := range articles {
			key, value := fmt.Sprintf("article:%d", i), fmt.Sprintf("%d/%d", i, round)
			read, write := fmt.Sprintf("r%d.%d", round, i), fmt.Sprintf("w%d.%d", round, i)
			fill := func(value string) {
				at += 10 * ms
				miss := cache("get", key, "")
				miss.Cache.Hit = event.Some(false)
				put(at, ms, read, miss)
				put(at+2*ms, ms, read, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql",
					Text: "SELECT id, title FROM articles WHERE id = $1", Params: []event.Hash{hashOf(fmt.Sprint(i))}, Rows: event.Some[int64](1)}})
				set := cache("set", key, value)
				set.Cache.FillStart = at + ms
				put(at+4*ms, ms, read, set)
			}
			fill(value)
			at += 10 * ms
			hit := cache("get", key, value)
			hit.Cache.Hit = event.Some(true)
			put(at, ms, read, hit)
			at += 10 * ms
			put(at, ms, write, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql",
				Text: "UPDATE articles SET title = $1 WHERE id = $2", Params: []event.Hash{hashOf("x"), hashOf(fmt.Sprint(i))}, Rows: event.Some[int64](1)}})
			del := cache("delete", key, "")
			del.Cache.Removed = event.Some[int64](1)
			put(at+2*ms, ms, write, del)
		}
	}
	return out
}

// nothingInvented runs a hostile history and holds that no finding comes of it.
func nothingInvented(t *testing.T, opt stale.Options, events []event.Event) report {
	t.Helper()
	rep := asReport(t, detect(t, opt, events, 500))
	for _, f := range rep.Findings {
		t.Errorf("invented: %s %s of %s, %d stale reads", f.Cause, f.Verdict, f.Key, f.StaleReads)
	}
	return rep
}

func TestHonestHistory(t *testing.T) {
	events := honest(50)
	rep := nothingInvented(t, stale.Options{}, events)
	if rep.Coverage["hits_judged"] != 1 || rep.Coverage["fills_with_reads"] != 1 {
		t.Errorf("the coverage of a complete history is %v", rep.Coverage)
	}
}

// TestOutOfOrder holds that events later than the bound are counted and bring no finding.
func TestOutOfOrder(t *testing.T) {
	events := honest(50)
	rep := nothingInvented(t, stale.Options{}, arriveWithin(events, 20*time.Second, 5))
	if rep.Coverage["late"] == 0 {
		t.Errorf("events came up to 20 s late, and the coverage does not say so: %v", rep.Coverage)
	}
	shuffled := slices.Clone(events)
	rng := rand.New(rand.NewPCG(1, 1))
	rng.Shuffle(len(shuffled), func(i, j int) { shuffled[i], shuffled[j] = shuffled[j], shuffled[i] })
	rep = nothingInvented(t, stale.Options{}, shuffled)
	if rep.Coverage["late"] == 0 {
		t.Errorf("the events were shuffled, and the coverage does not say so: %v", rep.Coverage)
	}
	slices.Reverse(events)
	nothingInvented(t, stale.Options{}, events)
}

// TestLostEvents holds that events which never arrived bring no finding that the rest contradicts: where a delete is missing,
// the next miss shows that the entry was gone.
func TestLostEvents(t *testing.T) {
	events := honest(50)
	events = slices.DeleteFunc(events, func(e event.Event) bool { return e.Cache != nil && e.Cache.Op == "delete" })
	nothingInvented(t, stale.Options{}, events)
}

// TestClocksApart holds that two hosts whose clocks differ by hours do not make each other's reads stale.
func TestClocksApart(t *testing.T) {
	for _, apart := range []time.Duration{-5 * time.Hour, 5 * time.Hour, 3 * time.Minute, -2 * time.Second} {
		events := honest(50)
		other := &event.Source{Service: "shop", Host: "h2", Pid: 1}
		for i := range events {
			if strings.HasPrefix(events[i].Trace, "w") {
				events[i].At += int64(apart)
				events[i].Source = other
			}
		}
		rep := asReport(t, detect(t, stale.Options{}, events, 500))
		for _, f := range rep.Findings {
			if f.Verdict == stale.Proven {
				t.Errorf("clocks %v apart: proven %s of %s", apart, f.Cause, f.Key)
			}
		}
		if apart > 2*time.Minute && rep.Coverage["skewed"]+rep.Coverage["late"] == 0 {
			t.Errorf("clocks %v apart, and the coverage does not say so: %v", apart, rep.Coverage)
		}
	}
}

// TestHugeKeys holds that keys of a megabyte cost what is known of them, not their length.
func TestHugeKeys(t *testing.T) {
	const keys = 60
	before := heap()
	d := stale.New(stale.Options{})
	body := strings.Repeat("x", 1<<20)
	for i := range keys {
		events, key := honest(1), fmt.Sprintf("article:%d:%s", i, body)
		for j := range events {
			events[j].At += int64(i) * int64(time.Second)
			events[j].Seq += uint64(i * len(events))
			events[j].Trace = fmt.Sprintf("%s.%d", events[j].Trace, i)
			if c := events[j].Cache; c != nil {
				c.Key = key
				if c.FillStart != 0 {
					c.FillStart += int64(i) * int64(time.Second)
				}
			}
		}
		if err := d.Add(events); err != nil {
			t.Fatal(err)
		}
	}
	d.Finish()
	if grown := heap() - before; grown > 30<<20 {
		t.Errorf("%d keys of a megabyte hold %d MB", keys, grown>>20)
	}
	rep := asReport(t, d.Report())
	if len(rep.Findings) > 0 {
		t.Errorf("invented: %v", rep)
	}
	for _, f := range rep.Families {
		if len(f.Family) > 4096 {
			t.Errorf("a family's name has %d bytes", len(f.Family))
		}
	}
	runtime.KeepAlive(d)
}

func heap() int64 {
	runtime.GC()
	runtime.GC() // what the first one found to be finalized
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}

// TestManyFamilies holds that families beyond the bound are added up, and that it is said.
func TestManyFamilies(t *testing.T) {
	opt := stale.Options{MaxFamilies: 100, MaxKeys: 1000}
	d := stale.New(opt)
	src := &event.Source{Service: "shop", Host: "h1", Pid: 1}
	var batch []event.Event
	for i := range 60_000 {
		// No segment has many values, but all together are many.
		key := "f"
		for n := i * 7919; len(key) < 12; n /= 20 {
			key += ":" + string(rune('a'+n%20))
		}
		batch = append(batch, event.Event{Type: event.TypeCache, At: epoch + int64(i)*ms, Dur: event.Some(ms / 2), Source: src, Seq: uint64(i + 1),
			Cache: &event.Cache{Op: "set", Layer: "shared", Store: "redis:6379/0", Key: key,
				ValueHash: 1, ValueForm: "canonical"}})
		if len(batch) == 1000 {
			if err := d.Add(batch); err != nil {
				t.Fatal(err)
			}
			batch = batch[:0]
		}
	}
	d.Finish()
	rep := d.Report()
	if len(rep.Families) < 100 || len(rep.Families) > 101 || len(rep.Coverage.Reached) == 0 || rep.Coverage.Evicted == 0 || rep.Coverage.LiveKeys > 1000 {
		t.Errorf("%d families, reached %v, evicted %d, %d live keys", len(rep.Families), rep.Coverage.Reached, rep.Coverage.Evicted, rep.Coverage.LiveKeys)
	}
	if len(rep.Findings) > 0 {
		t.Errorf("invented: %v", rep.Findings)
	}
}

// TestSilentProcess holds that a process which falls silent while others go on is named, and that nothing is concluded
// from what it does not say: its copy of the key may have been dropped unseen.
func TestSilentProcess(t *testing.T) {
	scripts, err := parseScripts("silent", `
process web pid=1
process web2 pid=2
sql article SELECT id, title, body FROM articles WHERE id = $1
sql rename UPDATE articles SET title = $1 WHERE id = $2
== silent
0.5 web start
0.6 web2 start
1.0 +10ms web/r1 fill article:7 =A @article 7 local
1.1 +10ms web2/r2 fill article:7 =A @article 7 local
2.0 +10ms web2 recorder dropped=0
5.0 +20ms web/w1 tx t1 @rename B 7 rows=1
5.03 +1ms web/w1 delete article:7 removed=1 local
6.0 +10ms web/r3 fill article:7 =B @article 7 local
7.0 +1ms web/h get article:7 hit =B local times=600 every=1s
expect none
`)
	if err != nil {
		t.Fatal(err)
	}
	rep := detect(t, scripts[0].options(), scripts[0].events(), 100)
	if len(rep.Findings) > 0 {
		t.Errorf("invented: %+v", rep.Findings)
	}
	if !slices.Contains(rep.Coverage.Silent, "h1:2") {
		t.Errorf("the process h1:2 fell silent ten minutes before the end; the coverage names %v", rep.Coverage.Silent)
	}
}

// FuzzEvents gives a detector events put together from bytes: whatever they are, there is no panic, the bounds hold,
// and a report can be made and written.
func FuzzEvents(f *testing.F) {
	f.Add([]byte("\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09"), uint8(3))
	f.Add([]byte(strings.Repeat("gsdhwtcbr", 30)), uint8(1))
	f.Fuzz(func(t *testing.T, data []byte, bound uint8) {
		n := int(bound) + 1
		opt := stale.Options{MaxKeys: n, MaxFamilies: n, MaxBuffered: n, MaxTraces: n, MaxTables: n, MaxWrites: n, MaxDeletes: n, MaxCases: n, MaxReads: n}
		events := scrambled(data)
		rep := asReport(t, detect(t, opt, events, 1+n%7))
		if len(rep.Families) > n+1 {
			t.Errorf("%d families, at most %d and one for the rest are allowed", len(rep.Families), n)
		}
		for _, f := range rep.Findings {
			if len(f.Witness) > stale.MaxWitness {
				t.Errorf("a witness has %d steps", len(f.Witness))
			}
		}
	})
}

// scrambled makes events of bytes, seven for each, from small sets of names so that they meet.
func scrambled(data []byte) []event.Event {
	var out []event.Event
	at := epoch
	for len(data) >= 7 {
		b := data[:7]
		data = data[7:]
		at += (int64(b[1]) - 60) * 20 * ms
		e := event.Event{At: at, Trace: fmt.Sprintf("t%d", b[2]%6)}
		if b[2] < 200 {
			e.Dur = event.Some(int64(b[3]) * ms)
		}
		if b[2]%3 > 0 {
			e.Source = &event.Source{Host: fmt.Sprintf("h%d", b[3]%2), Pid: int64(b[3] % 4), Version: fmt.Sprintf("v%d", b[6]%2)}
			e.Seq = uint64(b[4])
		}
		key, value := fmt.Sprintf("k%d:%d", b[4]%3, b[5]%4), hashOf(fmt.Sprint(b[6]%5))
		switch b[0] % 10 {
		case 0, 1, 2, 3:
			ops := []string{"get", "set", "delete", "clear", "delete-tag", "expire", "evict", "set", "get", "get"}
			c := &event.Cache{Op: ops[int(b[0]/10)%len(ops)], Layer: []string{"shared", "local", "http", ""}[b[5]%4], Store: "s", Key: key, ValueHash: value,
				ValueForm: []string{"canonical", "raw", ""}[b[6]%3], ValueKind: []string{"value", "none", "error", ""}[b[6]%4]}
			if b[6]%2 == 0 {
				c.Hit, c.Removed = event.Some(b[5]%2 == 0), event.Some(int64(b[5]%3))
				c.FillStart, c.TTLMs = at-int64(b[6])*ms, event.Some(int64(b[6])*100)
			}
			c.Tags, c.Tag = []string{"t1", "t2"}[:b[6]%3], fmt.Sprintf("t%d", b[5]%3)
			if c.Op == "delete" && b[6]%5 == 0 {
				c.Key, c.Pattern = "", "k*"
			}
			if b[6]%7 == 0 {
				c.Error = "TimeoutError"
			}
			if b[6]%6 == 0 {
				c.Txn = fmt.Sprintf("x%d", b[5]%3)
			}
			e.Type, e.Cache = event.TypeCache, c
		case 4, 5:
			texts := []string{"SELECT a, b FROM t WHERE id = $1", "UPDATE t SET a = $1 WHERE id = $2", "UPDATE t SET a = 1", "DELETE FROM t WHERE id = $1",
				"INSERT INTO t (id, a) VALUES ($1, $2)", "SELECT (((", ""}
			e.Type, e.Query = event.TypeQuery, &event.Query{DB: "postgresql", Text: texts[int(b[6])%len(texts)], Params: []event.Hash{hashOf(fmt.Sprint(b[5] % 3)), value},
				Txn: []string{"", "x0", "x1"}[b[5]%3], Role: []string{"", "primary", "replica"}[b[4]%3]}
		case 6:
			e.Type, e.Txn = event.TypeTxn, &event.Txn{Op: []string{"begin", "commit", "rollback"}[b[6]%3], Txn: fmt.Sprintf("x%d", b[5]%3), Xid: uint64(b[4])}
		case 7:
			e.Type, e.Request = event.TypeRequest, &event.Request{Kind: "http", Method: "GET", Route: "/r", Principal: fmt.Sprint(b[6] % 3), BodyHash: value}
		case 8:
			e.Type, e.Change = event.TypeChange, &event.Change{Table: "t", Op: "update", PK: []event.Hash{hashOf(fmt.Sprint(b[5] % 3))}, Xid: uint64(b[4]), Columns: []string{"a"}[:b[6]%2]}
		default:
			switch b[6] % 3 {
			case 0:
				e.Type, e.Task = event.TypeTask, &event.Task{Op: []string{"enqueue", "start", "end", "fail"}[b[5]%4], ID: fmt.Sprintf("t%d", b[4]%6), Name: "n"}
			case 1:
				e.Type, e.Process = event.TypeProcess, &event.Process{Op: []string{"start", "fork", "exit"}[b[5]%3], Ppid: int64(b[4] % 4)}
			default:
				e.Type, e.Mark = event.TypeMark, &event.Mark{Name: "m"}
			}
		}
		out = append(out, e)
	}
	return out
}

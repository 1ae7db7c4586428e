package stale_test

import (
	"fmt"
	"runtime"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/stale"
)

// What a live key may hold, in bytes: itself, and the reads behind it, of which one has one value that pins a row. The
// package's documentation says so.
const (
	perKey   = 300
	perRead  = 192
	liveKeys = 70_000
)

// fill are the events of a request that misses a key, asks the database so many things, in a transaction if it is more
// than one, and stores what it made of them.
func fill(src *event.Source, n, reads int) []event.Event {
	at := epoch + int64(n)*1e6
	trace := fmt.Sprintf("5509436c.%d", n)
	var out []event.Event
	put := func(dur int64, e event.Event) {
		e.At, e.Dur, e.Trace, e.Source, e.Seq = at, event.Some(dur), trace, src, uint64(n*16+len(out)+1)
		out = append(out, e)
		at += dur + 1e3
	}
	cache := func(c event.Cache) *event.Cache {
		c.Layer, c.Store, c.Key = "shared", "redis://127.0.0.1:6379/0", fmt.Sprintf("article:%d", n)
		return &c
	}
	put(1e4, event.Event{Type: event.TypeCache, Cache: cache(event.Cache{Op: "get", Hit: event.Some(false)})})
	miss := at
	txn := ""
	if reads > 1 {
		txn = trace + ".t"
		put(0, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "begin", Txn: txn}})
	}
	for i := range reads {
		put(1e4, event.Event{Type: event.TypeQuery, Query: &event.Query{DB: "postgresql", Txn: txn,
			Text: fmt.Sprintf("SELECT a, b FROM t%d WHERE id = $1", i), Params: []event.Hash{hashOf(fmt.Sprint(n))}, Rows: event.Some[int64](1)}})
	}
	if reads > 1 {
		put(0, event.Event{Type: event.TypeTxn, Txn: &event.Txn{Op: "rollback", Txn: txn}})
	}
	put(1e4, event.Event{Type: event.TypeCache, Cache: cache(event.Cache{Op: "set", FillStart: miss, ValueHash: event.Hash(n + 1),
		ValueForm: "canonical", ValueKind: "value", TTLMs: event.Some[int64](60_000)})})
	put(1e4, event.Event{Type: event.TypeRequest, Request: &event.Request{Kind: "http", Method: "GET", Route: "/articles/{id}",
		Target: fmt.Sprintf("/articles/%d", n), Status: 200, Principal: "-"}})
	return out
}

// TestMemoryOfLiveKeys measures what a key holds, beside what is there for requests under way however many keys there are.
func TestMemoryOfLiveKeys(t *testing.T) {
	src := &event.Source{Service: "shop", Host: "h1", Pid: 1}
	d := stale.New(stale.Options{})
	keys := 0
	add := func(n, reads int) int64 {
		for range n {
			if err := d.Add(fill(src, keys, reads)); err != nil {
				t.Fatal(err)
			}
			keys++
		}
		d.Finish()
		return heap()
	}
	before := add(66_000, 3) // requests, transactions: as many as are kept of either
	t.Logf("%.1f MB for what is under way and %d keys", float64(before)/1e6, keys)
	for _, reads := range []int{0, 1, 3} {
		after := add(liveKeys, reads)
		each := float64(after-before) / liveKeys
		before = after
		t.Logf("%d reads: %.0f bytes a key", reads, each)
		if most := float64(perKey + perRead*reads); each > most {
			t.Errorf("%d reads: a live key holds %.0f bytes, expected %.0f at most", reads, each, most)
		}
	}
	if live := d.Report().Coverage.LiveKeys; live != int64(keys) {
		t.Errorf("%d keys are live, %d were filled", live, keys)
	}
}

// TestMemoryOfRefilledKeys holds that what explains a fill is let go of: keys that were dropped and filled again hold little
// more than others, half a minute later.
func TestMemoryOfRefilledKeys(t *testing.T) {
	const most = perKey + perRead + 130 // 130: of what was written and dropped half a minute ago and less
	held := func(keys int) int64 {
		traffic := newBusy(keys)
		traffic.pause = 5e6
		d := stale.New(stale.Options{MaxTraces: 4096, MaxWrites: 1024})
		for range 60 { // the same writes for few keys and many
			if err := d.Add(traffic.traffic(4000)); err != nil {
				t.Fatal(err)
			}
		}
		d.Finish()
		if live := d.Report().Coverage.LiveKeys; live < int64(keys)*9/10 {
			t.Fatalf("of %d keys %d are live", keys, live)
		}
		traffic = nil
		all := heap()
		runtime.KeepAlive(d)
		return all
	}
	few := held(5_000)
	each := float64(held(30_000)-few) / 25_000
	t.Logf("%.0f bytes a key", each)
	if each > most {
		t.Errorf("a key holds %.0f bytes, expected %d at most", each, most)
	}
}

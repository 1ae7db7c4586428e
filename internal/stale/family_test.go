package stale

import (
	"fmt"
	"maps"
	"slices"
	"testing"
	"time"
)

// TestFamiliesOfManyWords holds that keys of one word that takes many values are a family of their store, whatever other
// keys lie there, and that the first of them are counted with the rest.
func TestFamiliesOfManyWords(t *testing.T) {
	d := New(Options{Budgets: map[string]time.Duration{"{}": time.Minute, "lru {}": time.Hour}})
	redis, lru := d.store("shared", "redis"), d.store("local", "lru")
	word := func(i int) string { return "word-" + string(rune('a'+i/26)) + string(rune('a'+i%26)) }
	for i := range 200 {
		for _, st := range []*store{redis, lru} {
			d.fams.of(st, word(i)).find().hits++
			d.fams.of(st, fmt.Sprintf("article:%d", i)).find().hits++
			d.fams.of(st, "article:"+word(i)+":views").find().hits++
		}
		if i < 40 { // too few to be one
			d.fams.of(redis, "page:"+word(i)).find().hits++
			d.fams.of(redis, "page:"+word(i)+"/en").find().hits++
		}
	}
	all := d.fams.all()
	for name, hits := range map[string]int64{"redis {}": 200, "lru {}": 200, "article:{}": 400, "article:{}:views": 400,
		"page:word-aa": 1, "page:word-aa/en": 1} {
		if f := all[name]; f == nil || f.hits != hits {
			t.Errorf("%s: %+v, expected %d hits; there are %q", name, f, hits, slices.Sorted(maps.Keys(all)))
		}
	}
	if len(all) != 4+2*40 {
		t.Errorf("the families are %q", slices.Sorted(maps.Keys(all)))
	}
	if a, b := all["redis {}"].budget, all["lru {}"].budget; a != int64(time.Minute) || b != int64(time.Hour) {
		t.Errorf("the budgets are %d and %d", a, b)
	}
	if parts, words := d.fams.variables(redis, word(3)); len(parts) != 1 || parts[0] != word(3) || len(words) != 0 {
		t.Errorf("the variables of %s are %q, its words %q", word(3), parts, words)
	}
}

// TestLabels holds that families are called the same on every host.
func TestLabels(t *testing.T) {
	for store, want := range map[string]string{"functools:shop.price": "functools:shop.price", "redis://10.0.0.1:6379/3": "redis/3",
		"redis://h:1/3?timeout=1": "redis/3", "redis://h": "redis", "memcached://h:11211": "memcached", "redis://h?db=/1": "redis", "": ""} {
		if got := label(store); got != want {
			t.Errorf("%q is called %q, expected %q", store, got, want)
		}
	}
}

func TestArgumentsOfFunctions(t *testing.T) {
	for key, want := range map[string]string{
		"shop.caches:detail|p-3":              "shop.caches:detail|{}",
		"shop.caches:detail|v2|p-3":           "shop.caches:detail|v2|{}",
		"shop.caches:detail|en|x=1":           "shop.caches:detail|en|{}",
		"shop.caches:detail|hello":            "shop.caches:detail|hello",
		"shop:p-3:detail":                     "shop:p-3:detail",
		"shop.caches.twice|~0011223344556677": "shop.caches.twice|{}",
	} {
		if _, got := Shape("redis://h/0", key); got != want {
			t.Errorf("%s: %s, want %s", key, got, want)
		}
	}
}

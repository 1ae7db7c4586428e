package boundary

import (
	"fmt"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/check"
)

// Report says of each boundary what was seen of its key, its lifetime and its drops.
func (v *Verifier) Report() []check.Declared {
	v.settle(true)
	list := []check.Declared{}
	for _, x := range v.list {
		add := func(what, declared string, verdict check.Verdict, seen string) {
			list = append(list, check.Declared{
				Boundary: x.Name, Family: strings.Join(x.pattern, ""), What: what, Verdict: verdict, Declared: declared, Seen: seen,
			})
		}
		if x.pattern == nil {
			for _, what := range x.whats() {
				add(what[0], what[1], check.Undecided, "not seen: "+x.why)
			}
			continue
		}
		verdict, seen := x.key()
		add("key", x.declaredKey(), verdict, seen)
		verdict, seen = x.ttl()
		add("ttl", x.TTL.String(), verdict, seen)
		for _, d := range x.InvalidateOn {
			verdict, seen = x.drop(tableOf(d.Table))
			add("drop on "+d.Table, x.Invalidation, verdict, seen)
		}
	}
	return list
}

func (x *verified) declaredKey() string {
	if len(x.Key) == 0 {
		return "one entry for all"
	}
	return strings.Join(x.Key, ", ")
}

// whats lists what is declared, each with how.
func (x *verified) whats() [][2]string {
	list := [][2]string{{"key", x.declaredKey()}, {"ttl", x.TTL.String()}}
	for _, d := range x.InvalidateOn {
		list = append(list, [2]string{"drop on " + d.Table, x.Invalidation})
	}
	return list
}

func (x *verified) key() (check.Verdict, string) {
	if x.Level == Query {
		return check.Undecided, "not seen: which statement an entry is of cannot be told from its key"
	}
	if x.samples == 0 {
		if x.several > 0 {
			return check.Undecided, fmt.Sprintf("not seen: all %d requests used several keys of the family", x.several)
		}
		return check.Undecided, "not seen: no request used a key of the family"
	}
	for k, n := range x.lacks {
		if n > 0 {
			return check.Fail, fmt.Sprintf("the key lacks %s: %d requests used a key that another value of it had made, such as %s", x.Key[k], n, x.example[k])
		}
	}
	var same []string
	for k, values := range x.values {
		if len(values) < 2 {
			same = append(same, x.Key[k])
		}
	}
	seen := fmt.Sprintf("%d requests, %d keys", x.samples, len(x.keys))
	if len(x.Key) == 0 && len(x.keys) > 1+x.marks {
		return check.Fail, seen + ", where one was declared"
	}
	if x.splits > 0 {
		seen += fmt.Sprintf("; %d requests had another key although the declared inputs were the same", x.splits)
	}
	if len(same) > 0 {
		return check.Undecided, seen + "; not seen: two values of " + strings.Join(same, ", ")
	}
	return check.Pass, seen
}

func (x *verified) ttl() (check.Verdict, string) {
	asked := x.sets - x.without + x.expires
	without := max(0, x.without-x.expires) // SET and EXPIRE are one
	switch {
	case x.sets+x.expires == 0:
		return check.Undecided, "not seen: no entry was stored"
	case x.TTL == 0 && asked == 0:
		return check.Pass, fmt.Sprintf("%d entries without a lifetime", x.sets)
	case asked == 0:
		return check.Fail, fmt.Sprintf("%d entries without a lifetime", x.sets)
	}
	seen := "lifetimes of " + TTL(time.Duration(x.least)*time.Millisecond).String()
	if x.most != x.least {
		seen += " to " + TTL(time.Duration(x.most)*time.Millisecond).String()
	}
	seen += fmt.Sprintf(" at %d entries", asked)
	if without > 0 {
		seen += fmt.Sprintf(", none at %d", without)
	}
	if x.TTL > 0 && float64(x.within) >= ttlRight*float64(asked+without) {
		return check.Pass, seen
	}
	return check.Fail, seen
}

func (x *verified) drop(table string) (check.Verdict, string) {
	d := x.drops[table]
	if d.n == 0 {
		return check.Undecided, "not seen: no write to it after the first entry was stored"
	}
	if d.missed == 0 {
		return check.Pass, fmt.Sprintf("each of %d writes was followed by a drop", d.n)
	}
	seen := fmt.Sprintf("%d of %d writes were not followed by a drop within %s", d.missed, d.n, dropTime)
	if d.example != "" {
		seen += ", first " + d.example
	}
	return check.Fail, seen
}

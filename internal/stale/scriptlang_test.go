package stale_test

import (
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/event"
)

// TestScriptErrors holds that a script which says nothing, or nothing that can be met, is refused with its line.
func TestScriptErrors(t *testing.T) {
	const head = "process web pid=1\nsql q SELECT 1\n== one\n"
	for text, want := range map[string]string{
		"1.0 web get k hit\n":                              `1: "1.0" before the first script`,
		head + "1.0 web get k hit\n":                       `3: script "one" expects nothing`,
		head + "expect none\n== one\nexpect none\n":        `5: a script needs a name of its own, not "one"`,
		head + "expect none of it\n":                       `4: expect none cannot say "of"`,
		head + "expect forgotten proven\n":                 `4: there is no cause "forgotten"`,
		head + "expect forgot sure\n":                      `4: a verdict is proven, likely or any, not "sure"`,
		head + "expect forgot\n":                           `4: expect forgot: a word is missing`,
		head + "expect forgot proven keys=k\n":             `4: expect forgot cannot say "keys=k"`,
		head + "expect forgot proven witness=x\n":          `4: no event has the label "x"`,
		head + "1.0 job/r get k hit\n":                     `4: there is no process "job"`,
		head + "1.0 web/r look k\n":                        `4: there is no verb "look"`,
		head + "1.0 web/r get k maybe\n":                   `4: get KEY is a hit or a miss, not "maybe"`,
		head + "1.0 web/r get k hit colour=red\n":          `4: get knows no colour=`,
		head + "1.0 web/r get k hit count=1 count=2\n":     `4: count= stands twice`,
		head + "1.0 web/r get k hit now\n":                 `4: get: "now" is too much`,
		head + "1.0 web/r query @r\n":                      `4: there is no sql "r"`,
		head + "1.0 web/r query word\n":                    `4: "word" is neither @NAME nor a quoted statement`,
		head + "1.0 web/r query \"SELECT\n":                `4: a quote is not closed`,
		head + "1.0 +1ms web/r fill k =A @q\n":             `4: a fill takes 4 ms at least`,
		head + "1.0 +1ms web/r tx t @q\n":                  `4: a transaction takes 5 ms at least`,
		head + "1:70:00 web/r get k hit\n":                 `4: "1:70:00" is no time`,
		head + "1.0000000001 web/r get k hit\n":            `4: "1.0000000001" is finer than nanoseconds`,
		head + "like two\n":                                `4: there is no script "two" before this one`,
		head + "option speed=1s\n":                         `4: there is no option "speed"`,
		head + "without colour\n":                          `4: no event has the field "colour"`,
		head + "1.0 web/r get k hit\nwithout colour\n":     `5: the field "colour" cannot be withheld`,
		head + "1.0 web/r get k hit\nwithout fill_start\n": `5: no event has the field "fill_start"`,
		head + "1.0 web/r get k hit\nwithout x:\n":         `5: no event has the label "x"`,
		head + "1.0 web/r get k hit\nlate x 1s\n":          `5: no event has the label "x"`,
		head + "hello\n":                                   `4: expected: [LABEL:] TIME`,
		"process web pid=one\n":                            `1: "one" is no number`,
		"process web colour=red\n":                         `1: a process has no "colour"`,
		"sql q\n":                                          `1: expected: sql NAME TEXT`,
	} {
		_, err := parseScripts("x.stale", text)
		if err == nil || !strings.HasPrefix(err.Error(), "x.stale:"+want) {
			t.Errorf("%q: %v, expected x.stale:%s", text, err, want)
		}
	}
}

// TestScriptEvents holds what the words of a script become.
func TestScriptEvents(t *testing.T) {
	scripts, err := parseScripts("x.stale", `
process web pid=4 host=a version=v1
sql q SELECT a FROM t WHERE id = $1
== one
f: 1.0 +10ms web/r fill k:7 =A @q 7 ttl=60s   # a comment
10:00:02.5 +1ms web/h get k:7 hit =A times=2 every=1s
t: 2.0 +20ms web/w tx t1 @q 7 ; @q 8
late f 5s
expect none
== two
like one
without fill_start
expect none
`)
	if err != nil {
		t.Fatal(err)
	}
	events := scripts[0].events()
	var got []string
	for _, e := range events {
		got = append(got, clock(e.At)[6:]+" "+e.Type.String())
	}
	// The set is late: it comes after all that ended by then.
	want := "01.000 cache,01.001 query,02.500 cache,03.500 cache,02.000 txn,02.001 query,02.001 query,02.018 txn,01.009 cache"
	if s := strings.Join(got, ","); s != want {
		t.Errorf("the events are %s, expected %s", s, want)
	}
	set := events[len(events)-1]
	if set.Cache == nil || set.Cache.Op != "set" || set.Cache.FillStart != epoch+1e9 || set.Cache.TTLMs.V != 60_000 ||
		set.Cache.ValueHash != hashOf("A") || set.Source.Pid != 4 || set.Trace != "r" {
		t.Errorf("the set is %+v", set.Cache)
	}
	if set.Seq != 3 {
		t.Errorf("the set ended third in its process, not as number %d", set.Seq)
	}
	for _, e := range scripts[1].events() {
		if e.Type == event.TypeCache && e.Cache.FillStart != 0 {
			t.Error("fill_start was not taken from the copy")
		}
	}
	if scripts[0].lines[2].ev.Cache.FillStart == 0 {
		t.Error("fill_start was taken from the original")
	}
}

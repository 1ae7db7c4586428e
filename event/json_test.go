package event

import (
	"encoding/json"
	"reflect"
	"strings"
	"testing"
)

// sameJSON compares two JSON texts by meaning, with numbers kept as written.
func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	parse := func(s string) any {
		d := json.NewDecoder(strings.NewReader(s))
		d.UseNumber()
		var v any
		if err := d.Decode(&v); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
		return v
	}
	return reflect.DeepEqual(parse(a), parse(b))
}

func TestRoundTrip(t *testing.T) {
	for name, line := range map[string]string{
		"request":        `{"type":"request","at":1,"dur":5,"trace":"p.1","span":"p.2","service":"shop","version":"a1","version_from":"git","host":"h","pid":7,"seq":3,"kind":"http","method":"GET","route":"/a/{b}","target":"/a/1?x=2","status":200,"principal":"-","vary":{"accept-language":"00000000000000ff","host":"0123456789abcdef"},"body_hash":"ffffffffffffffff","body_bytes":0,"headers":{"cache-control":"no-store","set-cookie":true}}`,
		"query":          `{"type":"query","at":9223372036854775807,"dur":0,"db":"sqlite","text":"SELECT 1","params":["0123456789abcdef",null],"rows":0}`,
		"cache":          `{"type":"cache","at":1,"op":"delete","key":"article:7","removed":0,"hit":false,"ttl_ms":0,"tags":["a","b"]}`,
		"change":         `{"type":"change","at":1,"lsn":18446744073709551615,"xid":7,"table":"articles","op":"update","pk":["0123456789abcdef"],"columns":["title"]}`,
		"recorder":       `{"type":"recorder","at":1,"recording":true,"dropped":0,"rate":0.25,"hooks":{"asgi":"on"},"failures":{"asgi":2}}`,
		"unknown fields": `{"type":"mark","at":1,"name":"deploy","later":{"deep":[1,2.50,1e400,null,"é\u0000"]},"n":123456789012345678901234567890}`,
		"unknown type":   `{"type":"wormhole","at":5,"pid":3,"text":"hello","key":[1,{"a":null}]}`,
		"says nothing":   `{"type":"cache","at":1,"key":"","value_hash":null,"pid":0,"tags":[],"value_kind":null}`,
		"empty dur null": `{"type":"mark","at":1,"dur":null,"name":"x"}`,
	} {
		e, err := ParseJSON([]byte(line))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		out := AppendJSON(nil, &e)
		if !sameJSON(t, line, string(out)) {
			t.Errorf("%s:\n in  %s\n out %s", name, line, out)
		}
	}
}

func TestAbsentIsNotZero(t *testing.T) {
	e, err := ParseJSON([]byte(`{"type":"cache","at":1,"op":"delete","removed":0}`))
	if err != nil {
		t.Fatal(err)
	}
	if !e.Cache.Removed.Known || e.Cache.Hit.Known || e.Dur.Known {
		t.Errorf("removed 0 is known, hit and dur are not; got %+v, dur %+v", e.Cache, e.Dur)
	}
}

func TestBadLines(t *testing.T) {
	for line, want := range map[string]string{
		``:                                     "not a JSON object",
		`[1]`:                                  "not a JSON object",
		`{"type":"mark"`:                       "not a JSON object",
		`{"at":1}`:                             `no field "type"`,
		`{"type":5,"at":1}`:                    `field "type"`,
		`{"type":"mark"}`:                      `no field "at"`,
		`{"type":"mark","at":0}`:               `field "at"`,
		`{"type":"mark","at":1.5}`:             `field "at": an integer was expected`,
		`{"type":"mark","at":1,"name":7}`:      `field "name": a JSON number was found where a string was expected`,
		`{"type":"request","at":1,"vary":[1]}`: `field "vary"`,
		`{"type":"query","at":1,"params":["0123456789ABCDEF"]}`:               "element 0: 16 lower-case hex digits",
		`{"type":"mark","at":1,"trace":"` + strings.Repeat("x", 65) + `"}`:    `field "trace": 65 bytes`,
		"{\"type\":\"mark\",\"at\":1,\"name\":\"\xff\"}":                      "UTF-8",
		`{"type":"cache","at":1,"hit":"yes"}`:                                 `field "hit"`,
		`{"type":"change","at":1,"xid":-1}`:                                   "an unsigned integer",
		`{"type":"recorder","at":1,"failures":{"asgi":"two"}}`:                `member "asgi"`,
		`{"type":"request","at":1,"headers":{"age":5}}`:                       `member "age"`,
		`{"type":"mark","at":1}` + strings.Repeat(" ", MaxLine):               "at most",
		`{"type":"mark","at":1,"dur":99999999999999999999999999999999999999}`: `field "dur"`,
	} {
		_, err := ParseJSON([]byte(line))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.80s: got error %v, want one with %q", line, err, want)
		}
	}
}

func FuzzParseJSON(f *testing.F) {
	f.Add([]byte(`{"type":"request","at":1,"vary":{"host":"0123456789abcdef"},"x":1}`))
	f.Add([]byte(`{"type":"new","at":2,"dur":null,"headers":{"set-cookie":true}}`))
	f.Fuzz(func(t *testing.T, line []byte) {
		e, err := ParseJSON(line)
		if err != nil {
			return
		}
		once := AppendJSON(nil, &e)
		again, err := ParseJSON(once)
		if err != nil {
			t.Fatalf("%s\nwritten as %s\ncannot be read: %v", line, once, err)
		}
		if twice := AppendJSON(nil, &again); string(twice) != string(once) {
			t.Fatalf("second writing differs:\n%s\n%s", once, twice)
		}
	})
}

func BenchmarkParseJSON(b *testing.B) {
	line := []byte(`{"type":"query","at":1790000000000000000,"dur":51000,"trace":"p.1","parent":"p.2","service":"shop","host":"h","pid":7,"seq":3,"db":"sqlite","text":"SELECT a FROM t WHERE id = ?","params":["0123456789abcdef"],"rows":1,"code":"shop.app:get:42"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseJSON(line); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkAppendJSON(b *testing.B) {
	e, err := ParseJSON([]byte(`{"type":"query","at":1790000000000000000,"dur":51000,"trace":"p.1","parent":"p.2","service":"shop","host":"h","pid":7,"seq":3,"db":"sqlite","text":"SELECT a FROM t WHERE id = ?","params":["0123456789abcdef"],"rows":1,"code":"shop.app:get:42"}`))
	if err != nil {
		b.Fatal(err)
	}
	var dst []byte
	b.ReportAllocs()
	for b.Loop() {
		dst = AppendJSON(dst[:0], &e)
	}
}

package otlp

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"testing"

	"golang.org/x/crypto/blake2b"

	"github.com/demarc-dev/demarc/event"
)

// recorderRules asks the recorder's own code what it makes of texts: one JSON list of {key, target} a mode.
const recorderRules = `
import json, sys
sys.path.insert(0, "../../python")
from _demarc import core, hashing, redact
hashing.set_key(bytes(32))
texts = json.load(sys.stdin)
out = {}
for mode in ("clear", "hashed"):
    core.state.config = type("C", (), {"keys": mode})()
    redact._keys.clear(); redact._targets.clear()
    out[mode] = [[redact.key(t), redact.target(*(t.split("?", 1) + [""])[:2])] for t in texts]
json.dump(out, sys.stdout)
`

func zeroKeyHash(s string) event.Hash {
	h, err := blake2b.New(8, make([]byte, 32))
	if err != nil {
		panic(err)
	}
	_, _ = h.Write([]byte(s))
	return event.Hash(binary.BigEndian.Uint64(h.Sum(nil)))
}

// TestSameRulesAsRecorder holds what is shown of keys and targets against the recorder: a key must look the same whoever
// saw it, or its events would not meet.
func TestSameRulesAsRecorder(t *testing.T) {
	python := os.Getenv("DEMARC_TEST_OTEL_PYTHON")
	if python == "" {
		t.Fatal("DEMARC_TEST_OTEL_PYTHON must name a python")
	}
	texts := []string{
		"article:7", "article:first", "user:42:profile", "v2:articles|page=3", "", ":", "Articles", "{tag}:x", "a/b/c", "ann@shop.example",
		"user:ann@shop.example:cart", "user:ann%40shop.example", "a@b", "a@b.c", "a@b.cd", "x@y.z1", "x@y.co.uk", "@shop.example", "a@b@c.de",
		"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.abc", "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.", "eyJx.y.z", "t=eyJhbGciOiJIUzI1NiJ9.e.x",
		"0123456789abcdef0123456789abcdef", "sess:0123456789abcdef0123456789abcdef==", "0123456789012345678901234567890123456789",
		"abcdefghijklmnopqrstuvwxyzabcdefghijklmnop", "123e4567-e89b-12d3-a456-426614174000", "k:123E4567-E89B-12D3-A456-426614174000:x",
		"/articles", "/articles/first", "/articles/7?page=2", "/a?token=x&page=1", "/a?access_token=x", "/a?accessToken=x", "/a?q=ann@shop.example",
		"/a?flag", "/a?flag&x=", "/a?=v", "/a?", "/a?a=b=c", "/a?code=5&zipcode=7", "/a?user[email]=x", "/a?Api-Key=1", "/a?apikey=2", "/a?mypassword=3",
		"/a?monkey=4", "/a?sort=-created&utm_source=mail", "/reset/0123456789abcdef0123456789abcdef", "/caf\u00e9/7", "über:7",
		strings.Repeat("k", 600), "a:" + strings.Repeat("7", 600), strings.Repeat("é", 513), "/a?q=" + strings.Repeat("x", 3000),
		strings.Repeat("ab:", 200), "name with blank",
		"how-to-build-a-better-pancake-machine-1234", "article:some_long_slug-with-a-number-2-at-the-end-of-it",
		"sk_live_4eC39HqLyjWDarjtT1zdp7dc", "one-abcdefghijklmnop1-three-four-five-six-7", "/a/some-long-slug-with-2-numbers-at-the-1-end/x",
		"a_b-c.d*", strings.Repeat("a", 41), strings.Repeat("a", 40), "x:v2", "x:V2", "x:v22",
	}
	r := rand.New(rand.NewPCG(1, 1))
	parts := []string{"a", "Z", "7", ":", "/", "|", "@", ".", "?", "&", "=", "-", "_", "+", "%40", "token", "eyJ", "abcdef0123456789", "co", "é", " "}
	for range 5000 {
		var s strings.Builder
		for range 1 + r.IntN(9) {
			s.WriteString(parts[r.IntN(len(parts))])
		}
		texts = append(texts, s.String())
	}
	in, err := json.Marshal(texts)
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(python, "-c", recorderRules)
	cmd.Stdin, cmd.Stderr = bytes.NewReader(in), os.Stderr
	cmd.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	var want map[string][][2]string
	if err := json.Unmarshal(out, &want); err != nil {
		t.Fatal(err)
	}
	for mode, list := range want {
		b := newBatch(&Options{Hashed: mode == "hashed", Hash: zeroKeyHash}, &sources{})
		failed := 0
		for i, s := range texts {
			if got := b.key("", s); got != list[i][0] {
				t.Errorf("%s: key %q became %q, the recorder makes %q", mode, s, got, list[i][0])
				failed++
			}
			if got := b.target("", s); got != list[i][1] {
				t.Errorf("%s: target %q became %q, the recorder makes %q", mode, s, got, list[i][1])
				failed++
			}
			if failed > 20 {
				break
			}
		}
	}
}

func TestNothingIsLeftWithoutHash(t *testing.T) {
	b := newBatch(&Options{}, &sources{})
	if got := b.target("", "/a?token=abc&q=ann@shop.example"); got != "/a?token=~&q=~" {
		t.Errorf("got %q", got)
	}
}

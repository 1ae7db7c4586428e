package trace_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/trace"
)

// TestQuickLines: lines that are read many at a time are what each is on its own, at the end of the text, where none is; and so is what is
// said of a wrong one.
func TestQuickLines(t *testing.T) {
	random := rand.New(rand.NewPCG(71, 73))
	pick := func(list []string) string { return list[random.IntN(len(list))] }
	numbers := []string{"0", "00", "1", "7.5", "007.25", "1.123456789", "1.1234567899", "9.", ".5", "9223372035", "9223372036", "123456789012345678", "1234567890123456789012345",
		"1.000000001", "-1", "1e3", "x", "", " 5", "4294967295", "4294967296", "5\t"}
	keys := []string{"0", "00", "12", "18446744073709551615", "18446744073709551616", "12345678901234567890123456789", "article:17", "é", "a b", `"a,b"`, `"a""b"`, `a"b`, "", "1x",
		strings.Repeat("k", 2000), "a\tb", "a\x01"}
	ends := []string{"\n", "\n", "\n", "\r\n", "\r\r\n", " \n", "\n\n"}
	type form struct {
		header, separator, good string
		columns                 []string
	}
	forms := []form{{"1 a 1\n", " ", "1 a 1\n", []string{"time", "key", "size"}}}
	for range 6 {
		columns := []string{"time", "key", "size", "ttl", "cost", "name", "more"}
		random.Shuffle(len(columns), func(i, j int) { columns[i], columns[j] = columns[j], columns[i] })
		columns = append(columns[:1+random.IntN(5)], "key")
		seen := map[string]bool{}
		var good []string
		kept := columns[:0]
		for _, c := range columns {
			if !seen[c] {
				kept, good = append(kept, c), append(good, "1")
			}
			seen[c] = true
		}
		forms = append(forms, form{strings.Join(kept, ",") + "\n" + strings.Join(good, ",") + "\n", ",", strings.Join(good, ",") + "\n", kept})
	}
	told := func(text string, opt trace.Options) string {
		var all trace.Batch
		info, err := trace.Read(context.Background(), strings.NewReader(text), opt, func(b trace.Batch) error {
			all.Keys, all.At = append(all.Keys, b.Keys...), append(all.At, b.At...)
			all.Sizes, all.TTL, all.Cost = append(all.Sizes, b.Sizes...), append(all.TTL, b.TTL...), append(all.Cost, b.Cost...)
			return nil
		})
		if err != nil {
			return err.Error()
		}
		return fmt.Sprintf("%v %v", info, all)
	}
	same, wrong := 0, 0
	for i := range 4_000 {
		f := forms[i%len(forms)]
		var fields []string
		for _, c := range f.columns {
			if c == "key" || c == "name" || c == "more" {
				fields = append(fields, pick(keys))
			} else {
				fields = append(fields, pick(numbers))
			}
		}
		line := strings.Join(fields, f.separator) + pick(ends)
		opt := trace.Options{Name: "x", Format: map[string]string{" ": trace.Plain, ",": trace.CSV}[f.separator], Times: i%3 == 0, Weights: i%2 == 0}
		alone := told(f.header+line, opt)
		// A blank after each good line of the one form, and quotes in the other, are not for the quick way; nor is the end of the text.
		many := told(f.header+line+strings.Repeat(f.good, 40), opt)
		slow := strings.TrimSuffix(f.good, "\n") + " \n"
		if f.separator == "," {
			slow = `"` + strings.ReplaceAll(strings.TrimSuffix(f.good, "\n"), ",", `","`) + "\"\n"
		}
		want := told(f.header+line+strings.Repeat(slow, 40), opt)
		if len(slow) != len(f.good) { // the bytes of the whole text are counted, too
			many, want = many[strings.IndexByte(many, '}')+1:], want[strings.IndexByte(want, '}')+1:]
		}
		if many != want {
			t.Fatalf("%q under %q, %+v: %s\nwant %s", line, f.header, opt, many, want)
		}
		if strings.HasPrefix(alone, "cannot") {
			wrong++
			if first, _, _ := strings.Cut(alone, "\n"); !strings.Contains(told(f.header+line+strings.Repeat(f.good, 40), opt), first) {
				t.Fatalf("%q: %s", line, first)
			}
		} else {
			same++
		}
	}
	if same < 300 || wrong < 300 {
		t.Errorf("%d lines were right and %d wrong: the test says little", same, wrong)
	}
}

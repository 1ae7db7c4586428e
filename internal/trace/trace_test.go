package trace_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/trace"
)

// all reads a whole trace.
func all(from io.Reader, opt trace.Options) (keys []uint64, at []int64, info trace.Info, err error) {
	info, err = trace.Read(context.Background(), from, opt, func(b trace.Batch) error {
		keys = append(keys, b.Keys...)
		at = append(at, b.At...)
		return nil
	})
	return keys, at, info, err
}

func oracle(records ...[4]int64) string {
	var b []byte
	for _, r := range records {
		b = binary.LittleEndian.AppendUint32(b, uint32(r[0]))
		b = binary.LittleEndian.AppendUint64(b, uint64(r[1]))
		b = binary.LittleEndian.AppendUint32(b, uint32(r[2]))
		b = binary.LittleEndian.AppendUint64(b, uint64(r[3]))
	}
	return string(b)
}

func TestFormats(t *testing.T) {
	tests := []struct {
		name, text, format string
		keys               []uint64
		at                 []int64
	}{
		{"keys", "5\n0\n18446744073709551615\n9999999999999999999\n5\n", trace.Plain, []uint64{5, 0, math.MaxUint64, 9999999999999999999, 5}, nil},
		{"keys with blanks, empty lines and no end", "\r\n 5\r\n\n7 \n5", trace.Plain, []uint64{5, 7, 5}, nil},
		{"time key size", "0 7 100\n1.5\t8 20\n1.000000002 7 1\n", trace.Plain, []uint64{7, 8, 7}, []int64{0, 1_500_000_000, 1_000_000_002}},
		{"csv with columns", "time,size,KEY,ttl\n1,10,\"7\",60\n2,,8,\n", trace.CSV, []uint64{7, 8}, []int64{1e9, 2e9}},
		{"csv without times", "key,cost\n3,1\n\n4,2", trace.CSV, []uint64{3, 4}, nil},
		{"oracleGeneral", oracle([4]int64{1, 7, 1, 2}, [4]int64{1, 8, 1, -1}, [4]int64{4, 7, 1, math.MaxInt64}), trace.Oracle, []uint64{7, 8, 7}, []int64{1e9, 1e9, 4e9}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var z, g bytes.Buffer
			zw, err := zstd.NewWriter(&z)
			if err != nil {
				t.Fatal(err)
			}
			gw := gzip.NewWriter(&g)
			for _, w := range []io.WriteCloser{zw, gw} {
				if _, err := io.WriteString(w, test.text); err != nil {
					t.Fatal(err)
				}
				if err := w.Close(); err != nil {
					t.Fatal(err)
				}
			}
			for packing, text := range map[string]string{"plain": test.text, "zstd": z.String(), "gzip": g.String()} {
				for way, from := range map[string]io.Reader{"whole": strings.NewReader(text), "byte by byte": iotest.OneByteReader(strings.NewReader(text))} {
					keys, at, info, err := all(from, trace.Options{})
					if err != nil {
						t.Fatalf("%s, %s: %v", packing, way, err)
					}
					if info.Format != test.format || info.Requests != int64(len(test.keys)) || info.Bytes != int64(len(test.text)) || info.Times != (test.at != nil) {
						t.Errorf("%s, %s: %+v", packing, way, info)
					}
					if fmt.Sprint(keys) != fmt.Sprint(test.keys) || fmt.Sprint(at) != fmt.Sprint(test.at) {
						t.Errorf("%s, %s: keys %v at %v, want %v at %v", packing, way, keys, at, test.keys, test.at)
					}
				}
			}
		})
	}
}

// Texts that are not decimal numbers in their shortest form are keys of their own.
func TestTextKeys(t *testing.T) {
	const text = "user:1\nuser:2\n1\n01\n1.0\n18446744073709551616\n28446744073709551616\n00\n0\nключ\nuser:1\n-1\naaaaaaaa\naaaaaaaaa\n"
	keys, _, _, err := all(strings.NewReader(text), trace.Options{})
	if err != nil {
		t.Fatal(err)
	}
	again, _, _, err := all(strings.NewReader(text), trace.Options{Format: trace.Plain})
	if err != nil || fmt.Sprint(keys) != fmt.Sprint(again) {
		t.Errorf("other keys the second time: %v, %v", again, err)
	}
	lines := strings.Split(strings.TrimSpace(text), "\n")
	for i := range keys {
		for j := range keys[:i] {
			if (keys[i] == keys[j]) != (lines[i] == lines[j]) {
				t.Errorf("%q has %d, %q has %d", lines[i], keys[i], lines[j], keys[j])
			}
		}
	}
}

// A trace larger than all buffers, of lines of every length, reads as it was written.
func TestLong(t *testing.T) {
	var text strings.Builder
	var want []uint64
	x := uint64(1)
	for i := range 200_000 {
		x = x*6364136223846793005 + 1442695040888963407
		key := x >> (i % 64)
		want = append(want, key)
		fmt.Fprintln(&text, key)
	}
	keys, _, info, err := all(strings.NewReader(text.String()), trace.Options{})
	if err != nil || info.Requests != int64(len(want)) || info.Bytes != int64(text.Len()) {
		t.Fatalf("%+v, %v", info, err)
	}
	for i := range want {
		if keys[i] != want[i] {
			t.Fatalf("request %d is for %d, want %d", i, keys[i], want[i])
		}
	}
}

func TestBadInput(t *testing.T) {
	var packed bytes.Buffer
	zw, _ := zstd.NewWriter(&packed)
	for i := range 100_000 {
		fmt.Fprintln(zw, i*i)
	}
	zw.Close()
	var zipped bytes.Buffer
	gw := gzip.NewWriter(&zipped)
	for i := range 100_000 {
		fmt.Fprintln(gw, i*i)
	}
	gw.Close()
	tests := []struct {
		name, text string
		opt        trace.Options
		want       string
	}{
		{"empty", "", trace.Options{}, "at byte 0: the trace is empty"},
		{"empty lines", "\n\n \n", trace.Options{}, "ends without a request"},
		{"only a header", "time,key\n", trace.Options{}, "ends without a request"},
		{"two columns", "1 2\n", trace.Options{}, "line 1 (byte 0): 2 columns"},
		{"many columns", "1 2 3 4 5\n", trace.Options{}, "line 1 (byte 0): 4 or more columns"},
		{"another line", "1\n2\n3 4 5\n", trace.Options{}, "line 3 (byte 4): 3 columns, where the first line has 1"},
		{"cut line", "1 2 3\n2 4 5\n3 1", trace.Options{}, "line 3 (byte 12): 2 columns, where the first line has 3"},
		{"a time that is none", "1 2 3\nnow 4 5\n", trace.Options{}, `line 2 (byte 6): the time is "now"`},
		{"a size that is none", "1 2 3\n2 4 big\n", trace.Options{}, `line 2 (byte 6): the size is "big"`},
		{"a time without end", "99999999999999999999 2 3\n", trace.Options{}, "line 1 (byte 0): the time is"},
		{"no times", "1\n2\n", trace.Options{Times: true}, "line 1 (byte 0): this trace has no times"},
		{"times that go back", "1 2 3\n0.5 4 5\n", trace.Options{Times: true}, "line 2 (byte 6): the time goes back"},
		{"bytes in a text", "1\n2\n\x003\n", trace.Options{Format: trace.Plain}, "line 3 (byte 4): byte 1 of the line is 0x00"},
		{"long line", "1\n" + strings.Repeat("x", 70_000) + "\n", trace.Options{}, "line 2 (byte 2): the line is too long"},
		{"long last line", strings.Repeat("x", 400_000), trace.Options{}, "line 1 (byte 0): the line is too long"},
		{"csv without key", "time,id\n1,2\n", trace.Options{}, "line 1 (byte 0): no column is named key"},
		{"csv with a short line", "time,key\n1,2\n3\n", trace.Options{}, "line 3 (byte 13): 1 fields, where the header has 2"},
		{"csv with open quotes", "time,key\n1,\"2\n", trace.Options{}, "line 2 (byte 9): the quotes of field 2 do not end"},
		{"cut record", oracle([4]int64{1, 7, 1, -1}) + "\x00\x01", trace.Options{}, "record 2 (byte 24): cut after 2 bytes"},
		{"no oracleGeneral", oracle([4]int64{1, 7, 1, -1}, [4]int64{1, 7, 1, 1}), trace.Options{}, "record 2 (byte 24): the next request of the key is said to be 1"},
		{"text as oracleGeneral", strings.Repeat("12345\n", 100), trace.Options{Format: trace.Oracle}, "record 1 (byte 0): the next request"},
		{"oracleGeneral back in time", oracle([4]int64{3, 7, 1, -1}, [4]int64{1, 8, 1, -1}), trace.Options{Times: true}, "record 2 (byte 24): the time goes back"},
		{"no such format", "1\n", trace.Options{Format: "arff"}, "there is no such format"},
		{"cut zstd", packed.String()[:packed.Len()/2], trace.Options{}, "requests, at byte"},
		{"cut gzip", zipped.String()[:zipped.Len()/2], trace.Options{}, "the compressed file is cut"},
		{"broken gzip", "\x1f\x8b\x01\x02", trace.Options{}, "the compressed file is cut"},
		{"broken zstd", "\x28\xb5\x2f\xfd\xff\xff\xff\xff\xff\xff\xff\xff\xff", trace.Options{}, "after 0 requests, at byte 0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			test.opt.Name = "x"
			_, _, _, err := all(strings.NewReader(test.text), test.opt)
			var f *fault.Error
			if !errors.As(err, &f) {
				t.Fatalf("error is %v, want a *fault.Error", err)
			}
			if !strings.HasPrefix(f.Error(), "cannot read trace x: ") || !strings.Contains(f.Error(), test.want) || f.Expected == "" || f.Retry == "" {
				t.Errorf("%s\nwant %q in the first line, and what was expected", f.Text(), test.want)
			}
		})
	}
}

// Numbers are read many at a time, and the last of the text one by one. Both give the same keys.
func TestNumbers(t *testing.T) {
	random := rand.New(rand.NewPCG(61, 67))
	lines := []string{"0", "00", "18446744073709551615", "18446744073709551616", "18446744073709551617", "9999999999999999999", "10000000000000000000",
		"19999999999999999999", "28446744073709551616", "38446744073709551616", "99999999999999999999", "123456789012345678901234567890", "1234567 ", "12345678a", "\u0661"}
	for digits := range 26 {
		for range 20 {
			line := make([]byte, digits+1)
			for i := range line {
				line[i] = byte('0' + random.IntN(10))
			}
			lines = append(lines, string(line), fmt.Sprint(random.Uint64()>>min(2*digits, 63)))
		}
	}
	random.Shuffle(len(lines), func(i, j int) { lines[i], lines[j] = lines[j], lines[i] })
	for i := range lines {
		keys, _, _, err := all(strings.NewReader("7\n"+strings.Join(lines[i:], "\n")+"\n"), trace.Options{})
		if err != nil || len(keys) != len(lines)-i+1 {
			t.Fatalf("%d keys, %v", len(keys), err)
		}
		alone, _, _, err := all(strings.NewReader("7\n"+lines[i]), trace.Options{})
		if err != nil || keys[1] != alone[1] {
			t.Errorf("%q has key %d, on its own %d: %v", lines[i], keys[1], alone[1], err)
		}
		want, err := strconv.ParseUint(lines[i], 10, 64)
		if got := keys[1] == want; got != (err == nil && strconv.FormatUint(want, 10) == lines[i]) && !strings.HasSuffix(lines[i], " ") {
			t.Errorf("%q has key %d", lines[i], keys[1])
		}
	}
}

func TestStops(t *testing.T) {
	want := errors.New("enough")
	_, err := trace.Read(context.Background(), strings.NewReader("1\n"), trace.Options{}, func(trace.Batch) error { return want })
	if !errors.Is(err, want) || errors.As(err, new(*fault.Error)) {
		t.Errorf("error is %v, want that of emit", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	_, err = trace.Read(ctx, strings.NewReader("1\n"), trace.Options{}, func(trace.Batch) error { return nil })
	if !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context.Canceled", err)
	}
	_, _, _, err = all(iotest.ErrReader(want), trace.Options{Name: "x"})
	if !errors.Is(err, want) || !errors.As(err, new(*fault.Error)) {
		t.Errorf("error is %v, want one that says what reading said", err)
	}
}

// FuzzRead: whatever the bytes, reading ends without a panic, with requests or a *fault.Error, and the same byte by byte.
func FuzzRead(f *testing.F) {
	for _, text := range []string{"1\n2\n", "1 2 3\n4 5 6\n", "key,time\na,1\n\"b\"\"\",2\n", oracle([4]int64{1, 7, 1, -1}), "\x1f\x8b", "\x28\xb5\x2f\xfd"} {
		for _, format := range append(trace.Formats(), trace.Auto) {
			f.Add([]byte(text), format, false)
			f.Add([]byte(text), format, true)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte, format string, times bool) {
		opt := trace.Options{Name: "x", Format: format, Times: times}
		keys, at, info, err := all(bytes.NewReader(data), opt)
		if err != nil && !errors.As(err, new(*fault.Error)) {
			t.Fatalf("error is %v, want a *fault.Error", err)
		}
		if err == nil && (len(keys) == 0 || info.Requests != int64(len(keys)) || info.Times != (at != nil) || at != nil && len(at) != len(keys)) {
			t.Fatalf("%d keys, %d times, %+v", len(keys), len(at), info)
		}
		again, _, _, slow := all(iotest.OneByteReader(bytes.NewReader(data)), opt)
		if (err == nil) != (slow == nil) || err == nil && fmt.Sprint(keys) != fmt.Sprint(again) {
			t.Fatalf("%v and %v, byte by byte %v and %v", keys, err, again, slow)
		}
	})
}

package trace

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// position names the line or record that is being read and its first byte.
func (r *reader) position() string {
	if r.info.Format == Oracle {
		return fmt.Sprintf("record %d (byte %d)", r.line+1, r.offset+int64(r.start))
	}
	return fmt.Sprintf("line %d (byte %d)", r.line, r.offset+int64(r.start))
}

// nextLine returns the next line without its end, and where the text goes on after it (r.start is left at its beginning, for
// position). ok is false at the end of the text.
func (r *reader) nextLine() (line []byte, after int, ok bool, err error) {
	for searched := 0; ; {
		if i := bytes.IndexByte(r.buf[r.start+searched:r.end], '\n'); i >= 0 {
			line, after = r.buf[r.start:r.start+searched+i], r.start+searched+i+1
			break
		}
		searched = r.end - r.start
		if searched > MaxLine {
			break
		}
		more, err := r.fill()
		if err != nil {
			return nil, 0, false, err
		}
		if !more {
			if r.start == r.end {
				return nil, 0, false, nil
			}
			line, after = r.buf[r.start:r.end], r.end
			break
		}
	}
	r.line++
	if line == nil && after == 0 || len(line) > MaxLine {
		return nil, 0, false, badFormat{at: r.position(), what: "the line is too long", expected: fmt.Sprintf("lines of at most %d bytes", MaxLine)}
	}
	line = bytes.TrimSuffix(line, []byte{'\r'})
	for i, c := range line {
		if c < ' ' && c != '\t' {
			return nil, 0, false, badFormat{at: r.position(), what: fmt.Sprintf("byte %d of the line is 0x%02x, which is no text", i+1, c), expected: "lines of text"}
		}
	}
	return line, after, true, nil
}

// plain reads lines of one column, the key, or of three: time, key, size. The first line that is not empty decides.
func (r *reader) plain() error {
	columns := 0
	three := [...]column{timeColumn, keyColumn, numberColumn}
	if r.opt.Weights {
		three[2] = sizeColumn
	}
	var fields [4][]byte
	for {
		var err error
		switch columns {
		case 1:
			err = r.numbers()
		case 3:
			err = r.rows(three[:], ' ')
		}
		if err != nil {
			return err
		}
		line, after, ok, err := r.nextLine()
		if err != nil || !ok {
			return err
		}
		n := split(line, &fields)
		if n == 0 {
			r.start = after
			continue
		}
		if columns == 0 {
			columns = n
			if n != 1 && n != 3 {
				return badFormat{at: r.position(), what: fmt.Sprintf("%s, which could mean anything", countColumns(n)), expected: `a key on each line, or "time key size"`}
			}
			if err := r.withTimes(n == 3); err != nil {
				return err
			}
			if n == 3 && r.opt.Weights {
				r.batch.Sizes = make([]uint32, 0, batchSize)
			}
		}
		if n != columns {
			return badFormat{at: r.position(), what: fmt.Sprintf("%s, where the first line has %d", countColumns(n), columns), expected: `a key on each line, or "time key size"`}
		}
		if columns == 1 {
			err = r.add(keyOf(fields[0]), 0)
		} else {
			err = r.timed(fields[0], fields[1], fields[2])
		}
		if err != nil {
			return err
		}
		r.start = after
	}
}

func countColumns(n int) string {
	if n == 4 {
		return "4 or more columns"
	}
	return fmt.Sprintf("%d columns", n)
}

// split cuts a line at blanks; of more than three fields it only says that there are four.
func split(line []byte, fields *[4][]byte) int {
	n := 0
	for i := 0; i < len(line); {
		if line[i] == ' ' || line[i] == '\t' {
			i++
			continue
		}
		from := i
		for i < len(line) && line[i] != ' ' && line[i] != '\t' {
			i++
		}
		fields[n] = line[from:i]
		if n++; n == len(fields) {
			break
		}
	}
	return n
}

// numbers reads lines that are nothing but a decimal number of up to 19 digits, as most are, until one is not or the buffer ends.
// That one is left for plain.
func (r *reader) numbers() error {
	for {
		keys := r.batch.Keys
		buf, i, lines := r.buf[:r.end], r.start, r.line
		for len(keys) < cap(keys) && i+numberWords <= len(buf) {
			v, digits := number(buf[i : i+numberWords])
			end := i + digits
			if digits == 0 || digits > 20 || buf[end] != '\n' || buf[i] == '0' && digits > 1 || overflown(v, digits, buf[i]) != 0 {
				break
			}
			keys = append(keys, v)
			i = end + 1
			lines++
		}
		full := len(keys) == cap(keys)
		r.batch.Keys, r.start, r.line = keys, i, lines
		if !full {
			return nil
		}
		if err := r.flush(); err != nil {
			return err
		}
	}
}

// overflown is 1 if a number of up to 20 digits, computed modulo 2^64, is larger than that: such of 20 digits that begin with more than 1 are, and others if
// they are below 10^19 now. Keys are often of 19 and of 20 digits in turn, so that a branch on that would mostly be foreseen wrongly.
func overflown(v uint64, digits int, first byte) uint64 {
	twenty := (uint64(digits^20) - 1) >> 63
	_, small := bits.Sub64(v, 1e19, 0)
	return twenty & (small | -uint64(first^'1')>>63)
}

// number reads the decimal digits that a text of at least three words begins with, modulo 2^64, and says how many they are; of 24 and more
// that they are 24.
func number(text []byte) (v uint64, digits int) {
	t, n := leadingDigits(binary.LittleEndian.Uint64(text))
	if v = eightDigits(t); n < 8 {
		return v, n
	}
	t, n = leadingDigits(binary.LittleEndian.Uint64(text[8:]))
	if v = v*powers[n&15] + eightDigits(t); n < 8 {
		return v, 8 + n
	}
	t, n = leadingDigits(binary.LittleEndian.Uint64(text[16:]))
	return v*powers[n&15] + eightDigits(t), 16 + n
}

const numberWords = 24 // bytes

// powers of ten.
var powers = [16]uint64{1, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8}

// leadingDigits says how many of the eight bytes, from the lowest on, are digits, and returns these as numbers in the highest bytes.
func leadingDigits(text uint64) (uint64, int) {
	const low7 = 0x7f7f7f7f7f7f7f7f
	t := text ^ 0x3030303030303030                              // digits become 0 to 9
	others := (t&low7 + 0x7676767676767676 | t) & ^uint64(low7) // the highest bit of each byte that is above 9
	n := bits.TrailingZeros64(others) / 8
	if n == 0 {
		return 0, 0
	}
	return t << ((64 - 8*n) & 63), n
}

// eightDigits is the number that eight digits make, the first of them in the lowest byte.
func eightDigits(t uint64) uint64 {
	const each = 0x0000_00ff_0000_00ff
	t = t*10 + t>>8 // of two
	return (t&each*(100+1_000_000<<32) + t>>16&each*(1+10_000<<32)) >> 32
}

// timed adds a request with a time; the size must be a number, nil for none.
func (r *reader) timed(at, key, size []byte) error {
	ns, ok := seconds(at)
	if !ok {
		return badFormat{at: r.position(), what: fmt.Sprintf("the time is %q", clipped(at)), expected: "seconds, with up to nine decimals"}
	}
	if size != nil {
		if r.opt.Weights {
			if err := r.size(size); err != nil {
				return err
			}
		} else if _, ok := seconds(size); !ok {
			return badFormat{at: r.position(), what: fmt.Sprintf("the size is %q", clipped(size)), expected: "a number of bytes"}
		}
	}
	return r.add(keyOf(key), ns)
}

func clipped(text []byte) string {
	if len(text) > 40 {
		return string(text[:40]) + "…"
	}
	return string(text)
}

// maxSeconds are those that nanoseconds have room for.
const maxSeconds = math.MaxInt64/1_000_000_000 - 1

// seconds reads a decimal number, up to nine decimals counting, as nanoseconds.
func seconds(text []byte) (int64, bool) {
	whole, fraction, point := bytes.Cut(text, []byte{'.'})
	if len(whole)+len(fraction) == 0 || point && len(fraction) == 0 || len(whole) > 18 {
		return 0, false
	}
	v := int64(0)
	for _, c := range whole {
		if c < '0' || c > '9' {
			return 0, false
		}
		v = v*10 + int64(c-'0')
	}
	if v > maxSeconds {
		return 0, false
	}
	ns, unit := int64(0), int64(100_000_000)
	for _, c := range fraction {
		if c < '0' || c > '9' {
			return 0, false
		}
		ns += int64(c-'0') * unit
		unit /= 10
	}
	return v*1_000_000_000 + ns, true
}

// size appends a size.
func (r *reader) size(text []byte) error {
	v, ok := decimal(text)
	if !ok || v > math.MaxUint32 {
		return badFormat{at: r.position(), what: fmt.Sprintf("the size is %q", clipped(text)), expected: "a whole number of bytes below 4 GiB"}
	}
	r.batch.Sizes = append(r.batch.Sizes, uint32(v))
	return nil
}

// columns are where a CSV has what; -1 for what it has not.
type columns struct{ key, time, size, ttl, cost int }

// weights appends what the columns size, ttl and cost say. An empty ttl is none.
func (r *reader) weights(c columns, fields [][]byte) error {
	if c.size >= 0 {
		if err := r.size(bytes.TrimSpace(fields[c.size])); err != nil {
			return err
		}
	}
	if c.ttl >= 0 {
		text, ns, ok := bytes.TrimSpace(fields[c.ttl]), int64(0), true
		if len(text) > 0 {
			ns, ok = seconds(text)
		}
		if !ok {
			return badFormat{at: r.position(), what: fmt.Sprintf("the ttl is %q", clipped(text)), expected: "seconds, with up to nine decimals; 0 or nothing for none"}
		}
		r.batch.TTL = append(r.batch.TTL, ns)
	}
	if c.cost >= 0 {
		text := bytes.TrimSpace(fields[c.cost])
		v, err := strconv.ParseFloat(string(text), 32)
		if err != nil || !(v >= 0) || math.IsInf(v, 0) {
			return badFormat{at: r.position(), what: fmt.Sprintf("the cost is %q", clipped(text)), expected: "a number, 0 or more"}
		}
		r.batch.Cost = append(r.batch.Cost, float32(v))
	}
	return nil
}

// csv reads lines of comma-separated fields under a header. "key" is needed; "time" (seconds) is used, and with Options.Weights
// "size", "ttl" and "cost"; others are passed over.
func (r *reader) csv() error {
	var header []string
	var quick []column // nil where lines are not for rows
	var fields [][]byte
	var at columns
	for {
		if quick != nil {
			if err := r.rows(quick, ','); err != nil {
				return err
			}
		}
		line, after, ok, err := r.nextLine()
		if err != nil || !ok {
			return err
		}
		if len(line) == 0 {
			r.start = after
			continue
		}
		if fields, err = r.fields(line, fields[:0]); err != nil {
			return err
		}
		switch {
		case header == nil:
			for _, f := range fields {
				header = append(header, strings.ToLower(strings.TrimSpace(strings.TrimPrefix(string(f), "\ufeff"))))
			}
			find := func(name string) int { return slices.Index(header, name) }
			at = columns{find("key"), find("time"), find("size"), find("ttl"), find("cost")}
			if at.key < 0 {
				return badFormat{at: r.position(), what: "no column is named key", expected: "a first line that names the columns: key, and where known time, size, ttl, cost"}
			}
			if err := r.withTimes(at.time >= 0); err != nil {
				return err
			}
			if !r.opt.Weights {
				at.size, at.ttl, at.cost = -1, -1, -1
			}
			if at.size >= 0 {
				r.batch.Sizes = make([]uint32, 0, batchSize)
			}
			if at.ttl >= 0 {
				r.batch.TTL = make([]int64, 0, batchSize)
			}
			if at.cost >= 0 {
				r.batch.Cost = make([]float32, 0, batchSize)
			} else {
				quick = make([]column, len(header))
				for i, kind := range map[int]column{at.key: keyColumn, at.time: timeColumn, at.size: sizeColumn, at.ttl: ttlColumn} {
					if i >= 0 {
						quick[i] = kind
					}
				}
			}
		case len(fields) != len(header):
			return badFormat{at: r.position(), what: fmt.Sprintf("%d fields, where the header has %d", len(fields), len(header)), expected: "as many fields as the header names"}
		default:
			if err = r.weights(at, fields); err != nil {
				return err
			}
			if at.time >= 0 {
				err = r.timed(fields[at.time], fields[at.key], nil)
			} else {
				err = r.add(keyOf(fields[at.key]), 0)
			}
		}
		if err != nil {
			return err
		}
		r.start = after
	}
}

// fields cuts a line at commas. A field in quotes may hold commas and doubled quotes, but no line end.
func (r *reader) fields(line []byte, out [][]byte) ([][]byte, error) {
	for {
		if len(line) == 0 || line[0] != '"' {
			field, rest, more := bytes.Cut(line, []byte{','})
			out = append(out, field)
			if !more {
				return out, nil
			}
			line = rest
			continue
		}
		end := 1
		doubled := false
		for ; end < len(line); end++ {
			if line[end] == '"' {
				if end+1 == len(line) || line[end+1] != '"' {
					break
				}
				doubled = true
				end++
			}
		}
		if end >= len(line) || end+1 < len(line) && line[end+1] != ',' {
			return nil, badFormat{at: r.position(), what: fmt.Sprintf("the quotes of field %d do not end before a comma or the end of the line", len(out)+1), expected: `fields as a,b or "a","b"`}
		}
		field := line[1:end]
		if doubled {
			field = bytes.ReplaceAll(field, []byte(`""`), []byte(`"`))
		}
		out = append(out, field)
		if end+1 == len(line) {
			return out, nil
		}
		line = line[end+2:]
	}
}

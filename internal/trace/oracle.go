package trace

import (
	"encoding/binary"
	"fmt"
	"math"
)

// An oracleGeneral record, little endian: time in seconds (4 bytes), key (8), size (4), number of the next request of the
// same key, counted from 0 over the whole trace, or a value that says that there is none (8).
const oracleRecord = 24

// farthest bounds the numbers of requests: a text taken for oracleGeneral has others.
const farthest = 1 << 48

// oracle reads oracleGeneral. The last member makes sure that it is that: it is never before the record itself.
func (r *reader) oracle() error {
	if err := r.withTimes(true); err != nil {
		return err
	}
	if r.opt.Weights {
		r.batch.Sizes = make([]uint32, 0, batchSize)
	}
	for {
		for r.end-r.start >= oracleRecord {
			if err := r.records(); err != nil {
				return err
			}
		}
		more, err := r.fill()
		if err != nil {
			return err
		}
		if !more {
			if r.start != r.end {
				return r.noRecord("cut after %d bytes of the record", r.end-r.start)
			}
			return nil
		}
	}
}

// records adds the whole records of the buffer, as many as the batch has room for.
func (r *reader) records() error {
	from := len(r.batch.Keys)
	n := min((r.end-r.start)/oracleRecord, cap(r.batch.Keys)-from)
	keys, at := r.batch.Keys[from:from+n], r.batch.At[from:from+n]
	part, line, last := r.buf[r.start:r.start+n*oracleRecord], r.line, r.last
	for i := range keys {
		b := part[i*oracleRecord:][:oracleRecord]
		next, time := int64(binary.LittleEndian.Uint64(b[16:])), int64(binary.LittleEndian.Uint32(b))*1_000_000_000
		if next != -1 && (next <= line && next >= 0 || next < -2 || next >= farthest && next != math.MaxInt64) {
			r.start, r.line = r.start+i*oracleRecord, line
			return r.noRecord("the next request of the key is said to be %d, which is no request behind it", next)
		}
		if time < last && r.opt.Times {
			r.start, r.line = r.start+i*oracleRecord, line
			return r.timeBack()
		}
		last = time
		line++
		keys[i], at[i] = binary.LittleEndian.Uint64(b[4:]), time
	}
	if r.opt.Weights {
		for i := range n {
			r.batch.Sizes = append(r.batch.Sizes, binary.LittleEndian.Uint32(part[i*oracleRecord+12:]))
		}
	}
	r.start, r.line, r.last = r.start+n*oracleRecord, line, last
	r.batch.Keys, r.batch.At = r.batch.Keys[:from+n], r.batch.At[:from+n]
	if from+n == cap(r.batch.Keys) {
		return r.flush()
	}
	return nil
}

func (r *reader) noRecord(format string, v any) error {
	return badFormat{at: r.position(), what: fmt.Sprintf(format, v), expected: "oracleGeneral: records of 24 bytes (time, key, size, next request)"}
}

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
			record := r.line
			b := r.buf[r.start : r.start+oracleRecord]
			next := int64(binary.LittleEndian.Uint64(b[16:]))
			if next <= record && next >= 0 || next < -2 || next >= farthest && next != math.MaxInt64 {
				return badFormat{at: r.position(), what: fmt.Sprintf("the next request of the key is said to be %d, which is no request behind it", next),
					expected: "oracleGeneral: records of 24 bytes (time, key, size, next request)"}
			}
			at := int64(binary.LittleEndian.Uint32(b)) * 1_000_000_000
			key := binary.LittleEndian.Uint64(b[4:])
			if r.opt.Weights {
				r.batch.Sizes = append(r.batch.Sizes, binary.LittleEndian.Uint32(b[12:]))
			}
			if err := r.add(key, at); err != nil {
				return err
			}
			r.start += oracleRecord
			r.line++
		}
		more, err := r.fill()
		if err != nil {
			return err
		}
		if !more {
			if r.start != r.end {
				return badFormat{at: r.position(), what: fmt.Sprintf("cut after %d bytes of the record", r.end-r.start),
					expected: "oracleGeneral: records of 24 bytes (time, key, size, next request)"}
			}
			return nil
		}
	}
}

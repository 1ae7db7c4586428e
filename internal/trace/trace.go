// Package trace reads key traces: which key was asked for, request after request. It knows plain lists, CSV and libCacheSim's
// oracleGeneral, each plain or compressed with gzip or zstd (told by the first bytes).
//
// Memory is bounded whatever the file: 200 KB of buffers, 150 KB of requests, and up to 136 MB for the window of a zstd stream (Options.Window and 8 MB).
package trace

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"strings"
	"unicode/utf8"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/internal/fault"
)

// The formats. Auto tells by the name and the beginning of the file.
const (
	Auto   = ""
	Plain  = "plain"  // a key on each line, or "time key size"
	CSV    = "csv"    // a header that names the columns, at least "key"
	Oracle = "oracle" // oracleGeneral: records of 24 bytes
)

// Formats lists what Options.Format may be.
func Formats() []string { return []string{Plain, CSV, Oracle} }

// Limits.
const (
	MaxLine    = 64 << 10  // bytes of a line
	maxWindow  = 128 << 20 // bytes of a zstd window, what zstd --long makes
	bufferSize = 96 << 10
	batchSize  = 4 << 10 // requests; few enough to leave the processor's cache to those who count them
)

// Options say what is read.
type Options struct {
	Name    string // of the file, for errors and for telling the format
	Format  string
	Times   bool // times are needed: it is an error if there are none, or if they go back
	Weights bool // sizes, lifetimes and costs are wanted
	Window  int  // bytes that the window of a zstd stream may have; 128 MB where it is 0
}

// Batch is a run of requests; it is used again after emit has returned.
//
// A key that is a decimal number below 2^64, written without leading zeros, is that number. Any other text is a 64-bit
// hash of its bytes: two of 10 million such keys are taken for one with a probability of three in a million.
type Batch struct {
	Keys []uint64
	At   []int64 // nanoseconds since the trace's own zero; nil where it has no times
	// Only with Options.Weights, and nil where the trace does not tell:
	Sizes []uint32  // bytes
	TTL   []int64   // lifetime, nanoseconds; 0 for none
	Cost  []float32 // of a miss, in the trace's own unit
}

// Info says what was read.
type Info struct {
	Format   string
	Times    bool
	Requests int64
	Bytes    int64 // uncompressed
}

// Read hands all requests of a trace to emit, in batches. It returns early with what emit returns or when ctx is done. Any
// other error is a *fault.Error that names the line or record and the byte, counted in the uncompressed text.
func Read(ctx context.Context, from io.Reader, opt Options, emit func(Batch) error) (Info, error) {
	r := &reader{ctx: ctx, opt: opt, emit: emit, buf: make([]byte, bufferSize)}
	plain, done, err := decompress(from, cmp.Or(opt.Window, maxWindow))
	if err == nil {
		defer done()
		r.from = plain
		err = r.read()
	}
	var stopped stop
	switch {
	case err == nil:
	case errors.As(err, &stopped):
		err = stopped.error
	default:
		err = r.fault(err)
	}
	return r.info, err
}

// stop is an error that is not the trace's.
type stop struct{ error }

// badFormat is an error in the text, at a place.
type badFormat struct {
	at       string
	what     string
	expected string
}

func (b badFormat) Error() string { return b.at + ": " + b.what }

func (r *reader) fault(err error) *fault.Error {
	f := &fault.Error{What: "cannot read trace " + r.opt.Name, Cause: err, Retry: fault.RetryUseless,
		Expected: "a whole trace: plain, CSV or oracleGeneral, uncompressed, gzip or zstd"}
	var bad badFormat
	if errors.As(err, &bad) {
		if bad.expected != "" {
			f.Expected = bad.expected
		}
		if r.opt.Format == Auto && r.info.Format != "" {
			f.Try = "--format, if this is not " + r.info.Format + " as it seems: " + strings.Join(Formats(), ", ")
		}
		return f
	}
	f.Cause = fmt.Errorf("after %d requests, at byte %d: %w", r.info.Requests+int64(len(r.batch.Keys)), r.offset+int64(r.end), err)
	if errors.Is(err, io.ErrUnexpectedEOF) {
		f.Cause = fmt.Errorf("after %d requests, at byte %d: the compressed file is cut", r.info.Requests+int64(len(r.batch.Keys)), r.offset+int64(r.end))
	}
	f.Try = "another copy of the file"
	if errors.Is(err, zstd.ErrWindowSizeExceeded) {
		f.Cause = fmt.Errorf("the window of its zstd stream is larger than %d MB", cmp.Or(r.opt.Window, maxWindow)>>20)
		f.Try = "more memory, or compress it again without --long or --ultra"
	}
	return f
}

// reader is a window over the text: buf[start:end] is not yet used.
type reader struct {
	ctx        context.Context
	from       io.Reader
	opt        Options
	emit       func(Batch) error
	buf        []byte
	start, end int
	offset     int64 // of buf[0]
	eof        bool
	line       int64 // lines used up, the one in work included; records used up
	batch      Batch
	last       int64 // time of the last request
	info       Info
}

// fill moves what is left to the front and reads more; false at the end of the text.
func (r *reader) fill() (bool, error) {
	if r.eof {
		return false, nil
	}
	if r.start > 0 {
		copy(r.buf, r.buf[r.start:r.end])
		r.offset += int64(r.start)
		r.end -= r.start
		r.start = 0
	}
	for tries := 0; r.end < len(r.buf); tries++ {
		n, err := r.from.Read(r.buf[r.end:])
		r.end += n
		r.info.Bytes += int64(n)
		if errors.Is(err, io.EOF) {
			r.eof = true
			return n > 0, nil
		}
		if err != nil {
			return false, err
		}
		if n > 0 {
			return true, nil
		}
		if tries == 100 {
			return false, io.ErrNoProgress
		}
	}
	return false, errors.New("the buffer is full")
}

func (r *reader) read() error {
	for r.end < 4096 && !r.eof {
		if _, err := r.fill(); err != nil {
			return err
		}
	}
	if r.end == 0 {
		return badFormat{at: "at byte 0", what: "the trace is empty", expected: "at least one request"}
	}
	r.info.Format = r.opt.Format
	if r.opt.Format == Auto {
		r.info.Format = guess(r.opt.Name, r.buf[:r.end])
	}
	r.batch.Keys = make([]uint64, 0, batchSize)
	var err error
	switch r.info.Format {
	case Plain:
		err = r.plain()
	case CSV:
		err = r.csv()
	case Oracle:
		err = r.oracle()
	default:
		return badFormat{at: "--format " + r.opt.Format, what: "there is no such format", expected: strings.Join(Formats(), ", ")}
	}
	if err != nil {
		return err
	}
	if err := r.flush(); err != nil {
		return err
	}
	if r.info.Requests == 0 {
		return badFormat{at: fmt.Sprintf("at byte %d", r.offset+int64(r.start)), what: "the trace ends without a request", expected: "at least one request"}
	}
	return nil
}

// flush hands the batch on.
func (r *reader) flush() error {
	if err := r.ctx.Err(); err != nil {
		return stop{err}
	}
	if len(r.batch.Keys) == 0 {
		return nil
	}
	r.info.Requests += int64(len(r.batch.Keys))
	if err := r.emit(r.batch); err != nil {
		return stop{err}
	}
	r.batch.Keys = r.batch.Keys[:0]
	if r.batch.At != nil {
		r.batch.At = r.batch.At[:0]
	}
	r.batch.Sizes, r.batch.TTL, r.batch.Cost = r.batch.Sizes[:0], r.batch.TTL[:0], r.batch.Cost[:0]
	return nil
}

// withTimes is called once, when it is known whether the trace has times.
func (r *reader) withTimes(has bool) error {
	r.info.Times = has
	if has {
		r.batch.At = make([]int64, 0, batchSize)
	} else if r.opt.Times {
		return badFormat{at: r.position(), what: "this trace has no times", expected: `times: lines "time key size", a CSV column "time", or oracleGeneral`}
	}
	return nil
}

// add appends one request.
func (r *reader) add(key uint64, at int64) error {
	if r.info.Times {
		if at < r.last && r.opt.Times {
			return r.timeBack()
		}
		r.last = at
		r.batch.At = append(r.batch.At, at)
	}
	r.batch.Keys = append(r.batch.Keys, key)
	if len(r.batch.Keys) == cap(r.batch.Keys) {
		return r.flush()
	}
	return nil
}

func (r *reader) timeBack() error {
	return badFormat{at: r.position(), what: "the time goes back", expected: "requests in the order of their times"}
}

// guess tells the format: oracleGeneral by its name or by bytes that are no text, CSV by a comma in the first line.
func guess(name string, head []byte) string {
	if i := strings.LastIndexAny(name, `/\`); i >= 0 {
		name = name[i+1:]
	}
	name = strings.ToLower(name)
	if strings.Contains(name, ".oraclegeneral") {
		return Oracle
	}
	for i, c := range head {
		if c < ' ' && c != '\t' && c != '\r' && c != '\n' {
			return Oracle
		}
		if c >= utf8.RuneSelf && !utf8.FullRune(head[i:]) {
			break
		}
	}
	if !utf8.Valid(head[:len(head)-cutRune(head)]) {
		return Oracle
	}
	line, _, _ := bytes.Cut(bytes.TrimLeft(head, "\r\n"), []byte{'\n'})
	if bytes.IndexByte(line, ',') >= 0 {
		return CSV
	}
	return Plain
}

// cutRune is how many bytes at the end may be the beginning of a character.
func cutRune(head []byte) int {
	for n := 1; n < utf8.UTFMax && n <= len(head); n++ {
		if c := head[len(head)-n]; utf8.RuneStart(c) {
			if c >= utf8.RuneSelf && !utf8.FullRune(head[len(head)-n:]) {
				return n
			}
			return 0
		}
	}
	return 0
}

// decompress tells gzip and zstd by their first bytes.
func decompress(from io.Reader, window int) (io.Reader, func(), error) {
	magic := make([]byte, 4)
	n, err := io.ReadFull(from, magic)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return nil, nil, err
	}
	in := io.MultiReader(bytes.NewReader(magic[:n]), from)
	switch {
	case n >= 2 && magic[0] == 0x1f && magic[1] == 0x8b:
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return z, func() {}, nil
	case bytes.Equal(magic[:n], []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxWindow(uint64(window)))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

// keyOf turns the text of a key into a number, as Batch says.
func keyOf(text []byte) uint64 {
	if key, ok := decimal(text); ok {
		return key
	}
	return hash(text)
}

// decimal reads a number below 2^64 in its shortest form.
func decimal(text []byte) (uint64, bool) {
	if len(text) == 0 || len(text) > 20 || text[0] == '0' && len(text) > 1 {
		return 0, false
	}
	v := uint64(0)
	for i, c := range text {
		d := uint64(c - '0')
		if d > 9 {
			return 0, false
		}
		if i == 19 {
			hi, lo := bits.Mul64(v, 10)
			sum, carry := bits.Add64(lo, d, 0)
			return sum, hi == 0 && carry == 0
		}
		v = v*10 + d
	}
	return v, true
}

// hash folds eight bytes at a time. It is the same in every run, so that a sample by key is too.
func hash(text []byte) uint64 {
	h := uint64(len(text)) ^ 0x2d358dccaa6c78a5
	for len(text) > 0 {
		var word uint64
		n := min(len(text), 8)
		for i := range n {
			word |= uint64(text[i]) << (8 * i)
		}
		text = text[n:]
		hi, lo := bits.Mul64(h^word, 0x8bb84b93962eacc9)
		h = hi ^ lo ^ bits.RotateLeft64(h, 29)
	}
	hi, lo := bits.Mul64(h^0x4b33a62ed433d4a3, 0x4d5a2da51de1aa47)
	return hi ^ lo
}

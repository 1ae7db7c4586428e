// Package importer turns files that others wrote into events.
package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"

	"github.com/demarc-dev/demarc/event"
)

// batchEvents is how many events are handed on at a time.
const batchEvents = 512

// Counts says what was read of one input.
type Counts struct {
	Lines  int64 // with content
	Events int64
	Bad    int64 // lines that are no event
	Bytes  int64 // of the input as it is stored, compressed or not
}

// JSONL reads event JSON Lines, plain or compressed by gzip or zstd (told by the first bytes), and hands the events to
// emit in batches that are used again. Empty lines are passed over; bad is called for each line that is not an event, with
// its number from 1, and the rest is read. It returns early with what emit or bad returns, with the error of reading
// (a compressed input that is cut, for instance), or when ctx is done. Memory: the longest line, at most event.MaxLine
// (a longer line is bad), one batch, and 8 MB of a zstd window.
func JSONL(ctx context.Context, from io.Reader, emit func([]event.Event) error, bad func(line int64, err error) error) (Counts, error) {
	var c Counts
	counted := &counter{r: from, n: &c.Bytes}
	plain, done, err := decompress(bufio.NewReaderSize(counted, 64<<10))
	if err != nil {
		return c, err
	}
	defer done()
	in := bufio.NewReaderSize(plain, 256<<10)
	batch := make([]event.Event, 0, batchEvents)
	flush := func() error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if len(batch) == 0 {
			return nil
		}
		err := emit(batch)
		clear(batch)
		batch = batch[:0]
		return err
	}
	var long []byte
	for number := int64(1); ; number++ {
		line, tooLong, readErr := readLine(in, &long)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			return c, errors.Join(flush(), readErr)
		}
		if tooLong || len(bytes.TrimSpace(line)) > 0 {
			c.Lines++
			var e event.Event
			err := fmt.Errorf("longer than %d bytes", event.MaxLine)
			if !tooLong {
				e, err = event.ParseJSON(line)
			}
			if err != nil {
				c.Bad++
				if err := bad(number, err); err != nil {
					return c, err
				}
			} else {
				c.Events++
				if batch = append(batch, e); len(batch) == batchEvents {
					if err := flush(); err != nil {
						return c, err
					}
				}
			}
		}
		if readErr != nil {
			return c, flush()
		}
	}
}

// readLine returns the next line without its end; valid until the next call. Of a line that is too long it says so and
// passes over it.
func readLine(in *bufio.Reader, long *[]byte) (line []byte, tooLong bool, err error) {
	line, err = in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) {
		*long = (*long)[:0]
		for errors.Is(err, bufio.ErrBufferFull) {
			if tooLong = tooLong || len(*long)+len(line) > event.MaxLine; !tooLong {
				*long = append(*long, line...)
			}
			line, err = in.ReadSlice('\n')
		}
		if tooLong = tooLong || len(*long)+len(line) > event.MaxLine+1; !tooLong {
			*long = append(*long, line...)
		}
		line = *long
	}
	return bytes.TrimSuffix(line, []byte{'\n'}), tooLong, err
}

// counter counts the bytes read.
type counter struct {
	r io.Reader
	n *int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	*c.n += int64(n)
	return n, err
}

// maxWindow is the largest zstd window that is accepted, in bytes.
const maxWindow = 8 << 20

func decompress(in *bufio.Reader) (io.Reader, func(), error) {
	magic, err := in.Peek(4)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, nil, err
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, nil, fmt.Errorf("gzip: %w", err)
		}
		return z, func() {}, nil
	case bytes.HasPrefix(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(in, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, nil, fmt.Errorf("zstd: %w", err)
		}
		return z, z.Close, nil
	}
	return in, func() {}, nil
}

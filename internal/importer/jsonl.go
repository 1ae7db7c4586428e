package importer

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"

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

// JSONL reads event JSON Lines and hands the events to emit in batches that are used again. Empty lines are passed over;
// bad is called for each line that is not an event, with its number from 1, and the rest is read. It returns early with
// what emit or bad returns, with the error of reading (a compressed input that is cut, for instance), or when ctx is done.
// Memory: the longest line, at most event.MaxLine (a longer line is bad), one batch, and that of the Input.
func (f *Input) JSONL(ctx context.Context, emit func([]event.Event) error, bad func(line int64, err error) error) (c Counts, err error) {
	defer func() { c.Bytes = f.Bytes() }()
	in := f.in
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

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
	Lines   int64 // with content; entries of a HAR
	Events  int64
	Bad     int64 // lines or entries that are no event
	Skipped int64 // those that tell of something else than what is wanted: another host, what the browser's own cache answered
	Bytes   int64 // of the input as it is stored, compressed or not
}

// errSkip is returned for what is well formed and not wanted.
var errSkip = errors.New("not wanted")

// JSONL reads event JSON Lines and hands the events to emit in batches that are used again. Empty lines are passed over;
// bad is called for each line that is not an event, with its number from 1, and the rest is read. It returns early with
// what emit or bad returns, with the error of reading (a compressed input that is cut, for instance), or when ctx is done.
// Memory: the longest line, at most event.MaxLine (a longer line is bad), one batch, and that of the Input.
func (f *Input) JSONL(ctx context.Context, emit func([]event.Event) error, bad func(line int64, err error) error) (Counts, error) {
	return f.lines(&batcher{ctx: ctx, emit: emit, bad: bad}, event.ParseJSON)
}

// batcher collects events for emit, and counts.
type batcher struct {
	ctx    context.Context
	emit   func([]event.Event) error
	bad    func(number int64, err error) error
	batch  []event.Event
	counts Counts
}

// take puts in one line or entry: its event, or why there is none.
func (b *batcher) take(number int64, e event.Event, err error) error {
	b.counts.Lines++
	switch {
	case errors.Is(err, errSkip):
		b.counts.Skipped++
		return nil
	case err != nil:
		b.counts.Bad++
		return b.bad(number, err)
	}
	b.counts.Events++
	if b.batch = append(b.batch, e); len(b.batch) == batchEvents {
		return b.flush()
	}
	return nil
}

func (b *batcher) flush() error {
	if err := b.ctx.Err(); err != nil {
		return err
	}
	if len(b.batch) == 0 {
		return nil
	}
	err := b.emit(b.batch)
	clear(b.batch)
	b.batch = b.batch[:0]
	return err
}

// lines reads a line at a time.
func (f *Input) lines(b *batcher, parse func(line []byte) (event.Event, error)) (Counts, error) {
	count := func() Counts {
		b.counts.Bytes = f.Bytes()
		return b.counts
	}
	var long []byte
	for number := int64(1); ; number++ {
		line, tooLong, readErr := readLine(f.in, &long)
		if readErr != nil && !errors.Is(readErr, io.EOF) {
			err := errors.Join(b.flush(), readErr)
			return count(), err
		}
		if tooLong || len(bytes.TrimSpace(line)) > 0 {
			var e event.Event
			err := fmt.Errorf("longer than %d bytes", event.MaxLine)
			if !tooLong {
				e, err = parse(line)
			}
			if err := b.take(number, e, err); err != nil {
				return count(), err
			}
		}
		if readErr != nil {
			err := b.flush()
			return count(), err
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

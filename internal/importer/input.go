// Package importer turns files that others wrote into events.
package importer

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
)

// Form is what a file holds, told by how it begins.
type Form string

// The forms. Events is also what is neither of the others.
const (
	Events        Form = "events"     // event JSON Lines
	SpansJSON     Form = "otlp-json"  // spans of OpenTelemetry
	SpansProtobuf Form = "otlp-proto" // the same in protobuf
)

// Input is a file being read: decompressed, where gzip or zstd wrote it (told by the first bytes). Memory: 320 kB, and 8 MB
// of a zstd window.
type Input struct {
	Form  Form
	in    *bufio.Reader
	read  *counter
	close func()
}

// Open looks at the beginning of a file. Close lets go of the decompressor, not of the file.
func Open(from io.Reader) (*Input, error) {
	f := &Input{read: &counter{r: from}}
	plain, done, err := decompress(bufio.NewReaderSize(f.read, 64<<10))
	if err != nil {
		return nil, err
	}
	f.in, f.close = bufio.NewReaderSize(plain, 256<<10), done
	head, err := f.in.Peek(4096)
	if err != nil && !errors.Is(err, io.EOF) && len(head) == 0 {
		done()
		return nil, err
	}
	f.Form = formOf(head)
	return f, nil
}

// Read reads the decompressed file from where it is.
func (f *Input) Read(p []byte) (int, error) { return f.in.Read(p) }

// Bytes is how much was read of the file as it is stored, compressed or not.
func (f *Input) Bytes() int64 { return f.read.n }

// Close lets go of the decompressor.
func (f *Input) Close() { f.close() }

// formOf tells the form by the beginning of a file: protobuf begins with its field 1, or with a length of up to 64 MiB as
// four bytes, and has bytes that no text has; spans in JSON are an object whose first member is resourceSpans.
func formOf(head []byte) Form {
	if len(head) > 0 && (head[0] == 1<<3|2 || head[0] <= 4) {
		for _, b := range head {
			if b < ' ' && b != '\n' && b != '\r' && b != '\t' {
				return SpansProtobuf
			}
		}
	}
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(head), []byte("{"))
	if rest = bytes.TrimSpace(rest); ok && (bytes.HasPrefix(rest, []byte(`"resourceSpans"`)) || bytes.HasPrefix(rest, []byte(`"resource_spans"`))) {
		return SpansJSON
	}
	return Events
}

// counter counts the bytes read.
type counter struct {
	r io.Reader
	n int64
}

func (c *counter) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n += int64(n)
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

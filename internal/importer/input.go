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

	"github.com/demarc-dev/demarc/event"
)

// Form is what a file holds, told by how it begins.
type Form string

// The forms. Events is also what is none of the others.
const (
	Events        Form = "events"      // event JSON Lines
	SpansJSON     Form = "otlp-json"   // spans of OpenTelemetry
	SpansProtobuf Form = "otlp-proto"  // the same in protobuf
	HAR           Form = "har"         // HTTP Archive 1.2
	Access        Form = "access"      // access log, lines of text: common, combined, gunicorn, uvicorn
	AccessJSON    Form = "access-json" // access log, a JSON object a line: Caddy, nginx, gunicorn, uvicorn
)

// Forms lists all forms.
func Forms() []string {
	var list []string
	for _, f := range []Form{Events, SpansJSON, SpansProtobuf, HAR, Access, AccessJSON} {
		list = append(list, string(f))
	}
	return list
}

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
	head, err := f.in.Peek(headSize)
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

// headSize is how much of a file its form is told by, in bytes.
const headSize = 128 << 10

// formOf tells the form by the beginning of a file: protobuf begins with its field 1, or with a length of up to 64 MiB as
// four bytes, and has bytes that no text has; spans in JSON are an object whose first member is resourceSpans, a HAR one whose first member is log, an object itself. Else the
// first line that can be read decides.
func formOf(head []byte) Form {
	if len(head) > 0 && (head[0] == 1<<3|2 || head[0] <= 4) {
		for _, b := range head[:min(len(head), 4096)] {
			if b < ' ' && b != '\n' && b != '\r' && b != '\t' {
				return SpansProtobuf
			}
		}
	}
	rest, ok := bytes.CutPrefix(bytes.TrimSpace(bytes.TrimPrefix(head, bom)), []byte("{"))
	if rest = bytes.TrimSpace(rest); ok && (bytes.HasPrefix(rest, []byte(`"resourceSpans"`)) || bytes.HasPrefix(rest, []byte(`"resource_spans"`))) {
		return SpansJSON
	}
	if rest, ok := bytes.CutPrefix(rest, []byte(`"log"`)); ok {
		if rest, ok := bytes.CutPrefix(bytes.TrimSpace(rest), []byte(":")); ok && bytes.HasPrefix(bytes.TrimSpace(rest), []byte("{")) {
			return HAR
		}
	}
	for n := 0; n < tried && len(head) > 0; {
		line, rest, _ := bytes.Cut(head, []byte("\n"))
		head = rest
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		n++
		if _, err := event.ParseJSON(line); err == nil {
			return Events
		}
		if line = bytes.TrimPrefix(line, bom); len(line) > 0 && line[0] == '{' {
			if _, known := readJSONLine(line); known {
				return AccessJSON
			}
		} else if _, known := readTextLine(string(line)); known {
			return Access
		}
	}
	return Events
}

// tried is how many lines are looked at.
const tried = 50

// bom is what some editors put before UTF-8.
var bom = []byte("\ufeff")

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

package otlp

import (
	"bufio"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
)

// Format is the form of a file of spans.
type Format string

// The forms of files. JSON is one message, or several one after the other (as the Collector writes them, one a line).
// Protobuf is one message, or several, each behind its length as four bytes, big end first.
const (
	JSON     Format = "json"
	Protobuf Format = "proto"
)

// DecodeFile reads spans from a file and gives their events to the sink, one message at a time; at most one message of
// MaxFileMessage bytes is held. An error names the message (from 1) and the byte in it; what was read before stays
// with the sink, and is in the counts.
func DecodeFile(from io.Reader, format Format, o Options, sink Sink) (Counts, error) {
	d, err := newDecoder(o)
	if err != nil {
		return Counts{}, err
	}
	how, next := decode(decodeProto), (func() ([]byte, error))(nil)
	switch format {
	case JSON:
		how, next = decodeJSON, jsonMessages(from)
	case Protobuf:
		next = protoMessages(from)
	default:
		return Counts{}, fmt.Errorf("format %q: json or proto was expected", format)
	}
	var total Counts
	for n := 1; ; n++ {
		msg, err := next()
		if errors.Is(err, io.EOF) {
			return total, nil
		}
		if err != nil {
			return total, fmt.Errorf("message %d: %w", n, err)
		}
		counts, err := d.run(how, msg, sink)
		if err != nil {
			return total, fmt.Errorf("message %d: %w", n, err)
		}
		total.add(counts)
	}
}

var errTooLong = fmt.Errorf("longer than %d bytes", MaxFileMessage)

// allowance passes on what it reads until left is used up.
type allowance struct {
	from io.Reader
	left int
}

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLong
	}
	n, err := a.from.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

func jsonMessages(from io.Reader) func() ([]byte, error) {
	limited := &allowance{from: from}
	dec := json.NewDecoder(limited)
	return func() ([]byte, error) {
		limited.left = MaxFileMessage
		var raw json.RawMessage
		err := dec.Decode(&raw)
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			return nil, fmt.Errorf("byte %d of the file: not JSON: %w", syntax.Offset, err)
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			return nil, errors.New("cut short: the file ends inside a JSON value")
		}
		return raw, err
	}
}

// protoMessages tells the two forms apart by the first byte: a bare message begins with its field 1, 0x0a, and as the
// first byte of a length that would be more than MaxFileMessage.
func protoMessages(from io.Reader) func() ([]byte, error) {
	r := bufio.NewReaderSize(from, 64<<10)
	bare, first := false, true
	return func() ([]byte, error) {
		head, err := r.Peek(4)
		if len(head) == 0 {
			if errors.Is(err, io.EOF) {
				return nil, io.EOF
			}
			return nil, err
		}
		if first {
			bare, first = head[0] == 1<<3|wireLen, false
		}
		if bare {
			msg, err := io.ReadAll(io.LimitReader(r, MaxFileMessage+1))
			if err == nil && len(msg) > MaxFileMessage {
				err = errTooLong
			}
			return msg, err
		}
		if len(head) < 4 {
			return nil, errors.New("cut short: the file ends inside a length")
		}
		n := binary.BigEndian.Uint32(head)
		if n > MaxFileMessage {
			return nil, fmt.Errorf("a length of %d bytes, at most %d are read: not a file of OTLP spans in protobuf, or damaged", n, MaxFileMessage)
		}
		if _, err := r.Discard(4); err != nil {
			return nil, err
		}
		// Read in steps, so that a false length does not take the memory before the bytes are there.
		msg, err := io.ReadAll(io.LimitReader(r, int64(n)))
		if err == nil && len(msg) < int(n) {
			err = fmt.Errorf("cut short: %d of %d bytes are there", len(msg), n)
		}
		return msg, err
	}
}

package command

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"unicode"
	"unicode/utf8"
)

// output takes what a command writes: masks it, keeps its end, writes it into the log as far as that has room, and hands
// it on. It never fails and never blocks for long, so that the command is not held up by it.
type output struct {
	mask  *Masker
	log   *os.File
	to    io.Writer
	bytes int64
	tail  ring
	end   *ring  // of the log, once its head is full
	why   string // the log is not whole
}

func newOutput(s Spec, secrets [][]byte) (*output, error) {
	o := &output{to: s.Output, tail: ring{max: s.Tail}}
	if o.tail.max <= 0 {
		o.tail.max = DefaultTail
	}
	o.mask = NewMasker(writerFunc(o.masked), secrets)
	if s.Log != "" {
		var err error
		if o.log, err = os.OpenFile(s.Log, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600); err != nil {
			return nil, fmt.Errorf("the log: %w", err)
		}
	}
	return o, nil
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

// Write takes output as it comes.
func (o *output) Write(p []byte) (int, error) { return o.mask.Write(p) }

func (o *output) masked(p []byte) (int, error) {
	before := o.bytes
	o.bytes += int64(len(p))
	o.tail.write(p)
	if o.to != nil {
		if _, err := o.to.Write(p); err != nil {
			o.to = nil
		}
	}
	if o.log != nil {
		head := p[:min(int64(len(p)), max(0, LogHead-before))]
		if len(head) > 0 && o.why == "" {
			if _, err := o.log.Write(head); err != nil {
				o.failed(err)
			}
		}
		if rest := p[len(head):]; len(rest) > 0 {
			if o.end == nil {
				o.end = &ring{max: LogTail}
			}
			o.end.write(rest)
		}
	}
	return len(p), nil
}

func (o *output) failed(err error) {
	var pe *os.PathError
	if errors.As(err, &pe) {
		err = pe.Err
	}
	if o.why == "" {
		o.why = err.Error()
	}
}

// finish writes what was held back and fills in the result.
func (o *output) finish(r *Result) {
	_ = o.mask.Flush()
	r.Bytes = o.bytes
	r.Tail = plain(o.tail.bytes())
	if o.log == nil {
		return
	}
	r.Log = o.log.Name()
	if o.end != nil {
		end := o.end.bytes()
		if left := o.bytes - LogHead - int64(len(end)); left > 0 {
			r.Truncated = left
			if _, err := fmt.Fprintf(o.log, "\n[demarc: %d bytes are left out here]\n", left); err != nil {
				o.failed(err)
			}
		}
		if _, err := o.log.Write(end); err != nil {
			o.failed(err)
		}
	}
	if err := o.log.Sync(); err != nil {
		o.failed(err)
	}
	r.LogFailure = o.why
}

func (o *output) close() {
	if o.log != nil {
		o.log.Close()
	}
}

// ring keeps the last max bytes.
type ring struct {
	max  int
	data []byte
	next int // where the oldest byte is, once data is full
}

func (r *ring) write(p []byte) {
	if len(p) >= r.max {
		r.data, r.next = append(r.data[:0], p[len(p)-r.max:]...), 0
		return
	}
	if room := r.max - len(r.data); room > 0 {
		n := min(room, len(p))
		r.data = append(r.data, p[:n]...)
		p = p[n:]
	}
	for len(p) > 0 {
		n := copy(r.data[r.next:], p)
		r.next = (r.next + n) % r.max
		p = p[n:]
	}
}

func (r *ring) bytes() []byte {
	out := make([]byte, 0, len(r.data))
	return append(append(out, r.data[r.next:]...), r.data[:r.next]...)
}

// plain makes text of output that can be printed and kept in a file of text: terminal control goes, a line that was
// written over with carriage returns keeps its last state, what is not UTF-8 becomes U+FFFD.
func plain(p []byte) string {
	for i := 0; i < utf8.UTFMax-1 && len(p) > 0 && !utf8.RuneStart(p[0]); i++ {
		p = p[1:] // the end of a letter whose beginning was dropped
	}
	var b strings.Builder
	line := 0 // where the last line begins in b
	text := strings.ToValidUTF8(string(p), "�")
	for i := 0; i < len(text); {
		c, n := utf8.DecodeRuneInString(text[i:])
		switch {
		case c == 0x1b:
			i += escape(text[i:])
			continue
		case c == '\n':
			b.WriteByte('\n')
			line = b.Len()
		case c == '\r':
			if rest := text[i+1:]; rest != "" && rest[0] != '\n' && rest[0] != '\r' {
				kept := b.String()[:line]
				b.Reset()
				b.WriteString(kept)
			}
		case c == '\t' || !unicode.IsControl(c):
			b.WriteString(text[i : i+n])
		}
		i += n
	}
	return strings.TrimRight(b.String(), "\n\t ")
}

// escape returns the length of the terminal control sequence with which s begins.
func escape(s string) int {
	if len(s) < 2 {
		return len(s)
	}
	switch s[1] {
	case '[': // ends with a byte from @ to ~
		for i := 2; i < len(s); i++ {
			if s[i] >= 0x40 && s[i] <= 0x7e {
				return i + 1
			}
		}
		return len(s)
	case ']': // ends with BEL or ESC \
		for i := 2; i < len(s); i++ {
			if s[i] == 7 {
				return i + 1
			}
			if s[i] == 0x1b {
				return min(i+2, len(s))
			}
			if s[i] == '\n' {
				return i
			}
		}
		return len(s)
	}
	return 2
}

package logwatch

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"time"
)

// pollPause is how long Follow waits before it looks again.
const pollPause = 200 * time.Millisecond

// Lines cuts what is written to it into lines and hands each one on, cut to MaxLine bytes. A line that has not ended is
// held back. Memory: MaxLine.
type Lines struct {
	Each func(line string)
	part []byte
	skip bool // the rest of a line that was cut
}

// Write takes bytes. It never fails.
func (l *Lines) Write(p []byte) (int, error) {
	n := len(p)
	for len(p) > 0 {
		i := bytes.IndexByte(p, '\n')
		piece := p
		if i >= 0 {
			piece, p = p[:i], p[i+1:]
		} else {
			p = nil
		}
		if room := MaxLine - len(l.part); !l.skip {
			l.part = append(l.part, piece[:min(len(piece), room)]...)
			l.skip = len(piece) > room
		}
		if i >= 0 {
			l.Each(string(l.part))
			l.part, l.skip = l.part[:0], false
		}
	}
	return n, nil
}

// Flush hands on a last line without an end.
func (l *Lines) Flush() {
	if len(l.part) > 0 {
		l.Each(string(l.part))
	}
	l.part, l.skip = l.part[:0], false
}

// File is a log file that is being followed.
type File struct {
	path  string
	f     *os.File
	at    int64
	start int64
	notes []string
}

// Open opens a log file for Follow, which begins where it ends now.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = errors.New("a regular file was expected")
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return &File{path: path, f: f, at: info.Size(), start: info.Size()}, nil
}

// Before writes what the file held before Follow began, at most the last max bytes of it from a line's beginning on, and
// returns how many bytes were left out.
func (l *File) Before(ctx context.Context, to io.Writer, max int64) (int64, error) {
	from := l.start - max
	if from < 0 {
		from = 0
	}
	left := from
	r := io.NewSectionReader(l.f, from, l.start-from)
	buf := make([]byte, 256<<10)
	begun := from == 0
	for {
		if err := ctx.Err(); err != nil {
			return left, err
		}
		n, err := r.Read(buf)
		p := buf[:n]
		if !begun {
			i := bytes.IndexByte(p, '\n')
			if i < 0 {
				left += int64(n)
				p = nil
			} else {
				left += int64(i) + 1
				p, begun = p[i+1:], true
			}
		}
		if len(p) > 0 {
			if _, err := to.Write(p); err != nil {
				return left, err
			}
		}
		if err == io.EOF {
			return left, nil
		}
		if err != nil {
			return left, err
		}
	}
}

// Follow writes what is appended to the file until the context ends, through rotation: a file that is renamed away is
// read to its end before the one that took its name is read from its beginning, and one that is cut to nothing is read
// from its beginning again. The error is one of the disk.
func (l *File) Follow(ctx context.Context, to io.Writer) error {
	buf := make([]byte, 256<<10)
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		last := ctx.Err() != nil // what was written until then is read still
		if err := l.drain(to, buf); err != nil {
			return err
		}
		if last {
			return nil
		}
		if err := l.turn(to, buf); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
	}
}

// drain reads from the open file what is there. At most maxDrain bytes, so that a log which grows faster than it is read
// does not hold the watch for ever.
func (l *File) drain(to io.Writer, buf []byte) error {
	for read := 0; read < maxDrain; {
		n, err := l.f.ReadAt(buf, l.at)
		l.at += int64(n)
		read += n
		if n > 0 {
			if _, err := to.Write(buf[:n]); err != nil {
				return err
			}
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
	return nil
}

const maxDrain = 64 << 20

// turn follows the name to another file, and a file that was cut to its beginning.
func (l *File) turn(to io.Writer, buf []byte) error {
	own, err := l.f.Stat()
	if err != nil {
		return err
	}
	if own.Size() < l.at {
		l.note(fmt.Sprintf("%s was cut and is read from its beginning", l.path))
		l.at = 0
	}
	now, err := os.Stat(l.path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // renamed away, and its successor is not there yet
	}
	if err != nil {
		return err
	}
	if os.SameFile(own, now) {
		return nil
	}
	next, err := os.Open(l.path)
	if err != nil {
		return err
	}
	if err := l.drain(to, buf); err != nil { // what was written between the last look and the renaming
		next.Close()
		return err
	}
	l.f.Close()
	l.f, l.at = next, 0
	l.note(l.path + " was rotated; the new file is followed")
	return nil
}

// maxNotes bounds the notes kept; a log may be rotated every second.
const maxNotes = 20

func (l *File) note(text string) {
	if len(l.notes) < maxNotes {
		l.notes = append(l.notes, text)
	}
}

// Notes says what happened to the file. It is not to be called while Follow runs.
func (l *File) Notes() []string { return l.notes }

// Close closes the file.
func (l *File) Close() error { return l.f.Close() }

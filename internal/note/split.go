package note

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
)

// splitLines hands on the lines of r that are not empty, each with the number of its line. A line beyond limit bytes is an error of
// that line alone; no more than limit bytes of it are kept. It returns how many lines were handed on.
func splitLines(r *bufio.Reader, limit int, each func(n int, data []byte, err error) error) (int, error) {
	handed := 0
	for n := 1; ; n++ {
		var line []byte
		size := 0
		var err error
		for {
			var part []byte
			part, err = r.ReadSlice('\n')
			if size += len(part); size <= limit {
				line = append(line, part...)
			} else {
				line = nil
			}
			if !errors.Is(err, bufio.ErrBufferFull) {
				break
			}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return handed, bare(err)
		}
		switch {
		case size > limit:
			handed++
			if e := each(n, nil, fmt.Errorf("the line has %d bytes, at most %d were expected", size, limit)); e != nil {
				return handed, e
			}
		case len(bytes.TrimSpace(line)) > 0:
			handed++
			if e := each(n, line, nil); e != nil {
				return handed, e
			}
		}
		if err != nil {
			return handed, nil
		}
	}
}

// splitJSON hands on the objects of r, which stand alone, one behind the other or in an array, each with its place from 1 on. An
// object beyond limit bytes or MaxNesting levels is an error of that object alone; no more than limit bytes of it are kept.
func splitJSON(r *bufio.Reader, limit int, each func(n int, data []byte, err error) error) (int, error) {
	n, depth, array := 0, 0, false
	inside, escape := false, false
	var data []byte
	size, deepest := 0, 0
	finish := func(err error) error {
		n++
		switch {
		case err != nil:
		case size > limit:
			err = fmt.Errorf("the object has %d bytes, at most %d were expected", size, limit)
		case deepest > MaxNesting:
			err = fmt.Errorf("the object has %d levels, at most %d were expected", deepest, MaxNesting)
		}
		kept := data
		if err != nil {
			kept = nil
		}
		data, size, deepest, depth, inside = nil, 0, 0, 0, false
		return each(n, kept, err)
	}
	junk := false
	for {
		c, err := r.ReadByte()
		if err != nil {
			if !errors.Is(err, io.EOF) {
				return n, bare(err)
			}
			switch {
			case depth > 0:
				return n, finish(errors.New("the file ends inside of the object"))
			case junk:
				return n, finish(errors.New("an object was expected"))
			}
			return n, nil
		}
		if depth == 0 {
			switch {
			case c == ' ' || c == '\t' || c == '\n' || c == '\r' || c == ',' || c == ']':
				if junk && (c == ',' || c == '\n' || c == ']') {
					junk = false
					if err := finish(errors.New("an object was expected")); err != nil {
						return n, err
					}
				}
				continue
			case c == '[' && !array && n == 0 && !junk:
				array = true
				continue
			case c != '{' && c != '[':
				junk = true
				continue
			}
			junk = false
		}
		if size++; size <= limit {
			data = append(data, c)
		} else {
			data = nil
		}
		switch {
		case escape:
			escape = false
		case inside && c == '\\':
			escape = true
		case c == '"':
			inside = !inside
		case inside:
		case c == '{' || c == '[':
			depth++
			deepest = max(deepest, depth)
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				if err := finish(nil); err != nil {
					return n, err
				}
			}
		}
	}
}

package command

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"slices"
	"strings"
)

// Masked stands where a secret stood.
const Masked = "***"

// Masker is a writer that hands on everything but secrets, wherever the borders between its writes lie. A secret goes as
// it is, in base64, as part of an address and as a JSON string; a longer line of one that has several goes by itself. Of
// two that overlap, every byte of both goes.
//
// It holds back at most the longest form of a secret less one byte, and nothing that cannot be the beginning of one.
type Masker struct {
	to      io.Writer
	forms   [][]byte
	longest int
	buf     []byte
	covered int  // bytes at the beginning of buf that belong to a secret found before
	open    bool // whether the last thing written was Masked, for a run that goes on
}

// NewMasker returns a Masker for secrets, of which those shorter than MinSecret are left as they are.
func NewMasker(to io.Writer, secrets [][]byte) *Masker {
	m := &Masker{to: to}
	seen := map[string]bool{}
	add := func(form string) {
		if len(form) >= MinSecret && !seen[form] {
			seen[form] = true
			m.forms = append(m.forms, []byte(form))
			m.longest = max(m.longest, len(form))
		}
	}
	for _, s := range secrets {
		text := string(s)
		add(text)
		add(url.QueryEscape(text))
		add(url.PathEscape(text))
		if quoted, err := json.Marshal(text); err == nil {
			add(string(quoted[1 : len(quoted)-1]))
		}
		add(strings.TrimRight(base64.StdEncoding.EncodeToString(s), "="))
		add(strings.TrimRight(base64.URLEncoding.EncodeToString(s), "="))
		if lines := strings.Split(text, "\n"); len(lines) > 1 {
			for _, l := range lines {
				if l = strings.TrimSpace(l); len(l) >= 8 {
					add(l)
				}
			}
		}
	}
	return m
}

// Write takes bytes. It fails only if the writer behind it does.
func (m *Masker) Write(p []byte) (int, error) {
	if m.longest == 0 {
		return m.to.Write(p)
	}
	m.buf = append(m.buf, p...)
	if err := m.emit(m.undecided()); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what was held back.
func (m *Masker) Flush() error { return m.emit(len(m.buf)) }

// undecided returns where in buf a secret may begin whose end has not come yet.
func (m *Masker) undecided() int {
	for i := max(0, len(m.buf)-m.longest+1); i < len(m.buf); i++ {
		rest := m.buf[i:]
		for _, f := range m.forms {
			if len(f) > len(rest) && bytes.HasPrefix(f, rest) {
				return i
			}
		}
	}
	return len(m.buf)
}

// emit writes the first cut bytes of buf. Secrets that begin in them are in buf as a whole.
func (m *Masker) emit(cut int) error {
	type span struct{ from, to int }
	var spans []span
	if m.covered > 0 {
		spans = append(spans, span{0, m.covered})
	}
	for _, f := range m.forms {
		for at := 0; at < cut; {
			i := bytes.Index(m.buf[at:], f)
			if i < 0 || at+i >= cut {
				break
			}
			spans = append(spans, span{at + i, at + i + len(f)})
			at += i + 1
		}
	}
	slices.SortFunc(spans, func(a, b span) int { return a.from - b.from })
	out := make([]byte, 0, cut+len(Masked))
	done := 0
	for _, s := range spans {
		if s.from > done {
			out = append(out, m.buf[done:s.from]...)
			m.open = false
		}
		if s.to > done {
			if !m.open {
				out = append(out, Masked...)
				m.open = true
			}
			done = s.to
		}
	}
	if done < cut {
		out = append(out, m.buf[done:cut]...)
		m.open = false
	}
	m.covered = max(0, done-cut)
	m.buf = append(m.buf[:0], m.buf[cut:]...)
	if len(out) == 0 {
		return nil
	}
	_, err := m.to.Write(out)
	return err
}

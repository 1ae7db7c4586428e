package noteindex

import (
	"bufio"
	"encoding/binary"
	"errors"
	"hash/crc32"
	"os"
	"slices"

	"github.com/demarc-dev/demarc/internal/note"
)

// segmentWriter writes a segment. Terms come first, in their order, then documents in theirs.
type segmentWriter struct {
	f       *os.File
	w       *bufio.Writer
	at      int64
	dict    []byte // blocks; what a dictionary of a million terms needs is some 30 MB
	block   []byte
	inBlock int
	first   []string
	starts  []int // of the blocks within dict
	records []byte
	words   []byte
	flags   []byte
	total   int64
	dictEnd int64
	started bool // with documents
}

func newSegmentWriter(path string) (*segmentWriter, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return nil, err
	}
	w := &segmentWriter{f: f, w: bufio.NewWriterSize(f, 256<<10)}
	w.write([]byte(magic))
	w.write(binary.LittleEndian.AppendUint32(nil, formatVersion))
	return w, nil
}

func (w *segmentWriter) write(b []byte) {
	n, _ := w.w.Write(b) // an error stays in the writer, and close returns it
	w.at += int64(n)
}

func (w *segmentWriter) summed(b []byte) {
	w.write(b)
	w.write(binary.LittleEndian.AppendUint32(nil, crc32.Checksum(b, castagnoli)))
}

func (w *segmentWriter) term(term string, count int, postings []byte) {
	at := w.at
	w.summed(postings)
	if w.inBlock == 0 {
		w.first = append(w.first, term)
	}
	w.block = append(binary.AppendUvarint(w.block, uint64(len(term))), term...)
	w.block = binary.AppendUvarint(w.block, uint64(count))
	w.block = binary.AppendUvarint(w.block, uint64(at))
	w.block = binary.AppendUvarint(w.block, uint64(w.at-at))
	if w.inBlock++; w.inBlock == termsPerBlock {
		w.endBlock()
	}
}

func (w *segmentWriter) endBlock() {
	if w.inBlock == 0 {
		return
	}
	w.starts = append(w.starts, len(w.dict))
	w.dict = append(w.dict, w.block...)
	w.dict = binary.LittleEndian.AppendUint32(w.dict, crc32.Checksum(w.block, castagnoli))
	w.block, w.inBlock = w.block[:0], 0
}

// startDocs writes the dictionary.
func (w *segmentWriter) startDocs() {
	w.endBlock()
	start := w.at
	w.write(w.dict)
	w.dictEnd, w.dict, w.started = w.at, nil, true
	for i := range w.starts {
		w.starts[i] += int(start)
	}
}

// doc writes the record of one document.
func (w *segmentWriter) doc(record []byte, words int, flags byte) {
	w.records = binary.LittleEndian.AppendUint64(w.records, uint64(w.at))
	w.write(binary.AppendUvarint(nil, uint64(len(record))))
	w.summed(record)
	words = min(words, 1<<16-1)
	w.words = binary.LittleEndian.AppendUint16(w.words, uint16(words))
	w.flags = append(w.flags, flags)
	w.total += int64(words)
}

func (w *segmentWriter) close() error {
	tables := w.at
	b := slices.Concat(w.records, w.words, w.flags)
	for i, t := range w.first {
		b = append(binary.AppendUvarint(b, uint64(len(t))), t...)
		b = binary.AppendUvarint(b, uint64(w.starts[i]))
	}
	var foot []byte
	for _, n := range []int64{tables, int64(len(w.flags)), int64(len(w.first)), w.total, w.dictEnd, 0, 0} {
		foot = binary.LittleEndian.AppendUint64(foot, uint64(n))
	}
	sum := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, foot)
	w.write(b)
	w.write(binary.LittleEndian.AppendUint32(foot, sum))
	return errors.Join(w.w.Flush(), w.f.Sync(), w.f.Close())
}

// builder collects documents for a segment in memory.
type builder struct {
	terms   map[string]*postings
	bytes   int // of memory, about
	records []byte
	ends    []int
	words   []int
	flags   []byte

	weights map[string]uint16
	scratch []byte
}

type postings struct {
	b     []byte
	last  int
	count int
}

func newBuilder() *builder {
	return &builder{terms: map[string]*postings{}, weights: map[string]uint16{}}
}

// Weights of the words of a note by where they stand.
const (
	weightTopic   = 6
	weightEntity  = 4
	weightSummary = 3
	weightHead    = 2
	weightText    = 1
)

func (b *builder) text(s string, weight uint16) int {
	return b.bytesOf([]byte(s), weight)
}

func (b *builder) bytesOf(text []byte, weight uint16) int {
	n := 0
	b.scratch = tokens(text, b.scratch, func(word []byte) {
		n++
		b.weights[string(word)] += min(weight, 255)
	})
	return n
}

// add takes in one note. body is only read.
func (b *builder) add(d *Doc, h *note.Head, body []byte) {
	doc := len(b.ends)
	clear(b.weights)
	words := 0
	if d.Error == "" {
		words += b.text(h.Topic, weightTopic)
		words += b.text(h.Summary, weightSummary)
		for _, s := range []string{h.Outline.Context, h.Outline.Problem, h.Outline.Stack, h.Outline.RecommendedAction, h.CodeLanguage, h.Difficulty, h.Payload.Scenario} {
			words += b.text(s, weightHead)
		}
		for _, list := range [][]string{h.Stack, h.Tools, h.Notes} {
			for _, s := range list {
				words += b.text(s, weightHead)
			}
		}
		for _, e := range h.Entities {
			words += b.text(e.Name, weightEntity)
			b.weights[entityTerm(e.Name)] = 1
			b.weights[typedTerm(e.Type, e.Name)] = 1
		}
		words += b.bytesOf(body, weightText)
	}
	b.weights[idTerm(d.ID)] = 1
	for term, weight := range b.weights {
		p := b.terms[term]
		if p == nil {
			p = &postings{last: -1}
			b.terms[term] = p
			b.bytes += len(term) + 120
		}
		before := cap(p.b)
		p.b = binary.AppendUvarint(p.b, uint64(doc-p.last))
		p.b = append(p.b, byte(min(weight, 255)))
		p.last = doc
		p.count++
		b.bytes += cap(p.b) - before
	}
	b.records = d.append(b.records)
	b.ends = append(b.ends, len(b.records))
	b.words = append(b.words, words)
	b.flags = append(b.flags, d.flags())
}

func (b *builder) size() int { return b.bytes + cap(b.records) + 32*len(b.ends) }

func (b *builder) write(path string) error {
	w, err := newSegmentWriter(path)
	if err != nil {
		return err
	}
	names := make([]string, 0, len(b.terms))
	for t := range b.terms {
		names = append(names, t)
	}
	slices.Sort(names)
	for _, t := range names {
		w.term(t, b.terms[t].count, b.terms[t].b)
	}
	w.startDocs()
	from := 0
	for i, end := range b.ends {
		w.doc(b.records[from:end], b.words[i], b.flags[i])
		from = end
	}
	return w.close()
}

// merge writes the living documents of segments into one. Memory: the postings of one term, the dictionary, 11 bytes for each
// document, and a block of each segment.
func merge(path string, from []*segment) error {
	w, err := newSegmentWriter(path)
	if err != nil {
		return err
	}
	fail := func(err error) error { return errors.Join(err, w.f.Close(), os.Remove(path)) }
	numbers := make([][]int32, len(from)) // of each document in the new segment, -1: dead
	next := int32(0)
	for i, s := range from {
		numbers[i] = make([]int32, s.docs)
		for d := range s.docs {
			numbers[i][d] = -1
			if !s.isDead(d) {
				numbers[i][d] = next
				next++
			}
		}
	}
	cursors := make([]*cursor, len(from))
	for i, s := range from {
		cursors[i] = &cursor{s: s, block: -1}
		if err := cursors[i].next(); err != nil {
			return fail(err)
		}
	}
	var out []byte
	for {
		term, any := "", false
		for _, c := range cursors {
			if !c.done && (!any || c.entry().term < term) {
				term, any = c.entry().term, true
			}
		}
		if !any {
			break
		}
		out = out[:0]
		count, last := 0, int32(-1)
		for i, c := range cursors {
			if c.done || c.entry().term != term {
				continue
			}
			if err := c.s.each(c.entry(), func(doc int, weight byte) {
				if n := numbers[i][doc]; n >= 0 {
					out = append(binary.AppendUvarint(out, uint64(n-last)), weight)
					last = n
					count++
				}
			}); err != nil {
				return fail(err)
			}
			if err := c.next(); err != nil {
				return fail(err)
			}
		}
		if count > 0 {
			w.term(term, count, out)
		}
	}
	w.startDocs()
	for _, s := range from {
		var record []byte
		if err := s.all(func(i int, d *Doc) error {
			if !s.isDead(i) {
				record = d.append(record[:0])
				w.doc(record, s.length(i), s.flags[i])
			}
			return nil
		}); err != nil {
			return fail(err)
		}
	}
	return w.close()
}

// cursor walks through the terms of a segment.
type cursor struct {
	s       *segment
	block   int
	entries []entry
	i       int
	done    bool
}

func (c *cursor) entry() entry { return c.entries[c.i] }

func (c *cursor) next() error {
	if c.i++; c.block >= 0 && c.i < len(c.entries) {
		return nil
	}
	c.i = 0
	if c.block++; c.block >= len(c.s.blocks) {
		c.done = true
		return nil
	}
	var err error
	if c.entries, err = c.s.block(c.block); err == nil && len(c.entries) == 0 {
		err = errDamaged
	}
	return err
}

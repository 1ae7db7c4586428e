package noteindex

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"os"
	"slices"
	"sort"
	"strings"

	"github.com/demarc-dev/demarc/internal/note"
)

// A segment is a file that is written once and never changed:
//
//	magic, version
//	postings    for each term: (document – the one before, weight)…, as varint and byte; checksum
//	dictionary  blocks of termsPerBlock terms: length, term, documents, place and length of its postings; checksum
//	documents   one record for each: length, record, checksum
//	tables      first term and place of each block; place of each record; words and flags of each document
//	footer      places and counts, checksum of the tables and of itself
//
// All numbers are little-endian or unsigned varints, all checksums are CRC32C. What is not read is not checked, so that a question
// costs what its answer needs.
const (
	magic         = "demarcNI"
	formatVersion = 1
	termsPerBlock = 64
	footerSize    = 8*7 + 4
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// errDamaged says that a file of the index is not what was written. The index is made anew.
var errDamaged = errors.New("the index is damaged")

// Doc is what the index knows of one note without reading its file.
type Doc struct {
	Path     string // relative to where demarc is called
	Size     int64
	Modified int64 // Unix ns

	ID           string
	Topic        string
	Brief        string
	Date         string
	Status       string
	Difficulty   string
	Owner        string
	ReviewedBy   string
	LastReviewed string
	Entities     []note.Entity
	Hidden       bool
	Generated    bool
	Error        string // why the note cannot be read; then only ID and the file are known
}

func (d *Doc) flags() byte {
	var f byte
	if d.Hidden {
		f |= flagHidden
	}
	if d.Error != "" {
		f |= flagError
	}
	return f
}

const (
	flagHidden = 1 << iota
	flagError
)

func (d *Doc) append(b []byte) []byte {
	text := func(s string) { b = append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	b = binary.AppendUvarint(b, uint64(d.Size))
	b = binary.AppendUvarint(b, uint64(d.Modified))
	var bits uint64
	if d.Hidden {
		bits |= 1
	}
	if d.Generated {
		bits |= 2
	}
	b = binary.AppendUvarint(b, bits)
	for _, s := range []string{d.Path, d.ID, d.Topic, d.Brief, d.Date, d.Status, d.Difficulty, d.Owner, d.ReviewedBy, d.LastReviewed, d.Error} {
		text(s)
	}
	b = binary.AppendUvarint(b, uint64(len(d.Entities)))
	for _, e := range d.Entities {
		text(e.Name)
		text(e.Type)
	}
	return b
}

func (d *Doc) read(b []byte) error {
	ok := true
	number := func() uint64 {
		v, n := binary.Uvarint(b)
		if n <= 0 {
			ok, b = false, nil
			return 0
		}
		b = b[n:]
		return v
	}
	text := func() string {
		n := number()
		if n > uint64(len(b)) {
			ok, b = false, nil
			return ""
		}
		s := string(b[:n])
		b = b[n:]
		return s
	}
	d.Size, d.Modified = int64(number()), int64(number())
	bits := number()
	d.Hidden, d.Generated = bits&1 != 0, bits&2 != 0
	for _, s := range []*string{&d.Path, &d.ID, &d.Topic, &d.Brief, &d.Date, &d.Status, &d.Difficulty, &d.Owner, &d.ReviewedBy, &d.LastReviewed, &d.Error} {
		*s = text()
	}
	n := number()
	if n > uint64(len(b)) {
		return errDamaged
	}
	d.Entities = make([]note.Entity, n)
	for i := range d.Entities {
		d.Entities[i] = note.Entity{Name: text(), Type: text()}
	}
	if !ok {
		return errDamaged
	}
	return nil
}

// segment is an open segment.
type segment struct {
	name    string
	f       *os.File
	size    int64
	blocks  []string // first terms
	places  []int64  // of the blocks, and the end of the dictionary
	records []byte   // places of the documents' records, 8 bytes each
	words   []byte   // words of each document, 2 bytes each
	flags   []byte
	docs    int
	total   int64  // words
	dead    []byte // bitmap of documents that are no longer so; nil: none
}

func (s *segment) isDead(doc int) bool {
	return s.dead != nil && s.dead[doc>>3]&(1<<(doc&7)) != 0
}

func (s *segment) kill(doc int) {
	if s.dead == nil {
		s.dead = make([]byte, (s.docs+7)/8)
	}
	s.dead[doc>>3] |= 1 << (doc & 7)
}

func (s *segment) length(doc int) int { return int(binary.LittleEndian.Uint16(s.words[2*doc:])) }

// openSegment reads the tables of a segment. Memory: 11 bytes for each document and the first term of each block.
func openSegment(path string) (*segment, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	s := &segment{f: f}
	if err := s.open(); err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

func (s *segment) open() error {
	info, err := s.f.Stat()
	if err != nil {
		return err
	}
	s.size = info.Size()
	head := make([]byte, len(magic)+4)
	if s.size < int64(len(head)+footerSize) {
		return errDamaged
	}
	foot := make([]byte, footerSize)
	if _, err := s.f.ReadAt(head, 0); err != nil {
		return err
	}
	if _, err := s.f.ReadAt(foot, s.size-footerSize); err != nil {
		return err
	}
	if string(head[:len(magic)]) != magic || binary.LittleEndian.Uint32(head[len(magic):]) != formatVersion {
		return fmt.Errorf("%w, or of another version", errDamaged)
	}
	number := func(i int) int64 { return int64(binary.LittleEndian.Uint64(foot[8*i:])) }
	tables, docs, blocks, dictEnd := number(0), number(1), number(2), number(4)
	s.total = number(3)
	if tables < 0 || tables > s.size-footerSize || docs < 0 || docs > s.size || blocks < 0 || blocks > s.size || dictEnd < 0 || dictEnd > tables {
		return errDamaged
	}
	b := make([]byte, s.size-footerSize-tables)
	if _, err := s.f.ReadAt(b, tables); err != nil {
		return err
	}
	sum := crc32.Update(crc32.Checksum(b, castagnoli), castagnoli, foot[:footerSize-4])
	if sum != binary.LittleEndian.Uint32(foot[footerSize-4:]) || int64(len(b)) < 11*docs {
		return errDamaged
	}
	s.docs = int(docs)
	s.records, b = b[:8*docs], b[8*docs:]
	s.words, b = b[:2*docs], b[2*docs:]
	s.flags, b = b[:docs], b[docs:]
	for range blocks {
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return errDamaged
		}
		s.blocks = append(s.blocks, string(b[k:k+int(n)]))
		b = b[k+int(n):]
		place, k := binary.Uvarint(b)
		if k <= 0 || int64(place) > dictEnd {
			return errDamaged
		}
		s.places = append(s.places, int64(place))
		b = b[k:]
	}
	s.places = append(s.places, dictEnd)
	return nil
}

// section reads bytes that end with their checksum.
func (s *segment) section(at, n int64) ([]byte, error) {
	if at < 0 || n < 4 || at+n > s.size {
		return nil, errDamaged
	}
	b := make([]byte, n)
	if _, err := s.f.ReadAt(b, at); err != nil {
		return nil, err
	}
	if crc32.Checksum(b[:n-4], castagnoli) != binary.LittleEndian.Uint32(b[n-4:]) {
		return nil, errDamaged
	}
	return b[:n-4], nil
}

// entry is a term of the dictionary.
type entry struct {
	term  string
	count int // documents
	at, n int64
}

func (s *segment) block(i int) ([]entry, error) {
	b, err := s.section(s.places[i], s.places[i+1]-s.places[i])
	if err != nil {
		return nil, err
	}
	entries := make([]entry, 0, termsPerBlock)
	for len(b) > 0 {
		var v [3]uint64
		n, k := binary.Uvarint(b)
		if k <= 0 || n > uint64(len(b)-k) {
			return nil, errDamaged
		}
		e := entry{term: string(b[k : k+int(n)])}
		b = b[k+int(n):]
		for i := range v {
			if v[i], k = binary.Uvarint(b); k <= 0 {
				return nil, errDamaged
			}
			b = b[k:]
		}
		e.count, e.at, e.n = int(v[0]), int64(v[1]), int64(v[2])
		entries = append(entries, e)
	}
	return entries, nil
}

// find returns the entries of a term, or of those that begin with it, at most limit.
func (s *segment) find(term string, prefix bool, limit int) ([]entry, error) {
	var found []entry
	for i := max(0, sort.SearchStrings(s.blocks, term)-1); i < len(s.blocks) && len(found) < limit; i++ {
		if s.blocks[i] > term && (!prefix || !strings.HasPrefix(s.blocks[i], term)) {
			break
		}
		entries, err := s.block(i)
		if err != nil {
			return nil, err
		}
		for _, e := range entries {
			if e.term == term || prefix && strings.HasPrefix(e.term, term) && len(found) < limit {
				found = append(found, e)
			}
		}
	}
	return found, nil
}

// each calls f for every document of an entry, with the weight of the term in it.
func (s *segment) each(e entry, f func(doc int, weight byte)) error {
	b, err := s.section(e.at, e.n)
	if err != nil {
		return err
	}
	doc := -1
	for len(b) > 0 {
		delta, k := binary.Uvarint(b)
		if k <= 0 || k == len(b) || delta == 0 || delta > uint64(s.docs-1-doc) {
			return errDamaged
		}
		doc += int(delta)
		f(doc, b[k])
		b = b[k+1:]
	}
	return nil
}

func (s *segment) doc(i int) (*Doc, error) {
	at := int64(binary.LittleEndian.Uint64(s.records[8*i:]))
	head := make([]byte, binary.MaxVarintLen32)
	if at < 0 || at >= s.size {
		return nil, errDamaged
	}
	n, err := s.f.ReadAt(head, at)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	size, k := binary.Uvarint(head[:n])
	if k <= 0 || size > note.MaxNote {
		return nil, errDamaged
	}
	b, err := s.section(at+int64(k), int64(size)+4)
	if err != nil {
		return nil, err
	}
	d := &Doc{}
	return d, d.read(b)
}

// all calls f for every document, in their order, with few reads of the file.
func (s *segment) all(f func(i int, d *Doc) error) error {
	if s.docs == 0 {
		return nil
	}
	at := int64(binary.LittleEndian.Uint64(s.records))
	r := bufio.NewReaderSize(io.NewSectionReader(s.f, at, s.size-at), 256<<10)
	var b []byte
	for i := range s.docs {
		n, err := binary.ReadUvarint(r)
		if err != nil || n > note.MaxNote {
			return errDamaged
		}
		b = slices.Grow(b[:0], int(n)+4)[:n+4]
		if _, err := io.ReadFull(r, b); err != nil {
			return errDamaged
		}
		if crc32.Checksum(b[:n], castagnoli) != binary.LittleEndian.Uint32(b[n:]) {
			return errDamaged
		}
		var d Doc
		if err := d.read(b[:n]); err != nil {
			return err
		}
		if err := f(i, &d); err != nil {
			return err
		}
	}
	return nil
}

// byScore orders hits: the best first, among equals by id, so that the same question has the same answer.
func byScore(a, b Hit) int {
	return cmp.Or(cmp.Compare(b.score, a.score), bytes.Compare([]byte(a.key), []byte(b.key)))
}

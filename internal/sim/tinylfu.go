package sim

import "math/bits"

// tinyLFU is W-TinyLFU (Einziger, Friedman, Manes): a small LRU window of 1 % in front of a main part of LRU segments, protected
// (80 % of it) and probation. What leaves the window takes the place of the last of probation only if a sketch has seen it
// more often. The window keeps its size; there is no climbing.
type tinyLFU struct {
	chains
	where                            []byte // by node: list, or 0
	n                                [4]int // lengths, by list
	windowCap, mainCap, protectedCap int
	freq                             sketch
	misses                           int64
}

// The lists of W-TinyLFU.
const (
	tinyWindow    = 1
	tinyProbation = 2
	tinyProtected = 3
)

func newTinyLFU(size int) *tinyLFU {
	window := max(size/100, 1)
	main := size - window
	return &tinyLFU{chains: newChains(3), windowCap: window, mainCap: main, protectedCap: main * 8 / 10, freq: newSketch(size)}
}

func (p *tinyLFU) Misses() int64 { return p.misses }

func (p *tinyLFU) Add(b Block) {
	p.grow(b.Known)
	p.where = grow(p.where, b.Known+int(p.first))
	for _, key := range b.Keys {
		node := key + p.first
		p.freq.add(node)
		switch p.where[node] {
		case tinyWindow:
			p.toFront(tinyWindow, node)
		case tinyProtected:
			p.toFront(tinyProtected, node)
		case tinyProbation:
			p.move(node, tinyProtected)
			if p.n[tinyProtected] > p.protectedCap {
				p.move(p.back(tinyProtected), tinyProbation)
			}
		default:
			p.misses++
			p.move(node, tinyWindow)
			if p.n[tinyWindow] > p.windowCap {
				p.admit(p.back(tinyWindow))
			}
		}
	}
}

// admit lets what leaves the window into main, or drops it.
func (p *tinyLFU) admit(node uint32) {
	if p.n[tinyProbation]+p.n[tinyProtected] < p.mainCap {
		p.move(node, tinyProbation)
		return
	}
	victim := p.back(tinyProbation)
	if victim == tinyProbation {
		victim = p.back(tinyProtected)
	}
	if p.mainCap == 0 || p.freq.count(node) <= p.freq.count(victim) {
		p.move(node, 0)
		return
	}
	p.move(victim, 0)
	p.move(node, tinyProbation)
}

// move puts a node at the front of a list, 0 for none.
func (p *tinyLFU) move(node uint32, list byte) {
	if from := p.where[node]; from != 0 {
		p.n[from]--
		p.remove(node)
	}
	if list != 0 {
		p.n[list]++
		p.push(uint32(list), node)
	}
	p.where[node] = list
}

// sketch is a count-min sketch of four rows of four-bit counters, which are halved after ten requests for each object of the capacity.
// A row has four counters for each object, rounded up to a power of two. Memory: at most 16 bytes an object.
type sketch struct {
	limit    int // objects of the capacity
	words    []uint64
	mask     uint64
	requests int
}

func newSketch(limit int) sketch {
	n := 1 << bits.Len(uint(max(min(limit, maxSketch), 8)-1))
	return sketch{limit: limit, words: make([]uint64, n), mask: uint64(n)*4 - 1}
}

// maxSketch bounds the words of a sketch: 128 MB.
const maxSketch = 1 << 24

// spot is the counter of a key in a row: its word and the bits to shift. Row r has the bits 16r to 16r+15 of every word.
func (s *sketch) spot(node uint32, row uint) (word uint64, shift uint64) {
	h := mix(uint64(node)<<2|uint64(row)) & s.mask
	return h >> 2, uint64(row)*16 + h&3*4
}

func (s *sketch) add(node uint32) {
	for row := range uint(4) {
		word, shift := s.spot(node, row)
		if s.words[word]>>shift&15 < 15 {
			s.words[word] += 1 << shift
		}
	}
	if s.requests++; s.requests >= 10*s.limit {
		s.requests /= 2
		for i, w := range s.words {
			s.words[i] = w >> 1 & 0x7777777777777777
		}
	}
}

func (s *sketch) count(node uint32) uint64 {
	least := uint64(15)
	for row := range uint(4) {
		word, shift := s.spot(node, row)
		least = min(least, s.words[word]>>shift&15)
	}
	return least
}

// mix spreads a number over 64 bits (the finalizer of splitmix64).
func mix(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

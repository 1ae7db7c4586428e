package sim

import "math/bits"

// marks are bits at places, and a tree that counts those behind a place.
//
// The places of a leaf are 512 bits in eight words. A node of the tree is one word. That of a leaf holds, for each of the eight words, how
// many marks lie in the words behind it, in nine bits each: for the last one there is nothing to hold, and nothing is what bit 63 says.
// Above are levels whose nodes have four children and hold the same in 21 bits each; and above them a binary tree
// whose nodes hold how many lie in their right half. The parent of node n is n/4 or n/2, so that a walk upwards needs no more than n.
//
// A place that is not used yet counts as marked from the time that its leaf is opened on, which is taken off again where marks are counted. So to
// use a place changes no count, and to count the marks behind a place and take away the one at it is a single walk without a branch that depends
// on the trace.
type marks struct {
	words  []uint64
	tree   []uint64
	leaves uint32 // node of the first leaf, a power of two
	levels int    // between the leaves and the binary tree
	at     uint32 // next place
	opened uint32 // end of the leaf that was opened last
	warm   uint64 // no meaning, see take
}

const (
	leafPlaces  = 512
	leafLane    = 9
	leafOnes    = 1 | 1<<9 | 1<<18 | 1<<27 | 1<<36 | 1<<45 | 1<<54
	nodeLane    = 21
	nodeOnes    = 1 | 1<<21 | 1<<42
	nodeLevels  = 6 // three children of the highest hold 3·512·4^5 places, which is below 2^21
	firstPlaces = 64 << 10
	mostPlaces  = 1 << 32
)

// room makes a tree for a power of two of places, none of them used.
func (m *marks) room(places int) {
	leaves := places / leafPlaces
	*m = marks{words: make([]uint64, places/64), tree: make([]uint64, 2*leaves), leaves: uint32(leaves),
		levels: min(nodeLevels, (bits.Len(uint(leaves))-1)/2)}
}

// free is how many places of the leaf that was opened last are not used.
func (m *marks) free() int { return int(m.opened - m.at) }

// full says that there is no leaf to open. The last one never is: the number of a place plus one fits into 32 bits.
func (m *marks) full() bool { return uint64(m.opened)+leafPlaces >= uint64(len(m.words))*64 }

// open marks all places of the next leaf.
func (m *marks) open() {
	leaf := m.opened / leafPlaces
	for i := range uint32(8) {
		m.words[leaf*8+i] = ^uint64(0)
	}
	node := m.leaves | leaf
	m.tree[node] = 448 | 384<<9 | 320<<18 | 256<<27 | 192<<36 | 128<<45 | 64<<54
	for range m.levels {
		child := node % 4
		node /= 4
		m.tree[node] += leafPlaces * (nodeOnes & (1<<(child*nodeLane) - 1))
	}
	for ; node > 1; node /= 2 {
		m.tree[node/2] += uint64(node % 2 * leafPlaces)
	}
	m.opened += leafPlaces
}

// take takes away the marks at these places, one after the other, and adds to each count how many marks are behind it by then.
func (m *marks) take(places, counts []uint32) {
	counts = counts[:len(places)]
	words, tree := m.words, m.tree
	warm := uint64(0) // these words come from far in memory: the loop fetches them side by side
	for _, place := range places {
		warm |= words[place/64]
	}
	m.warm = warm
	for k, place := range places {
		word := place / 64
		w := words[word]
		words[word] = w &^ (1 << (place & 63))
		node, shift := m.leaves|word/8, word%8*leafLane&63
		count := tree[node]
		tree[node] = count - leafOnes&(1<<shift-1)
		counts[k] += uint32(bits.OnesCount64(w>>(place&63)>>1)) + uint32(count>>shift&(1<<leafLane-1))
		places[k] = node
	}
	for range m.levels {
		for k, node := range places {
			child := node % 4
			node /= 4
			places[k] = node
			count := tree[node]
			shift := child * nodeLane & 63
			tree[node] = count - nodeOnes&(1<<shift-1)
			counts[k] += uint32(count >> shift & (1<<nodeLane - 1))
		}
	}
	for root := m.leaves >> (2 * m.levels); root > 1; root /= 2 {
		for k, node := range places {
			right := uint64(node % 2)
			node /= 2
			places[k] = node
			count := tree[node]
			counts[k] += uint32(count & (right - 1))
			tree[node] = count - right
		}
	}
}

// ranks says how many marks lie before each word.
type ranks []uint32

func (m *marks) ranks() ranks {
	r, n := make(ranks, len(m.words)), uint32(0)
	for i, w := range m.words {
		r[i] = n
		n += uint32(bits.OnesCount64(w))
	}
	return r
}

// of is how many marks lie before a place.
func (r ranks) of(place uint32, words []uint64) uint32 {
	return r[place/64] + uint32(bits.OnesCount64(words[place/64]&(1<<(place%64)-1)))
}

// compact puts n marks at the first places, and makes at least three times as many places beside.
func (m *marks) compact(n int) {
	places := len(m.words) * 64
	for places < 4*n && places < mostPlaces {
		places *= 2
	}
	m.room(places)
	for m.free()+int(m.at) < n {
		m.open()
		m.at = m.opened
	}
	m.at = uint32(n)
}

func (m *marks) bytes() int64 { return int64(len(m.words)+len(m.tree)) * 8 }

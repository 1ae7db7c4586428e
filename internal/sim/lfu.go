package sim

// lfu evicts what was asked for least often since it came in; among those, what reached that count first. Counts do not age and
// are forgotten at eviction. Keys of one count are a queue; the queues are a list in ascending order of counts.
type lfu struct {
	nodes      []lfuNode
	queues     []lfuQueue // 0 is both ends of their list
	free       []uint32
	size, held int
	misses     int64
}

// lfuNode is a key; those of one queue are linked from the oldest to the newest. Key numbers are stored plus one.
type lfuNode struct{ prev, next, queue uint32 }

type lfuQueue struct {
	uses           uint32
	oldest, newest uint32
	below, above   uint32
}

func newLFU(size int) *lfu { return &lfu{queues: make([]lfuQueue, 1), size: size} }

func (p *lfu) Misses() int64 { return p.misses }

func (p *lfu) Add(b Block) {
	p.nodes = grow(p.nodes, b.Known+1)
	for _, key := range b.Keys {
		node := key + 1
		if from := p.nodes[node].queue; from != 0 {
			uses := p.queues[from].uses + 1
			to := p.queues[from].above
			if p.queues[to].uses != uses {
				to = p.insert(from, uses)
			}
			p.remove(node)
			p.put(to, node)
			continue
		}
		p.misses++
		if p.held == p.size {
			p.remove(p.queues[p.queues[0].above].oldest)
		} else {
			p.held++
		}
		to := p.queues[0].above
		if p.queues[to].uses != 1 {
			to = p.insert(0, 1)
		}
		p.put(to, node)
	}
}

// insert adds an empty queue above another.
func (p *lfu) insert(below, uses uint32) uint32 {
	var q uint32
	if n := len(p.free); n > 0 {
		q, p.free = p.free[n-1], p.free[:n-1]
	} else {
		q = uint32(len(p.queues))
		p.queues = append(p.queues, lfuQueue{})
	}
	above := p.queues[below].above
	p.queues[q] = lfuQueue{uses: uses, below: below, above: above}
	p.queues[below].above = q
	p.queues[above].below = q
	return q
}

func (p *lfu) put(queue, node uint32) {
	q := &p.queues[queue]
	p.nodes[node] = lfuNode{prev: q.newest, queue: queue}
	if q.newest != 0 {
		p.nodes[q.newest].next = node
	} else {
		q.oldest = node
	}
	q.newest = node
}

// remove takes a key out of its queue, and the queue out of the list when that was its last.
func (p *lfu) remove(node uint32) {
	n := p.nodes[node]
	p.nodes[node] = lfuNode{}
	q := &p.queues[n.queue]
	if n.prev != 0 {
		p.nodes[n.prev].next = n.next
	} else {
		q.oldest = n.next
	}
	if n.next != 0 {
		p.nodes[n.next].prev = n.prev
	} else {
		q.newest = n.prev
	}
	if q.oldest == 0 {
		p.queues[q.below].above = q.above
		p.queues[q.above].below = q.below
		p.free = append(p.free, n.queue)
	}
}

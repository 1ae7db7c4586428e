package sim

// s3fifo is S3-FIFO as published (Yang and others, SOSP'23): new keys wait in a small queue, 10 % of the capacity; those asked
// for twice there move to the main queue, the others leave and are remembered, without their value, in a ghost queue of
// 90 % of the capacity, from where they come back straight into main. Main is a CLOCK with counters up to 3.
type s3fifo struct {
	chains
	uses                        []byte // by node: requests since it came into its queue, up to 3, and in the upper bits the queue
	small, main, ghost          int
	smallCap, mainCap, ghostCap int
	misses                      int64
}

// The queues, each both a list and what the upper bits of uses hold.
const (
	s3Small = 1
	s3Main  = 2
	s3Ghost = 3

	s3Uses  = 3
	s3Queue = 2 // bits to shift
)

func newS3FIFO(size int) *s3fifo {
	small := max(size/10, 1)
	return &s3fifo{chains: newChains(3), smallCap: small, mainCap: size - small, ghostCap: size * 9 / 10}
}

func (p *s3fifo) Misses() int64 { return p.misses }

func (p *s3fifo) Add(b Block) {
	p.grow(b.Known)
	p.uses = grow(p.uses, b.Known+int(p.first))
	for _, key := range b.Keys {
		node := key + p.first
		state := p.uses[node]
		queue := state >> s3Queue
		if queue == s3Small || queue == s3Main {
			if state&s3Uses < s3Uses {
				p.uses[node]++
			}
			continue
		}
		p.misses++
		if queue == s3Ghost {
			p.ghost--
			p.remove(node)
			p.uses[node] = 0
		}
		for p.small+p.main >= p.smallCap+p.mainCap {
			p.evict()
		}
		if queue == s3Ghost {
			p.main++
			p.put(s3Main, node, 0)
		} else {
			p.small++
			p.put(s3Small, node, 0)
		}
	}
}

func (p *s3fifo) put(queue uint32, node uint32, uses byte) {
	p.push(queue, node)
	p.uses[node] = byte(queue)<<s3Queue | uses
}

// evict makes room for one, or moves what is in the small queue to main until that is too long.
func (p *s3fifo) evict() {
	if p.main > p.mainCap || p.small == 0 {
		p.evictMain()
		return
	}
	for p.small > 0 {
		node := p.back(s3Small)
		p.small--
		p.remove(node)
		if p.uses[node]&s3Uses >= 2 {
			p.main++
			p.put(s3Main, node, 0)
			continue
		}
		p.remember(node)
		return
	}
}

func (p *s3fifo) evictMain() {
	for {
		node := p.back(s3Main)
		uses := p.uses[node] & s3Uses
		p.remove(node)
		if uses == 0 {
			p.main--
			p.uses[node] = 0
			return
		}
		p.put(s3Main, node, uses-1)
	}
}

func (p *s3fifo) remember(node uint32) {
	if p.ghostCap == 0 {
		p.uses[node] = 0
		return
	}
	if p.ghost == p.ghostCap {
		oldest := p.back(s3Ghost)
		p.remove(oldest)
		p.uses[oldest] = 0
	} else {
		p.ghost++
	}
	p.put(s3Ghost, node, 0)
}

package sim

// arc is ARC (Megiddo and Modha, FAST'03): t1 holds what was asked for once, t2 what was asked for again, b1 and b2 remember
// the keys that left them, as many again as the capacity. Requests for remembered keys move the target p for the length of t1.
type arc struct {
	chains
	where  []byte // by node: list, or 0
	n      [5]int // lengths, by list
	size   int
	p      float64
	misses int64
}

// The lists of ARC.
const (
	arcT1 = 1
	arcT2 = 2
	arcB1 = 3
	arcB2 = 4
)

func newARC(size int) *arc { return &arc{chains: newChains(4), size: size} }

func (p *arc) Misses() int64 { return p.misses }

func (p *arc) Add(b Block) {
	p.grow(b.Known)
	p.where = grow(p.where, b.Known+int(p.first))
	for _, key := range b.Keys {
		node := key + p.first
		switch p.where[node] {
		case arcT1, arcT2:
			p.move(node, arcT2)
			continue
		case arcB1:
			p.p = min(p.p+max(float64(p.n[arcB2])/float64(p.n[arcB1]), 1), float64(p.size))
			p.replace(false)
			p.move(node, arcT2)
		case arcB2:
			p.p = max(p.p-max(float64(p.n[arcB1])/float64(p.n[arcB2]), 1), 0)
			p.replace(true)
			p.move(node, arcT2)
		default:
			p.room()
			p.move(node, arcT1)
		}
		p.misses++
	}
}

// room makes it for a key that is in none of the lists.
func (p *arc) room() {
	once := p.n[arcT1] + p.n[arcB1]
	all := once + p.n[arcT2] + p.n[arcB2]
	switch {
	case once == p.size && p.n[arcT1] == p.size:
		p.move(p.back(arcT1), 0)
	case once == p.size:
		p.move(p.back(arcB1), 0)
		p.replace(false)
	case all >= p.size:
		if all == 2*p.size {
			p.move(p.back(arcB2), 0)
		}
		p.replace(false)
	}
}

// replace evicts from t1 or t2 into the list that remembers. A cache that is not yet full stays as it is.
func (p *arc) replace(inB2 bool) {
	if p.n[arcT1]+p.n[arcT2] < p.size {
		return
	}
	t1 := float64(p.n[arcT1])
	if p.n[arcT1] > 0 && (t1 > p.p || inB2 && t1 == p.p) || p.n[arcT2] == 0 {
		p.move(p.back(arcT1), arcB1)
	} else {
		p.move(p.back(arcT2), arcB2)
	}
}

// move puts a node at the front of a list, 0 for none.
func (p *arc) move(node uint32, list byte) {
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

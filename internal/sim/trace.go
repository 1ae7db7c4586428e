package sim

import "iter"

// Trace keeps requests to be replayed as often as there are policies.
//
// Memory: 4 bytes a request, 8 more with times, 4 more (and 4 a key) with Next, 4 with sizes, 8 with lifetimes, 4 with costs.
type Trace struct {
	blocks   []Block
	last     []uint32 // by key: number of its last request plus one
	requests int
	next     bool
}

// traceBlock is how many requests a block holds, as 2^n.
const traceBlock = 16

// NewTrace returns an empty trace; next says whether Block.Next is wanted.
func NewTrace(next bool) *Trace { return &Trace{next: next} }

// Full says that n more requests could not be numbered.
func (t *Trace) Full(n int) bool { return t.requests+n >= int(Never) }

// Add copies a block to the end. All blocks have times or none; and so with sizes, lifetimes and costs.
func (t *Trace) Add(b Block) {
	if t.next {
		t.last = grow(t.last, b.Known)
	}
	for len(b.Keys) > 0 {
		if t.requests>>traceBlock == len(t.blocks) {
			t.blocks = append(t.blocks, t.block(b))
		}
		to := &t.blocks[len(t.blocks)-1]
		n := min(len(b.Keys), 1<<traceBlock-len(to.Keys))
		to.Known = b.Known
		to.Keys = append(to.Keys, b.Keys[:n]...)
		if b.At != nil {
			to.At = append(to.At, b.At[:n]...)
			b.At = b.At[n:]
		}
		if b.Sizes != nil {
			to.Sizes = append(to.Sizes, b.Sizes[:n]...)
			b.Sizes = b.Sizes[n:]
		}
		if b.TTL != nil {
			to.TTL = append(to.TTL, b.TTL[:n]...)
			b.TTL = b.TTL[n:]
		}
		if b.Cost != nil {
			to.Cost = append(to.Cost, b.Cost[:n]...)
			b.Cost = b.Cost[n:]
		}
		if t.next {
			for i, key := range b.Keys[:n] {
				to.Next = append(to.Next, Never)
				now := uint32(t.requests + i)
				if last := t.last[key]; last != 0 {
					last--
					t.blocks[last>>traceBlock].Next[last&(1<<traceBlock-1)] = now
				}
				t.last[key] = now + 1
			}
		}
		t.requests += n
		b.Keys = b.Keys[n:]
	}
}

func (t *Trace) block(like Block) Block {
	b := Block{Keys: make([]uint32, 0, 1<<traceBlock)}
	if like.At != nil {
		b.At = make([]int64, 0, 1<<traceBlock)
	}
	if like.Sizes != nil {
		b.Sizes = make([]uint32, 0, 1<<traceBlock)
	}
	if like.TTL != nil {
		b.TTL = make([]int64, 0, 1<<traceBlock)
	}
	if like.Cost != nil {
		b.Cost = make([]float32, 0, 1<<traceBlock)
	}
	if t.next {
		b.Next = make([]uint32, 0, 1<<traceBlock)
	}
	return b
}

// Requests is how many there are.
func (t *Trace) Requests() int { return t.requests }

// Blocks returns the requests in their order. The blocks may be read from several goroutines and are not to be changed.
func (t *Trace) Blocks() iter.Seq[Block] {
	return func(yield func(Block) bool) {
		for _, b := range t.blocks {
			if !yield(b) {
				return
			}
		}
	}
}

// Bytes is the memory that the trace takes.
func (t *Trace) Bytes() int64 {
	n := int64(cap(t.last)) * 4
	if len(t.blocks) > 0 {
		b := t.blocks[0]
		n += int64(len(t.blocks)) * (int64(cap(b.Keys)+cap(b.Next)+cap(b.Sizes)+cap(b.Cost))*4 + int64(cap(b.At)+cap(b.TTL))*8)
	}
	return n
}

// Without returns the trace, without sizes, lifetimes and costs, and without the keys of one of several groups of about the same number of keys. Keys keep their numbers.
func (t *Trace) Without(group, groups int) *Trace {
	out := NewTrace(t.next)
	for _, b := range t.blocks {
		part := Block{Known: b.Known}
		for i, key := range b.Keys {
			if int(mix(uint64(key))%uint64(groups)) == group {
				continue
			}
			part.Keys = append(part.Keys, key)
			if b.At != nil {
				part.At = append(part.At, b.At[i])
			}
		}
		out.Add(part)
	}
	return out
}

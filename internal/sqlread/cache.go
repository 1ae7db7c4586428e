package sqlread

// Cache keeps what was read of texts that come again, which in a service is nearly all of them. It belongs to its
// caller and is not safe for concurrent use. Its memory stays below the bytes it was made with (estimated from the
// lengths of what it holds, about a tenth off), plus one Statement. It holds the texts themselves, literals included.
//
// It has two generations: when the young one is full the old one is dropped and the young one becomes old, so a text in
// use is read again at most once in a while, and never is there more to do than two look-ups.
type Cache struct {
	limit       int
	size        int // of young
	young, old  map[cacheKey]*Statement
	hits, reads uint64
}

type cacheKey struct {
	d    Dialect
	text string
}

// NewCache makes a cache of at most the given bytes; 4 MiB hold about 2,000 statements of the usual length.
func NewCache(bytes int) *Cache {
	return &Cache{limit: bytes / 2, young: make(map[cacheKey]*Statement)}
}

// Read is the function Read, answered from the cache where it can be. The result is shared: do not change it.
// Statements larger than half the cache are not kept.
func (c *Cache) Read(d Dialect, text string) *Statement {
	k := cacheKey{d, text}
	if s, ok := c.young[k]; ok {
		c.hits++
		return s
	}
	s, ok := c.old[k]
	if ok {
		c.hits++
	} else {
		c.reads++
		st := Read(d, text)
		s = &st
	}
	n := s.bytes() + len(text)
	if n > c.limit {
		return s
	}
	if c.size+n > c.limit {
		c.old, c.young, c.size = c.young, make(map[cacheKey]*Statement), 0
	}
	c.young[k] = s
	c.size += n
	return s
}

// Stats returns how many calls were answered from the cache and how many had to read.
func (c *Cache) Stats() (hits, reads uint64) { return c.hits, c.reads }

// bytes estimates the memory that a statement holds besides its text.
func (s *Statement) bytes() int {
	const (
		fixed  = 256 // the Statement, its key, its place in the map
		str    = 16
		table  = 256
		where  = 56
		valueB = 40
	)
	n := fixed + len(s.Fingerprint) + str*cap(s.Names)
	for i := range s.Tables {
		t := &s.Tables[i]
		n += table + str*(cap(t.Columns)+cap(t.Filters)+cap(t.Written)+cap(t.Returning)+cap(t.Conflict)) + where*cap(t.Where) +
			valueB*cap(t.Values)
		for j := range t.Where {
			n += valueB * cap(t.Where[j].Values)
		}
	}
	return n
}

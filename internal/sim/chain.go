package sim

// chains are circular doubly linked lists over numbered nodes. Lists are nodes themselves: 1, 2, … up to the number given
// to newChains; the node of a key lies behind them. A node is in one list at most. Node 0 is never used, so that a zero link means
// "in no list". Memory: 8 bytes a node.
type chains struct {
	links []link
	first uint32 // node of key 0
}

type link struct{ prev, next uint32 }

func newChains(lists int) chains {
	c := chains{links: make([]link, lists+1), first: uint32(lists) + 1}
	for l := 1; l <= lists; l++ {
		c.links[l] = link{uint32(l), uint32(l)}
	}
	return c
}

func (c *chains) grow(keys int) { c.links = grow(c.links, keys+int(c.first)) }

// in says whether the node is in a list.
func (c *chains) in(node uint32) bool { return c.links[node].next != 0 }

func (c *chains) unlink(node uint32) {
	l := c.links[node]
	c.links[l.prev].next = l.next
	c.links[l.next].prev = l.prev
}

// remove takes the node out of its list.
func (c *chains) remove(node uint32) {
	c.unlink(node)
	c.links[node] = link{}
}

// push puts the node at the front of a list.
func (c *chains) push(list, node uint32) {
	front := c.links[list].next
	c.links[node] = link{list, front}
	c.links[front].prev = node
	c.links[list].next = node
}

// toFront moves a node that is in a list to the front of a list.
func (c *chains) toFront(list, node uint32) {
	c.unlink(node)
	c.push(list, node)
}

// back is the last node of a list, the list itself if it is empty.
func (c *chains) back(list uint32) uint32 { return c.links[list].prev }

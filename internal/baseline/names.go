package baseline

import (
	"strings"
	"unsafe"
)

// table gives numbers to strings, at most max of them; number 0 stands for all that came after.
type table struct {
	max  int
	ids  map[string]uint32
	list []string
}

func newTable(max int, other string) table {
	return table{max: max, ids: map[string]uint32{}, list: []string{other}}
}

func (t *table) id(s string) uint32 {
	if id, ok := t.ids[s]; ok {
		return id
	}
	if len(t.list) > t.max {
		return 0
	}
	s = strings.Clone(s)
	id := uint32(len(t.list))
	t.ids[s] = id
	t.list = append(t.list, s)
	return id
}

func (t *table) full() bool { return len(t.list) > t.max }

// recent finds the numbers of texts that were asked for lately by the address of their bytes, which stays the same for the
// texts of a recorder's table: a map hashes all of a statement. The bytes are compared, so the address only decides where to
// look, never what is found. It keeps no text but those that its fold keeps elsewhere.
type recent [256]recentText

type recentText struct {
	db, text string
	id       uint32
}

// slot returns where a text is if it is there.
func (r *recent) slot(text string) *recentText {
	at := uint64(uintptr(unsafe.Pointer(unsafe.StringData(text)))) + uint64(len(text))
	return &r[at*0x9e3779b97f4a7c15>>56]
}

// store gives a number to a cache: its layer and name.
func (n *tables) store(layer, store string) uint32 {
	var buf [128]byte
	b := append(append(append(buf[:0], layer...), 0), store...)
	if id, ok := n.stores.ids[string(b)]; ok {
		return id
	}
	return n.stores.id(string(b))
}

func (n *tables) storeName(id uint32) (layer, store string) {
	layer, store, _ = strings.Cut(n.stores.list[id], "\x00")
	return layer, store
}

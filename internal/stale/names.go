package stale

import (
	"strings"
)

// names keeps the texts that come again and again: code lines, tags, columns. Beyond maxNames a text is kept apart, or
// for numbers forgotten.
const maxNames = 1 << 16

type names struct {
	ids  map[string]uint32
	list []string
}

func (n *names) id(s string) uint32 {
	if s == "" {
		return 0
	}
	if i, ok := n.ids[s]; ok {
		return i
	}
	if len(n.list) >= maxNames {
		return 0
	}
	if n.ids == nil {
		n.ids, n.list = map[string]uint32{}, []string{""}
	}
	s = strings.Clone(cut(s, maxText))
	i := uint32(len(n.list))
	n.list = append(n.list, s)
	n.ids[s] = i
	return i
}

func (n *names) text(s string) string {
	if s == "" {
		return ""
	}
	if i, ok := n.ids[s]; ok {
		return n.list[i]
	}
	if i := n.id(s); i != 0 && len(s) <= maxText {
		return n.list[i]
	}
	return strings.Clone(s)
}

func (n *names) of(i uint32) string {
	if int(i) >= len(n.list) {
		return ""
	}
	return n.list[i]
}

// routes numbers routes; a route is told without its method where it has one, as Writer does.
type routes struct {
	ids  map[[2]string]uint32
	list [][2]string
}

func (t *routes) id(method, route string) uint32 {
	if i, ok := t.ids[[2]string{method, route}]; ok {
		return i
	}
	if len(t.list) >= maxNames {
		return 0
	}
	if t.ids == nil {
		t.ids, t.list = map[[2]string]uint32{}, [][2]string{{}}
	}
	k := [2]string{strings.Clone(method), strings.Clone(cut(route, maxText))}
	i := uint32(len(t.list))
	t.list = append(t.list, k)
	t.ids[k] = i
	return i
}

func (t *routes) of(i uint32) (method, route string) {
	if i == 0 || int(i) >= len(t.list) {
		return "", ""
	}
	return t.list[i][0], t.list[i][1]
}

func (t *routes) shown(i uint32) string {
	m, r := t.of(i)
	return strings.TrimSpace(m + " " + r)
}

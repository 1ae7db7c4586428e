package forecast

import (
	"cmp"
	"slices"
)

// Asked is one request of a boundary.
type Asked struct {
	At, End int64  // Unix nanoseconds
	Key     uint64 // which entry of the boundary's cache it asks for
	Bytes   int64  // of the answer; 0: not known
}

// Trace is a boundary as a sequence of keys.
type Trace struct {
	Name, Level string
	Key         []string // inputs that the keys are made of
	Found       bool     // by comparing answers; else all that names what is asked for, or what was given
	Never       string   // why no cache must stand here; "" where nothing forbids it
	Requests    []Asked  // by start
	Left        int64    // events that did not fit into memory: the requests are the first ones
}

// Traces returns the boundaries that the options name as sequences of keys, the most expensive first. Where key is nil, the inputs are found
// as Report finds them; where answers carry no hash, all that names what is asked for, and who asks, is the key. The forecast takes no more events
// afterwards.
func (f *Forecast) Traces(key []string) []Trace {
	l := f.assemble()
	var list []Trace
	for _, c := range l.candidates() {
		slices.SortFunc(c.units, func(a, b int32) int {
			return cmp.Or(cmp.Compare(l.units[a].at, l.units[b].at), cmp.Compare(a, b))
		})
		t := Trace{Name: c.name, Level: levelNames[c.level], Never: l.gate(c), Left: l.seen.left}
		table := l.inputsTable(c.units)
		in := make([]bool, len(table.names))
		switch answers := l.answers(c); {
		case key != nil:
			for col, name := range table.names {
				in[col] = slices.Contains(key, name)
			}
		case l.lack(c) == "" && len(answers) > 1:
			t.Found = true
			found := l.inputsTable(stretches(answers))
			parts := l.keyParts(found)
			for col, name := range table.names {
				if at := slices.Index(found.names, name); at >= 0 {
					in[col] = parts.key[at]
				} else {
					in[col] = tier(name) <= 1 // asked for outside of what was compared
				}
			}
		default:
			for col, name := range table.names {
				in[col] = tier(name) <= 1 || col == table.who && slices.ContainsFunc(table.rows, func(row []uint64) bool { return row[col] != 0 })
			}
		}
		for col, name := range table.names {
			if in[col] {
				t.Key = append(t.Key, name)
			}
		}
		slices.Sort(t.Key)
		t.Requests = make([]Asked, len(c.units))
		for i, n := range c.units {
			u := &l.units[n]
			t.Requests[i] = Asked{At: u.at, End: u.end, Key: table.keyOf(table.rows[i], in), Bytes: int64(u.bytes)}
		}
		list = append(list, t)
	}
	return list
}

package recordertest

import (
	"encoding/binary"
	"encoding/json"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// BatchEvents is how many events the recorder puts into a frame.
const BatchEvents = 500

// maxTexts is how many texts a connection's table may hold.
const maxTexts = 65536

// Frames writes what one process sends over one connection. The zero Frames is ready but for Proc.
type Frames struct {
	Proc string // as in the hello

	numbers map[string]int
	fresh   []string
	b       []byte
}

// Hello returns the first frame of a connection, with the op start or reconnect.
func (f *Frames) Hello(token, op string) []byte {
	text, err := json.Marshal(map[string]any{"wire": 1, "token": token, "proc": f.Proc, "op": op, "at": Start, "service": "conduit",
		"version": "4f2a91c0", "version_from": "git", "host": "web-1", "pid": 4242, "ppid": 1, "runtime": "CPython 3.13.5",
		"program": "uvicorn", "recorder": "test", "keys": "hashed"})
	if err != nil {
		panic(err) // of texts and numbers
	}
	return frame('H', text)
}

func frame(kind byte, payload []byte) []byte {
	return append(append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), kind), payload...)
}

// Batch returns the frame of a list of events of the types that a recorder sends in batches: those up to task but for
// calls and tasks, which Traffic has none of. It is valid for good.
func (f *Frames) Batch(events []event.Event) []byte {
	f.b = f.b[:0]
	f.open('[', len(events))
	for i := range events {
		f.event(&events[i])
	}
	list := f.b
	f.b = make([]byte, 5, len(list)+1024)
	f.b[4] = 'B'
	f.open('(', 3)
	f.integer(0)
	f.open('[', len(f.fresh))
	for _, s := range f.fresh {
		f.literal(s)
	}
	out := append(f.b, list...)
	binary.LittleEndian.PutUint32(out, uint32(len(out)-5))
	f.b, f.fresh = list, f.fresh[:0]
	return out
}

func (f *Frames) event(e *event.Event) {
	common := func(kind, fields int) {
		f.open('(', 7+fields)
		f.integer(int64(kind))
		f.integer(e.At)
		f.optional(e.Dur)
		f.unsigned(e.Seq)
		f.id(e.Trace)
		f.id(e.Span)
		f.id(e.Parent)
	}
	switch {
	case e.Request != nil:
		common(1, 17)
		f.request(e.Request)
	case e.Query != nil:
		common(2, 12)
		f.query(e.Query)
	case e.Txn != nil:
		common(3, 3) // what follows is not known
		f.text(e.Txn.Op)
		f.text(e.Txn.DB)
		f.id(e.Txn.Txn)
	case e.Cache != nil:
		common(4, 21)
		f.cache(e.Cache)
	default:
		panic("recordertest: no frame for an event of type " + e.Type.String())
	}
}

func (f *Frames) request(r *event.Request) {
	f.text(r.Kind)
	f.text(r.Method)
	f.text(r.Route)
	f.literal(r.Target)
	f.integer(r.Status)
	f.text(r.Error)
	if n, err := strconv.ParseUint(r.Principal, 16, 64); err == nil && len(r.Principal) == 16 {
		f.hash(event.Hash(n))
	} else {
		f.text(r.Principal)
	}
	f.open('(', 2*len(r.Vary))
	for _, v := range r.Vary {
		f.text(v.Name)
		f.hash(v.Hash)
	}
	f.hash(r.BodyHash)
	f.text(r.BodyHashNone)
	f.optional(r.BodyBytes)
	f.optional(r.RequestBytes)
	f.open('(', 2*len(r.Headers))
	for _, h := range r.Headers {
		f.text(h.Name)
		f.text(h.Value)
	}
	f.text(r.Test)
	f.optional(r.FirstByteDur)
	f.boolean(r.Disconnected)
	f.boolean(r.RequestCookie)
}

func (f *Frames) query(q *event.Query) {
	f.text(q.DB)
	f.text(q.Text)
	f.hashes(q.Params)
	f.none() // param_names
	f.optional(q.Rows)
	f.hashes(q.PKs)
	f.hash(q.ResultHash)
	f.id(q.Txn)
	f.text(q.Role)
	f.optional(q.Many)
	f.text(q.Error)
	f.text(q.Code)
}

func (f *Frames) cache(c *event.Cache) {
	f.text(c.Op)
	f.text(c.Layer)
	f.text(c.Store)
	f.literal(c.Key)
	f.none() // key_parts
	f.boolean(c.Hit)
	f.hash(c.ValueHash)
	f.text(c.ValueForm)
	f.text(c.ValueKind)
	f.optional(c.Bytes)
	f.optional(c.TTLMs)
	f.optional(c.TTLEffectiveMs)
	f.none() // tags
	f.text(c.Tag)
	f.text(c.Pattern)
	f.optional(c.Removed)
	f.optional(c.Count)
	f.text(c.Error)
	f.id(c.Txn)
	f.integerOrNone(c.FillStart)
	f.text(c.Code)
}

// What follows is marshal, version 2.

func (f *Frames) none() { f.b = append(f.b, 'N') }

func (f *Frames) open(tag byte, n int) {
	f.b = binary.LittleEndian.AppendUint32(append(f.b, tag), uint32(n))
}

func (f *Frames) integer(v int64) {
	if v < 0 {
		panic("recordertest: no negative numbers")
	}
	f.unsigned(uint64(v))
}

func (f *Frames) unsigned(v uint64) {
	if v < 1<<31 {
		f.b = binary.LittleEndian.AppendUint32(append(f.b, 'i'), uint32(v))
		return
	}
	at := len(f.b)
	f.open('l', 0)
	digits := 0
	for ; v > 0; v >>= 15 {
		f.b = binary.LittleEndian.AppendUint16(f.b, uint16(v&0x7fff))
		digits++
	}
	binary.LittleEndian.PutUint32(f.b[at+1:], uint32(digits))
}

func (f *Frames) integerOrNone(v int64) {
	if v == 0 {
		f.none()
		return
	}
	f.integer(v)
}

func (f *Frames) optional(v event.Opt[int64]) {
	if !v.Known {
		f.none()
		return
	}
	f.integer(v.V)
}

func (f *Frames) boolean(v event.Opt[bool]) {
	switch {
	case !v.Known:
		f.none()
	case v.V:
		f.b = append(f.b, 'T')
	default:
		f.b = append(f.b, 'F')
	}
}

func (f *Frames) literal(s string) {
	f.open('u', len(s))
	f.b = append(f.b, s...)
}

// text writes the number of a text in the table.
func (f *Frames) text(s string) {
	if s == "" {
		f.none()
		return
	}
	n, ok := f.numbers[s]
	if !ok {
		if len(f.numbers) == maxTexts {
			f.literal(s)
			return
		}
		if f.numbers == nil {
			f.numbers = map[string]int{}
		}
		n = len(f.numbers)
		f.numbers[s] = n
		f.fresh = append(f.fresh, s)
	}
	f.integer(int64(n))
}

func (f *Frames) id(s string) {
	if s == "" {
		f.none()
		return
	}
	if rest, ok := strings.CutPrefix(s, f.Proc+"."); ok {
		if n, err := strconv.ParseUint(rest, 10, 63); err == nil {
			f.unsigned(n)
			return
		}
	}
	f.literal(s)
}

func (f *Frames) hash(h event.Hash) {
	if h == 0 {
		f.none()
		return
	}
	f.open('s', 8)
	f.b = binary.BigEndian.AppendUint64(f.b, uint64(h))
}

func (f *Frames) hashes(list []event.Hash) {
	if len(list) == 0 {
		f.none()
		return
	}
	f.open('s', 8*len(list))
	for _, h := range list {
		f.b = binary.BigEndian.AppendUint64(f.b, uint64(h))
	}
}

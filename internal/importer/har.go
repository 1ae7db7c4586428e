package importer

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/demarc-dev/demarc/event"
)

// maxEntry is the greatest length of one value of a HAR (an entry with the body of its answer, a page), in bytes.
const maxEntry = 64 << 20

// allowance passes on what it reads until left is used up, so that one value cannot take all memory.
type allowance struct {
	from io.Reader
	left int
}

var errTooLong = fmt.Errorf("longer than %d bytes", maxEntry)

func (a *allowance) Read(p []byte) (int, error) {
	if a.left <= 0 {
		return 0, errTooLong
	}
	n, err := a.from.Read(p[:min(len(p), a.left)])
	a.left -= n
	return n, err
}

// har reads a HAR entry after entry. An entry that is not as it should be is bad; a file that is no JSON, or cut, ends the reading with
// the byte.
func (f *Input) har(b *batcher, o *WebOptions) (Counts, error) {
	limited := &allowance{from: f.in, left: maxEntry}
	if head, err := f.in.Peek(len(bom)); err == nil && string(head) == string(bom) {
		_, _ = f.in.Discard(len(bom)) // it is in the buffer
	}
	d := &harDecoder{json.NewDecoder(limited), limited}
	entries := false
	err := d.members("", func(name string) error {
		if name != "log" {
			return d.skip()
		}
		return d.members("log", func(name string) error {
			switch name {
			case "version":
				var v string
				if err := d.value(&v); err != nil {
					return err
				}
				if v != "" && !strings.HasPrefix(v, "1.") {
					return fmt.Errorf("version %q of HAR, 1.1 and 1.2 are read", clip(v))
				}
				return nil
			case "entries":
				entries = true
				return d.entries(b, o)
			}
			return d.skip()
		})
	})
	if err == nil && !entries {
		err = errors.New("no entries: an object \"log\" with a list \"entries\" was expected")
	}
	err = errors.Join(b.flush(), err)
	b.counts.Bytes = f.Bytes()
	return b.counts, err
}

type harDecoder struct {
	*json.Decoder
	limited *allowance
}

// failed puts the place before an error.
func (d *harDecoder) failed(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return fmt.Errorf("byte %d: cut short: the file ends inside a JSON value", d.InputOffset())
	}
	return fmt.Errorf("byte %d: %w", d.InputOffset(), err)
}

func (d *harDecoder) value(v any) error {
	d.limited.left = maxEntry
	if err := d.Decode(v); err != nil {
		return d.failed(err)
	}
	return nil
}

func (d *harDecoder) skip() error {
	var raw json.RawMessage
	return d.value(&raw)
}

func (d *harDecoder) delim(want json.Delim, what string) error {
	d.limited.left = maxEntry
	t, err := d.Token()
	if err != nil {
		return d.failed(err)
	}
	if t != want {
		return fmt.Errorf("byte %d: %s is %v, %v was expected", d.InputOffset(), what, t, want)
	}
	return nil
}

// members calls do with the name of each member of the object that follows.
func (d *harDecoder) members(what string, do func(name string) error) error {
	if what == "" {
		what = "the file"
	}
	if err := d.delim('{', what); err != nil {
		return err
	}
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return d.failed(err)
		}
		name, _ := t.(string)
		if err := do(name); err != nil {
			return err
		}
	}
	return d.delim('}', what)
}

func (d *harDecoder) entries(b *batcher, o *WebOptions) error {
	if err := d.delim('[', "entries"); err != nil {
		return err
	}
	for number := int64(1); d.More(); number++ {
		var raw json.RawMessage
		if err := d.value(&raw); err != nil {
			return fmt.Errorf("entry %d: %w", number, err)
		}
		var entry harEntry
		var e event.Event
		err := json.Unmarshal(raw, &entry)
		if err == nil {
			e, err = entry.event(o)
		}
		if err := b.take(number, e, err); err != nil {
			return err
		}
	}
	return d.delim(']', "entries")
}

type harPair struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// harEntry is what is used of an entry. Numbers are -1 where they are not known.
type harEntry struct {
	Started string   `json:"startedDateTime"`
	Time    *float64 `json:"time"`
	Request *struct {
		Method   string    `json:"method"`
		URL      string    `json:"url"`
		Headers  []harPair `json:"headers"`
		Cookies  []harPair `json:"cookies"`
		BodySize *float64  `json:"bodySize"`
	} `json:"request"`
	Response *struct {
		Status  float64   `json:"status"`
		Headers []harPair `json:"headers"`
		Content struct {
			Size        *float64 `json:"size"`
			Compression *float64 `json:"compression"`
			Text        *string  `json:"text"`
			Encoding    string   `json:"encoding"`
		} `json:"content"`
		BodySize *float64 `json:"bodySize"`
	} `json:"response"`
	Timings struct {
		Blocked, DNS, Connect, Send, Wait, Receive *float64
	} `json:"timings"`
	FromCache string `json:"_fromCache"` // by Chrome: memory, disk
}

func (h *harEntry) event(o *WebOptions) (event.Event, error) {
	if h.Request == nil || h.Response == nil {
		return event.Event{}, errors.New("an entry with a request and a response was expected")
	}
	scheme, _, _ := strings.Cut(h.Request.URL, "://")
	if h.FromCache != "" || scheme != "http" && scheme != "https" {
		return event.Event{}, errSkip // never reached the service
	}
	at, ok := isoTime(h.Started)
	if !ok {
		return event.Event{}, fmt.Errorf("startedDateTime %q is not an ISO 8601 time after 1970", clip(h.Started))
	}
	x := exchange{at: at, method: h.Request.Method, target: h.Request.URL, sent: whole(h.Request.BodySize), asked: pairs(h.Request.Headers),
		answered: pairs(h.Response.Headers), bodyNone: "not in the HAR"}
	if s := h.Response.Status; s != 0 {
		if s != math.Trunc(s) || s < 100 || s > 999 {
			return event.Event{}, fmt.Errorf("%v is not an HTTP status", s)
		}
		x.status = int64(s)
	}
	if header(x.asked, "cookie") == "" && len(h.Request.Cookies) > 0 {
		var list []string
		for _, c := range h.Request.Cookies {
			list = append(list, c.Name+"="+c.Value)
		}
		x.asked = append(x.asked, event.Pair{Name: "cookie", Value: strings.Join(list, "; ")})
	}
	h.times(&x)
	h.content(&x)
	return o.event(&x)
}

// times takes what the client saw: from the first byte sent to the last received, without waiting for a connection.
func (h *harEntry) times(x *exchange) {
	ms := func(list ...*float64) (sum int64, all bool) {
		all = true
		for _, v := range list {
			if v != nil && *v > 0 && *v < 1e12 {
				sum += int64(*v*float64(time.Millisecond) + 0.5)
			}
			all = all && v != nil && *v >= 0
		}
		return sum, all
	}
	t := &h.Timings
	if sum, all := ms(t.Send, t.Wait, t.Receive); all {
		before, _ := ms(t.Blocked, t.DNS, t.Connect)
		x.at += before
		x.dur = event.Some(sum)
		first, _ := ms(t.Send, t.Wait)
		x.firstByte = event.Some(first)
		return
	}
	if sum, all := ms(h.Time); all {
		x.dur = event.Some(sum)
	}
}

func (h *harEntry) content(x *exchange) {
	r := h.Response
	c := &r.Content
	x.bytes = whole(r.BodySize)
	size, saved := whole(c.Size), whole(c.Compression)
	if !x.bytes.Known && size.Known && x.status != 304 {
		switch {
		case saved.Known && saved.V <= size.V:
			x.bytes = event.Some(size.V - saved.V)
		case header(x.answered, "content-encoding") == "":
			x.bytes = size
		}
	}
	if c.Text == nil || x.status == 304 {
		if x.status == 304 {
			x.bodyNone = "not modified"
		}
		return
	}
	body := *c.Text
	switch c.Encoding {
	case "":
		if strings.ContainsRune(body, utf8.RuneError) { // two different bodies may look the same
			x.bodyNone = "not text in the HAR"
			return
		}
	case "base64":
		raw, err := base64.StdEncoding.DecodeString(body)
		if err != nil {
			x.bodyNone = "broken base64 in the HAR"
			return
		}
		body = string(raw)
	default:
		x.bodyNone = "encoding " + clip(c.Encoding)
		return
	}
	if size.Known && int64(len(body)) < size.V {
		x.bodyNone = "cut in the HAR"
		return
	}
	x.body = &body
}

// whole is a number that is known: neither absent nor below zero.
func whole(v *float64) event.Opt[int64] {
	if v == nil || !(*v >= 0 && *v < 1<<53) {
		return event.Opt[int64]{}
	}
	return event.Some(int64(*v))
}

func pairs(list []harPair) []event.Pair {
	out := make([]event.Pair, 0, len(list))
	for _, p := range list {
		out = append(out, event.Pair{Name: p.Name, Value: p.Value})
	}
	return out
}

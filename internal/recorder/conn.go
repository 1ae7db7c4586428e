package recorder

import (
	"bufio"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// hello is the first frame of a recorder.
type hello struct {
	Wire        int    `json:"wire"`
	Token       string `json:"token"`
	Proc        string `json:"proc"`
	Op          string `json:"op"`
	At          int64  `json:"at"`
	Service     string `json:"service"`
	Version     string `json:"version"`
	VersionFrom string `json:"version_from"`
	Host        string `json:"host"`
	Pid         int64  `json:"pid"`
	Ppid        int64  `json:"ppid"`
	Runtime     string `json:"runtime"`
	Program     string `json:"program"`
	Recorder    string `json:"recorder"`
	Keys        string `json:"keys"`
}

type answer struct {
	Wire      int      `json:"wire"`
	OK        bool     `json:"ok"`
	Recording bool     `json:"recording"`
	Rate      *float64 `json:"rate,omitempty"`
	Error     string   `json:"error,omitempty"`
}

type order struct {
	Recording *bool    `json:"recording,omitempty"`
	Rate      *float64 `json:"rate,omitempty"`
}

// conn is one recorder's connection.
type conn struct {
	s     *Server
	nc    net.Conn
	d     decoder
	ready bool // the hello was good; guarded by s.mu
	buf   []byte

	writing sync.Mutex
}

func (c *conn) send(kind byte, v any) error {
	c.writing.Lock()
	defer c.writing.Unlock()
	return c.write(kind, v)
}

// write sends one frame; c.writing is held.
func (c *conn) write(kind byte, v any) error {
	payload, err := json.Marshal(v)
	if err != nil {
		return err
	}
	head := binary.LittleEndian.AppendUint32(nil, uint32(len(payload)))
	_ = c.nc.SetWriteDeadline(time.Now().Add(writeTimeout))
	_, err = c.nc.Write(append(append(head, kind), payload...))
	return err
}

func (c *conn) refuse(why string) {
	c.s.stats.refused.Add(1)
	c.s.stats.lastRefusal.Store(&why)
	if c.s.opt.Refused != nil {
		c.s.opt.Refused(why)
	}
	_ = c.send(kindAnswer, answer{Wire: WireVersion, Error: why})
}

// serve reads frames until the connection ends or breaks a rule that ends it.
func (c *conn) serve() {
	in := bufio.NewReaderSize(c.nc, 64<<10)
	_ = c.nc.SetReadDeadline(time.Now().Add(helloTimeout))
	kind, n, err := readHead(in)
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			c.refuse("no hello came within 10 seconds")
		}
		return
	}
	if kind != kindHello || n > MaxHello {
		c.refuse("the first frame must be a hello (H) of at most 64 KiB")
		return
	}
	payload, err := c.payload(in, n)
	if err != nil || !c.hello(payload) {
		return
	}
	for {
		_ = c.nc.SetReadDeadline(time.Time{}) // a quiet service may be silent for as long as it likes
		kind, n, err := readHead(in)
		if err != nil {
			return
		}
		if n > MaxFrame {
			c.s.stats.bad.Add(1)
			c.refuse(fmt.Sprintf("a frame of %d bytes, at most %d are allowed", n, MaxFrame))
			return
		}
		if err := c.frame(in, kind, n); err != nil {
			return
		}
	}
}

func readHead(in *bufio.Reader) (kind byte, n int, err error) {
	var head [5]byte
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return 0, 0, err
	}
	return head[4], int(binary.LittleEndian.Uint32(head[:4])), nil
}

// payload reads the n bytes of a frame into the connection's buffer.
func (c *conn) payload(in *bufio.Reader, n int) ([]byte, error) {
	if cap(c.buf) < n {
		c.buf = make([]byte, max(n, 16<<10))
	}
	buf := c.buf[:n]
	_, err := io.ReadFull(in, buf)
	return buf, err
}

// frame reads the payload of one frame and acts on it. An error ends the connection; a frame that cannot be
// understood is counted instead.
func (c *conn) frame(in *bufio.Reader, kind byte, n int) error {
	s := c.s
	_ = c.nc.SetReadDeadline(time.Now().Add(frameTimeout))
	if n > largeFrame {
		s.large <- struct{}{}
		defer func() { c.buf = nil; <-s.large }()
		_ = c.nc.SetReadDeadline(time.Now().Add(frameTimeout))
	}
	switch kind {
	case kindBatch, kindStats, kindExit:
	default:
		s.stats.unknownFrames.Add(1)
		_, err := io.CopyN(io.Discard, in, int64(n))
		return err
	}
	payload, err := c.payload(in, n)
	if err != nil {
		if n > 0 {
			s.stats.bad.Add(1) // cut short
		}
		return err
	}
	switch {
	case kind == kindBatch:
		c.batch(payload)
	case n > maxControlLen:
		s.stats.bad.Add(1)
	case kind == kindStats:
		c.statsFrame(payload)
	default:
		c.exit(payload)
	}
	return nil
}

func (c *conn) batch(payload []byte) {
	b := c.s.batches.Get().(*batch)
	unknown := c.d.unknown
	err := c.d.decode(payload, b)
	c.s.stats.unknownEvents.Add(c.d.unknown - unknown)
	if err != nil || len(b.Events) == 0 {
		if err != nil {
			c.s.stats.bad.Add(1)
		}
		c.s.batches.Put(b)
		return
	}
	c.s.stats.events.Add(int64(len(b.Events)))
	_ = c.s.sink.Events(b.Events) // the sink counts what it does not take
	if b.usual() {
		c.s.batches.Put(b)
	}
}

// emit gives one event of the server's own making to the sink.
func (c *conn) emit(e event.Event) {
	e.Source = c.d.source
	_ = c.s.sink.Events([]event.Event{e})
}

func (c *conn) hello(payload []byte) bool {
	var h hello
	if err := json.Unmarshal(payload, &h); err != nil {
		c.refuse("the hello is not a JSON object with the fields of docs/wire.md: " + err.Error())
		return false
	}
	if h.Wire != WireVersion {
		c.refuse(fmt.Sprintf("wire version %d is not known here; known: %d. Use the recorder that belongs to this demarc", h.Wire, WireVersion))
		return false
	}
	if token := sha256.Sum256([]byte(h.Token)); subtle.ConstantTimeCompare(token[:], c.s.token[:]) != 1 {
		c.refuse("wrong token")
		return false
	}
	if c.s.opt.Hashed && h.Keys != "hashed" {
		c.refuse("keys are kept hashed here, and this recorder sends them in clear: set DEMARC_KEYS=hashed for the service, " +
			"or start demarc collect with --keys clear")
		return false
	}
	if !goodProc(h.Proc) || h.Op != "start" && h.Op != "fork" && h.Op != "reconnect" {
		c.refuse("proc must be 8 to 16 letters, digits, '-' or '_', and op start, fork or reconnect")
		return false
	}
	for _, t := range []*string{&h.Service, &h.Version, &h.VersionFrom, &h.Host, &h.Runtime, &h.Program} {
		*t = strings.ToValidUTF8((*t)[:min(len(*t), maxHelloText)], "")
	}
	c.d.proc = h.Proc
	c.d.source = &event.Source{
		Service: h.Service, Version: h.Version, VersionFrom: h.VersionFrom, Host: h.Host, Pid: max(h.Pid, 0),
	}
	if h.Op != "reconnect" && c.s.first(h.Op+" "+h.Proc) {
		if h.At <= 0 {
			h.At = time.Now().UnixNano()
		}
		c.s.stats.processes.Add(1)
		c.emit(event.Event{Type: event.TypeProcess, At: h.At, Process: &event.Process{
			Op: h.Op, Ppid: max(h.Ppid, 0), Runtime: h.Runtime, Program: h.Program,
		}})
	}
	// Orders reach this connection as soon as it is ready; holding the right to write keeps the answer before them.
	c.writing.Lock()
	defer c.writing.Unlock()
	c.s.mu.Lock()
	a := answer{Wire: WireVersion, OK: true, Recording: c.s.recording}
	if c.s.rate > 0 {
		rate := c.s.rate
		a.Rate = &rate
	}
	c.ready = true
	c.s.mu.Unlock()
	return c.write(kindAnswer, a) == nil
}

func goodProc(p string) bool {
	ok := len(p) >= 8 && len(p) <= 16
	for i := range len(p) {
		ch := p[i]
		ok = ok && (ch >= '0' && ch <= '9' || ch >= 'a' && ch <= 'z' || ch >= 'A' && ch <= 'Z' || ch == '-' || ch == '_')
	}
	return ok
}

func (c *conn) statsFrame(payload []byte) {
	var f struct {
		At        int64             `json:"at"`
		Recording *bool             `json:"recording"`
		Dropped   *int64            `json:"dropped"`
		Sampled   *int64            `json:"sampled"`
		Rate      *float64          `json:"rate"`
		Hooks     map[string]string `json:"hooks"`
		Failures  map[string]int64  `json:"failures"`
		CostNs    *int64            `json:"cost_ns"`
	}
	if err := json.Unmarshal(payload, &f); err != nil || f.At <= 0 {
		c.s.stats.bad.Add(1)
		return
	}
	r := &event.Recorder{
		Recording: opt(f.Recording), Dropped: opt(f.Dropped), Sampled: opt(f.Sampled), Rate: opt(f.Rate), CostNs: opt(f.CostNs),
	}
	for name, state := range f.Hooks {
		r.Hooks = append(r.Hooks, event.Pair{Name: name, Value: state})
	}
	slices.SortFunc(r.Hooks, func(a, b event.Pair) int { return strings.Compare(a.Name, b.Name) })
	for name, n := range f.Failures {
		r.Failures = append(r.Failures, event.Count{Name: name, N: n})
	}
	slices.SortFunc(r.Failures, func(a, b event.Count) int { return strings.Compare(a.Name, b.Name) })
	c.s.countDropped(c.d.proc, r.Dropped.Or(0))
	c.emit(event.Event{Type: event.TypeRecorder, At: f.At, Recorder: r})
}

func opt[T any](p *T) event.Opt[T] {
	if p == nil {
		return event.Opt[T]{}
	}
	return event.Some(*p)
}

// countDropped adds what a process dropped since it last told. Its own count goes on over reconnections.
func (s *Server) countDropped(proc string, total int64) {
	s.mu.Lock()
	defer s.mu.Unlock()
	before, known := s.dropped[proc]
	if !known && len(s.dropped) >= maxProcs {
		return
	}
	if total > before {
		s.dropped[proc] = total
		s.stats.dropped.Add(total - before)
	}
}

func (c *conn) exit(payload []byte) {
	var f struct {
		At int64 `json:"at"`
	}
	if err := json.Unmarshal(payload, &f); err != nil || f.At <= 0 {
		c.s.stats.bad.Add(1)
		return
	}
	c.emit(event.Event{Type: event.TypeProcess, At: f.At, Process: &event.Process{Op: "exit"}})
}

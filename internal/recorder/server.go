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
	"sync/atomic"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// Limits of the server. Together they bound its memory: 256 connections × 0.4 MB, 8 large frames × 4 MiB, 256 MiB of
// text tables among all connections, and for each connection the batch that is with the sink.
const (
	MaxConns      = 256
	largeFrame    = 256 << 10 // frames above this are read by at most maxLarge connections at a time
	maxLarge      = 8
	maxTables     = 256 << 20
	maxProcs      = 8192 // processes whose drop counts are told apart
	maxHelloText  = 256  // bytes kept of each text of a hello
	helloTimeout  = 10 * time.Second
	frameTimeout  = 10 * time.Second // for the payload of a frame whose head has come
	writeTimeout  = 2 * time.Second
	maxControlLen = MaxHello // payload of S and X, bytes
)

// Sink takes the events of a source. A batch and what it points to are valid only during the call, the memory is used
// again; only texts may be kept (cloned, where they are kept for long: they may be part of a frame). Events may block
// for a while when the disk is slow; the recorders then fill their own buffers, and drop and count what does not
// fit. An error means that the batch was not taken, and the sink has counted it. Events is called from several goroutines.
type Sink interface {
	Events(batch []event.Event) error
}

// Server receives what recorders send.
type Server struct {
	opt   Options
	token [32]byte // hash of the token
	sink  Sink

	mu        sync.Mutex
	conns     map[*conn]struct{}
	listeners []net.Listener
	closed    bool
	recording bool
	rate      float64          // 0: never ordered
	dropped   map[string]int64 // proc to what it said last
	wg        sync.WaitGroup

	batches sync.Pool
	large   chan struct{}
	tables  atomic.Int64 // bytes of text tables still free

	stats counters
}

type counters struct {
	events, bad, unknownFrames, unknownEvents, refused, processes, dropped atomic.Int64
	lastRefusal                                                            atomic.Pointer[string]
}

// Stats are counts since the start of the server.
type Stats struct {
	Connections     int   // open now
	Processes       int64 // that said hello, without reconnections
	Events          int64 // decoded and offered to the sink
	BadFrames       int64 // skipped because they could not be read
	UnknownFrames   int64 // of kinds that this version does not know
	UnknownEvents   int64 // of types that this version does not know
	Refused         int64 // connections without a good hello
	RecorderDropped int64 // events that recorders say they could not send
	LastRefusal     string
}

// Options of a server.
type Options struct {
	Token  string // what recorders must bring
	Hashed bool   // recorders that keep keys in clear are refused
	// Refused, where it is not nil, is told why a connection was refused; it is called from several goroutines.
	Refused func(why string)
}

// NewServer returns a server that gives events to sink.
func NewServer(opt Options, sink Sink) *Server {
	s := &Server{
		opt: opt, token: sha256.Sum256([]byte(opt.Token)), sink: sink, recording: true,
		conns: map[*conn]struct{}{}, dropped: map[string]int64{}, large: make(chan struct{}, maxLarge),
	}
	s.batches.New = func() any { return &batch{} }
	s.tables.Store(maxTables)
	return s
}

// Listen opens "unix:/path" or "tcp:host:port". A Unix socket is reachable by its owner only; one that a dead process
// left behind is replaced.
func Listen(address string) (net.Listener, error) {
	kind, where, _ := strings.Cut(address, ":")
	switch kind {
	case "unix":
		if c, err := net.DialTimeout("unix", where, time.Second); err == nil {
			_ = c.Close()
			return nil, fmt.Errorf("%s is in use by another process", where)
		}
		if info, err := os.Lstat(where); err == nil && info.Mode()&os.ModeSocket != 0 {
			_ = os.Remove(where)
		}
		l, err := net.Listen("unix", where)
		if err != nil {
			return nil, err
		}
		if err := os.Chmod(where, 0o600); err != nil {
			_ = l.Close()
			return nil, err
		}
		return l, nil
	case "tcp":
		return net.Listen("tcp", where)
	}
	return nil, fmt.Errorf("%q is neither unix:/path nor tcp:host:port", address)
}

// Serve accepts connections until Close, and then returns nil.
func (s *Server) Serve(l net.Listener) error {
	s.mu.Lock()
	if s.closed {
		s.mu.Unlock()
		return l.Close()
	}
	s.listeners = append(s.listeners, l)
	s.mu.Unlock()
	pause := 5 * time.Millisecond
	for {
		c, err := l.Accept()
		if err != nil {
			if errors.Is(err, net.ErrClosed) {
				return nil
			}
			// Too many open files, for one: a pause, and the service's recorders try again.
			time.Sleep(pause)
			pause = min(2*pause, time.Second)
			continue
		}
		pause = 5 * time.Millisecond
		s.begin(c)
	}
}

func (s *Server) begin(nc net.Conn) {
	c := &conn{s: s, nc: nc, d: decoder{reserve: s.reserve}}
	s.mu.Lock()
	full := len(s.conns) >= MaxConns
	if !full && !s.closed {
		s.conns[c] = struct{}{}
		s.wg.Add(1)
	}
	closed := s.closed
	s.mu.Unlock()
	if closed {
		_ = nc.Close()
		return
	}
	if full {
		c.refuse(fmt.Sprintf("%d processes are connected already, no more are accepted", MaxConns))
		_ = nc.Close()
		return
	}
	go func() {
		defer s.wg.Done()
		c.serve()
		_ = nc.Close()
		c.d.close()
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	}()
}

// Close stops accepting, gives connected recorders the grace to finish what they are sending, and then closes them. It
// returns when the last event was given to the sink.
func (s *Server) Close(grace time.Duration) {
	s.mu.Lock()
	s.closed = true
	for _, l := range s.listeners {
		_ = l.Close()
	}
	s.mu.Unlock()
	done := make(chan struct{})
	go func() { s.wg.Wait(); close(done) }()
	select {
	case <-done:
		return
	case <-time.After(grace):
	}
	s.mu.Lock()
	for c := range s.conns {
		_ = c.nc.Close()
	}
	s.mu.Unlock()
	<-done
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	n := len(s.conns)
	s.mu.Unlock()
	st := Stats{
		Connections: n, Processes: s.stats.processes.Load(), Events: s.stats.events.Load(),
		BadFrames: s.stats.bad.Load(), UnknownFrames: s.stats.unknownFrames.Load(),
		UnknownEvents: s.stats.unknownEvents.Load(), Refused: s.stats.refused.Load(),
		RecorderDropped: s.stats.dropped.Load(),
	}
	if why := s.stats.lastRefusal.Load(); why != nil {
		st.LastRefusal = *why
	}
	return st
}

// Record switches recording on or off in every connected process, and in those that connect later. It returns how
// many processes were told.
func (s *Server) Record(on bool) int {
	s.mu.Lock()
	s.recording = on
	s.mu.Unlock()
	return s.order(order{Recording: &on})
}

// SetRate orders the share of keys that recorders keep, above 0 and at most 1.
func (s *Server) SetRate(rate float64) int {
	s.mu.Lock()
	s.rate = rate
	s.mu.Unlock()
	return s.order(order{Rate: &rate})
}

// Recording says whether recording is switched on.
func (s *Server) Recording() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.recording
}

func (s *Server) order(o order) int {
	s.mu.Lock()
	list := make([]*conn, 0, len(s.conns))
	for c := range s.conns {
		if c.ready {
			list = append(list, c)
		}
	}
	s.mu.Unlock()
	told := 0
	for _, c := range list {
		if c.send(kindOrder, o) == nil {
			told++
		}
	}
	return told
}

func (s *Server) reserve(n int) bool {
	if s.tables.Add(int64(-n)) >= 0 {
		return true
	}
	if n > 0 {
		s.tables.Add(int64(n))
	}
	return false
}

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
	if h.Op != "reconnect" {
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

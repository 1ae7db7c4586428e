package recorder

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net"
	"os"
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
	begun     map[string]bool  // how processes began, with their names, at most maxBegun
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

// maxBegun bounds the names that are remembered, about 4 MB of them; beyond, all are forgotten.
const maxBegun = 1 << 16

// first says whether a process says for the first time that it has begun: one that heard no answer says it again.
func (s *Server) first(proc string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.begun[proc] {
		return false
	}
	if s.begun == nil || len(s.begun) >= maxBegun {
		s.begun = map[string]bool{}
	}
	s.begun[proc] = true
	return true
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

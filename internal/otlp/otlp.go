// Package otlp receives spans of OpenTelemetry, over gRPC, over HTTP and from files, and turns them into the events
// that the recorder would have written, as far as spans carry them. docs/otlp.md is the page for people: what maps to
// what, the limits, and which evidence spans lack (package evidence tells that from the events themselves).
//
// There are two decoders behind one function type. The protobuf reader of this package goes once over the bytes, copies
// nothing and reuses its memory; the one over pdata reads JSON, and is what the tests hold the first against. Both fill
// the same span and share everything after that, so they can only differ in what they read, never in what it means.
package otlp

import (
	"errors"
	"fmt"
	"sync"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/sqlread"
)

// Sink takes events. A batch, and every text in it, is valid only during the call: the memory is used again for the
// next one, so a sink copies what it keeps. Sources (*event.Source) alone may be kept. An error means "not now": the
// sender is told to try the same spans again later. Events is called from several goroutines.
type Sink interface {
	Events([]event.Event) error
}

// Limits of the receiver. A message beyond one of them is refused whole, with the limit in the answer.
const (
	// MaxMessage is the greatest size of one message, uncompressed, in bytes, over gRPC and HTTP.
	MaxMessage = 8 << 20
	// MaxFileMessage is the same for one message in a file.
	MaxFileMessage = 64 << 20
	// MaxSpans is the greatest number of spans in one message.
	MaxSpans = 65_536
	// MaxEvents is the greatest number of events that one message may become: a span of a Redis pipeline is one event a
	// command.
	MaxEvents = 262_144
	// MaxDepth is the greatest nesting of attribute values (lists in lists).
	MaxDepth = 16
	// MaxText is the greatest length of a text that is kept, in bytes; a longer one is left out as not known.
	MaxText = 256 << 10
	// MaxConnections and MaxStreams bound the gRPC connections, and the messages in flight on each of them;
	// MaxConnections bounds those of HTTP, too. At worst MaxConnections*(MaxStreams+1)*MaxMessage bytes, 768 MiB, are
	// held for messages that are still arriving.
	MaxConnections = 32
	MaxStreams     = 2
	// MaxDecoding bounds the messages that are decoded and handed to the sink at the same time.
	MaxDecoding = 4
)

// Options say how spans become events. The zero Options keep keys and targets in clear.
type Options struct {
	// Hashed replaces the variable parts of cache keys and targets by keyed hashes; Hash must be set then.
	Hashed bool
	// Hash is the project's keyed hash. Where it is nil, principals and vary inputs are not known.
	Hash func(string) event.Hash
	// Redact replaces the literals of a statement by placeholders; db is the system's name as in event.Query.DB. Nil
	// means sqlread.Redact.
	Redact func(db, text string) string
	// Token, where it is not empty, must come with every request as "authorization: Bearer TOKEN".
	Token string
}

func (o *Options) check() error {
	if o.Hashed && o.Hash == nil {
		return errors.New("otlp: keys are to be hashed, but there is no hash")
	}
	if o.Redact == nil {
		o.Redact = func(db, text string) string { return sqlread.Redact(sqlread.DialectOf(db), text) }
	}
	return nil
}

// Counts tell what became of spans.
type Counts struct {
	Spans    int64 `json:"spans"`    // read
	Events   int64 `json:"events"`   // that they became
	Unmapped int64 `json:"unmapped"` // spans that tell nothing that an event could say, such as an internal step
	Refused  int64 `json:"refused"`  // spans without an identity or a start: never taken, and the sender is told
	Detached int64 `json:"detached"` // spans whose parent was not in their message; see "Traces" in docs/otlp.md
	Cut      int64 `json:"cut"`      // commands of a pipeline beyond the 256th
}

func (c *Counts) add(o Counts) {
	c.Spans += o.Spans
	c.Events += o.Events
	c.Unmapped += o.Unmapped
	c.Refused += o.Refused
	c.Detached += o.Detached
	c.Cut += o.Cut
}

// DataError says that a message is not what it should be. Sending it again is useless.
type DataError struct {
	// At is the byte of the (uncompressed) message at which reading failed; -1 where that is not known.
	At     int
	Reason string
	limit  bool // one of this package's limits, or a group: pdata may take it
}

// Error returns the reason and the position.
func (e *DataError) Error() string {
	if e.At < 0 {
		return e.Reason
	}
	return fmt.Sprintf("byte %d: %s", e.At, e.Reason)
}

// decode reads one message into b; b's events alias msg.
type decode func(b *batch, msg []byte) *DataError

// decoder turns messages into events. It is safe for several goroutines: each message uses a batch of its own from a
// pool, so at most as many batches live as messages are decoded at once.
type decoder struct {
	opts    Options
	sources sources
	pool    sync.Pool
}

func newDecoder(opts Options) (*decoder, error) {
	if err := opts.check(); err != nil {
		return nil, err
	}
	return &decoder{opts: opts}, nil
}

// run decodes msg and gives its events to the sink. The error is a *DataError for a bad message, else the sink's; the
// counts are zero with either.
func (d *decoder) run(how decode, msg []byte, sink Sink) (Counts, error) {
	b, _ := d.pool.Get().(*batch)
	if b == nil {
		b = newBatch(&d.opts, &d.sources)
	}
	defer func() {
		if b.reset(); b.modest() {
			d.pool.Put(b)
		}
	}()
	if err := how(b, msg); err != nil {
		return Counts{}, err
	}
	b.resolve()
	if len(b.events) > 0 {
		if err := sink.Events(b.events); err != nil {
			return Counts{}, err
		}
	}
	b.counts.Events = int64(len(b.events))
	return b.counts, nil
}

// Decoder turns single messages into events, for whoever receives them in another way than Server does. It is safe for
// several goroutines.
type Decoder struct {
	d    *decoder
	sink Sink
}

// NewDecoder makes a decoder that gives events to sink.
func NewDecoder(o Options, sink Sink) (*Decoder, error) {
	d, err := newDecoder(o)
	if err != nil {
		return nil, err
	}
	return &Decoder{d, sink}, nil
}

// Proto takes an ExportTraceServiceRequest in protobuf. The error is a *DataError for a bad message, else the sink's.
func (d *Decoder) Proto(msg []byte) (Counts, error) { return d.d.run(decodeProto, msg, d.sink) }

// sources keeps one *event.Source per distinct resource, at most maxSources; beyond that it starts anew, which costs
// memory in what keeps the older ones, not truth.
type sources struct {
	mu  sync.Mutex
	all map[event.Source]*event.Source
}

const maxSources = 4096

// of returns the shared Source equal to s, whose texts may alias a message; nil where nothing is known.
func (t *sources) of(s event.Source) *event.Source {
	if s == (event.Source{}) {
		return nil
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if p := t.all[s]; p != nil {
		return p
	}
	if t.all == nil || len(t.all) >= maxSources {
		t.all = make(map[event.Source]*event.Source)
	}
	p := &event.Source{Service: clone(s.Service), Version: clone(s.Version), Host: clone(s.Host), Pid: s.Pid}
	t.all[*p] = p
	return p
}

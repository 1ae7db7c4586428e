// Package event is the one vocabulary that every source of demarc produces and every analysis reads.
//
// The types are plain data. A field that is absent means "not known", never a zero value, so that an analysis can say
// what it lacked: fields whose zero value would be a legal reading are Opt, the others (a status, a pid, a hash, a
// text) are unknown when they are zero. docs/events.md describes each field; a test keeps that page and these structs
// the same.
//
// The package imports only the standard library and does no I/O: lines are parsed by ParseJSON and written by
// AppendJSON, whoever reads or writes the file.
package event

// SchemaVersion is the version of the vocabulary. A reader meets newer events by keeping what it does not know
// (Event.Extra), so the number only rises when the meaning of an existing field changes.
const SchemaVersion = 1

// Type says what an event tells.
type Type uint8

// The types of events. Other is a type that this version does not know; its name is in Event.TypeName and all its
// fields are in Event.Extra.
const (
	Other Type = iota
	TypeRequest
	TypeQuery
	TypeTxn
	TypeCache
	TypeCall
	TypeTask
	TypeProcess
	TypeChange
	TypeMark
	TypeRecorder
	numTypes
)

var typeNames = [numTypes]string{
	"", "request", "query", "txn", "cache", "call", "task", "process", "change", "mark", "recorder",
}

// String returns the type's name as it stands in JSON; "" for Other.
func (t Type) String() string {
	if t >= numTypes {
		return ""
	}
	return typeNames[t]
}

// TypeNamed returns the type with that JSON name, or Other.
func TypeNamed(name string) Type {
	for t := TypeRequest; t < numTypes; t++ {
		if typeNames[t] == name {
			return t
		}
	}
	return Other
}

// Opt is a value that may not be known. The zero Opt is "not known".
type Opt[T any] struct {
	V     T
	Known bool
}

// Some returns a known value.
func Some[T any](v T) Opt[T] { return Opt[T]{V: v, Known: true} }

// Or returns the value, or other where it is not known.
func (o Opt[T]) Or(other T) T {
	if o.Known {
		return o.V
	}
	return other
}

// Hash is a keyed BLAKE2b of 8 bytes over a value's canonical text, 16 lower-case hex digits in JSON. Zero means "not
// known"; a source whose hash comes out as zero writes one instead.
type Hash uint64

// NamedHash is an input or argument by name with the keyed hash of its value.
type NamedHash struct {
	Name string
	Hash Hash
}

// Pair is a name with a value in clear text.
type Pair struct{ Name, Value string }

// Source is the process that an event comes from. Events share one *Source per process and code version; it must not
// be changed after the first event that points to it.
type Source struct {
	Service     string `event:"service"`
	Version     string `event:"version"`      // of the service's code
	VersionFrom string `event:"version_from"` // env, git or mtime
	Host        string `event:"host"`
	Pid         int64  `event:"pid"`
}

// Event is one thing that happened. Exactly one of the typed pointers is set for a known Type, none for Other.
type Event struct {
	Type     Type
	TypeName string // the name of a type that this version does not know

	At     int64      `event:"at"`  // start, Unix nanoseconds; always known
	Dur    Opt[int64] `event:"dur"` // nanoseconds
	Trace  string     `event:"trace"`
	Span   string     `event:"span"`
	Parent string     `event:"parent"`
	Source *Source    // nil where no field of it is known
	Seq    uint64     `event:"seq"` // order of completion inside one process, from 1, increasing, gaps allowed

	Request  *Request
	Query    *Query
	Txn      *Txn
	Cache    *Cache
	Call     *Call
	Task     *Task
	Process  *Process
	Change   *Change
	Mark     *Mark
	Recorder *Recorder

	// Extra holds, as the members of one JSON object without its braces, what this version does not know: unknown
	// fields, and known fields that were present without telling anything (null, or a zero where zero means unknown).
	Extra string
}

// End is the time at which the event ended, Unix nanoseconds: At where the duration is not known.
func (e *Event) End() int64 { return e.At + e.Dur.Or(0) }

// Request is one HTTP request or one background job.
type Request struct {
	Kind          string      `event:"kind"`   // http or job
	Method        string      `event:"method"` // upper case
	Route         string      `event:"route"`  // template, such as /articles/{slug}; a job's name
	Target        string      `event:"target"` // path and query as sent, redacted as the privacy settings say
	Status        int64       `event:"status"`
	Error         string      `event:"error"`     // exception type and code line: "ValueError at shop.app:create:42"
	Principal     string      `event:"principal"` // keyed hash of the identity, "-" for anonymous
	Vary          []NamedHash `event:"vary"`      // candidate inputs, sorted by name
	BodyHash      Hash        `event:"body_hash"` // of the uncompressed body
	BodyHashNone  string      `event:"body_hash_none"`
	BodyBytes     Opt[int64]  `event:"body_bytes"`
	RequestBytes  Opt[int64]  `event:"request_bytes"`
	Headers       []Pair      `event:"headers"` // of the response, sorted by name; set-cookie only as "true"
	Test          string      `event:"test"`    // name of the running test
	FirstByteDur  Opt[int64]  `event:"first_byte_dur"`
	Disconnected  Opt[bool]   `event:"disconnected"`
	RequestCookie Opt[bool]   `event:"request_cookie"`
}

// Query is one statement that the service sent to a database.
type Query struct {
	DB         string     `event:"db"`     // postgresql, sqlite, mysql
	Text       string     `event:"text"`   // SQL with placeholders; literals never
	Params     []Hash     `event:"params"` // in order; zero where one is not known
	ParamNames []string   `event:"param_names"`
	Rows       Opt[int64] `event:"rows"`
	PKs        []Hash     `event:"pks"`
	ResultHash Hash       `event:"result_hash"`
	Txn        string     `event:"txn"`
	Role       string     `event:"role"` // primary or replica
	Many       Opt[int64] `event:"many"` // parameter sets of an executemany
	Error      string     `event:"error"`
	Code       string     `event:"code"` // module:function:line
}

// Txn is a begin, commit or rollback, timed after the database answered.
type Txn struct {
	Op        string `event:"op"` // begin, commit, rollback
	DB        string `event:"db"`
	Txn       string `event:"txn"`
	Xid       uint64 `event:"xid"`
	Lsn       uint64 `event:"lsn"`
	Isolation string `event:"isolation"`
	Error     string `event:"error"`
}

// Cache is one operation on one key (or tag, pattern, store) of a cache.
type Cache struct {
	Op             string     `event:"op"`    // get, set, delete, clear, delete-tag, expire, evict
	Layer          string     `event:"layer"` // local, shared, http
	Store          string     `event:"store"`
	Key            string     `event:"key"`
	KeyParts       []Pair     `event:"key_parts"` // sorted by name
	Hit            Opt[bool]  `event:"hit"`
	ValueHash      Hash       `event:"value_hash"`
	ValueForm      string     `event:"value_form"` // canonical or raw
	ValueKind      string     `event:"value_kind"` // value, none, empty, error
	Bytes          Opt[int64] `event:"bytes"`
	TTLMs          Opt[int64] `event:"ttl_ms"` // asked
	TTLEffectiveMs Opt[int64] `event:"ttl_effective_ms"`
	Tags           []string   `event:"tags"`
	Tag            string     `event:"tag"`
	Pattern        string     `event:"pattern"`
	Removed        Opt[int64] `event:"removed"`
	Count          Opt[int64] `event:"count"` // how many equal operations this event stands for; absent: one
	Error          string     `event:"error"`
	Txn            string     `event:"txn"`        // the open transaction it happened in
	FillStart      int64      `event:"fill_start"` // Unix nanoseconds at which the read behind this set began
	Code           string     `event:"code"`
}

// Call is one call of an observed function.
type Call struct {
	Code       string      `event:"code"`
	ArgsHash   Hash        `event:"args_hash"`
	Args       []NamedHash `event:"args"`
	Principal  string      `event:"principal"`
	ResultHash Hash        `event:"result_hash"`
	Bytes      Opt[int64]  `event:"bytes"`
	Error      string      `event:"error"`
}

// Task is a step in the life of a background job.
type Task struct {
	Op    string `event:"op"` // enqueue, start, end, fail
	ID    string `event:"id"`
	Name  string `event:"name"`
	Queue string `event:"queue"`
	Error string `event:"error"`
}

// Process is the start, fork or exit of a process of the service.
type Process struct {
	Op      string `event:"op"` // start, fork, exit
	Ppid    int64  `event:"ppid"`
	Runtime string `event:"runtime"` // such as "CPython 3.11.7"
	Program string `event:"program"` // name of the program, without its arguments
}

// Change is one committed row from a database's log.
type Change struct {
	DB      string   `event:"db"`
	Lsn     uint64   `event:"lsn"` // of its commit
	Xid     uint64   `event:"xid"`
	Table   string   `event:"table"`
	Op      string   `event:"op"` // insert, update, delete, truncate
	PK      []Hash   `event:"pk"`
	Columns []string `event:"columns"`
	Origin  string   `event:"origin"`
}

// Mark is a point in time that someone named.
type Mark struct {
	Name string `event:"name"`
	Text string `event:"text"`
}

// Recorder is what a recorder says of itself: counts since the start of its process.
type Recorder struct {
	Recording Opt[bool]    `event:"recording"` // false while switched off
	Dropped   Opt[int64]   `event:"dropped"`   // events that did not reach the collector
	Sampled   Opt[int64]   `event:"sampled"`   // events left out by sampling
	Rate      Opt[float64] `event:"rate"`      // share of keys kept, 0..1
	Hooks     []Pair       `event:"hooks"`     // hook name to on, off, waiting (module not imported) or failed, sorted
	Failures  []Count      `event:"failures"`  // hook name to failures caught, sorted
	CostNs    Opt[int64]   `event:"cost_ns"`   // processor time of the recorder's own thread
}

// Count is a name with a number.
type Count struct {
	Name string
	N    int64
}

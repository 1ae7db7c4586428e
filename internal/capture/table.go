package capture

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"

	"github.com/parquet-go/parquet-go"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
)

// Table is one exported file.
type Table struct {
	File string `json:"file"`
	Rows int64  `json:"rows"`
}

const (
	// rowGroup bounds how many rows of a table wait in memory; with eleven tables about 100 MB.
	rowGroup = 32 << 10
	// rowsAtOnce is how many rows are handed on at a time.
	rowsAtOnce = 512
)

// ExportParquet writes one Parquet file a type of event into dir, which is made if need be: request.parquet,
// query.parquet, … and other.parquet for types that this version does not know, each also where it has no rows. The
// files appear under their names when all of them are whole. docs/parquet.md describes the columns.
func ExportParquet(ctx context.Context, r *Reader, dir string) (_ []Table, err error) {
	fail := func(err error) error {
		var f *fault.Error
		if errors.As(err, &f) || errors.Is(err, context.Canceled) {
			return err
		}
		return &fault.Error{What: "cannot export to " + dir, Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe}
	}
	if err := os.MkdirAll(dir, dirMode); err != nil {
		return nil, fail(err)
	}
	sinks := newSinks()
	defer func() {
		for _, s := range sinks {
			err = errors.Join(err, s.discard())
		}
	}()
	for _, s := range sinks {
		if err := s.open(dir); err != nil {
			return nil, fail(err)
		}
	}
	for batch, err := range r.Batches() {
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, fail(err)
		}
		for i := range batch {
			if err := sinks[batch[i].Type].add(&batch[i]); err != nil {
				return nil, fail(err)
			}
		}
	}
	for _, s := range sinks {
		if err := s.finish(); err != nil {
			return nil, fail(err)
		}
	}
	var tables []Table
	for _, s := range sinks {
		if err := os.Rename(s.temp, s.path); err != nil {
			return nil, fail(err)
		}
		s.temp = ""
		tables = append(tables, Table{s.path, s.n})
	}
	if err := (osFS{}).SyncDir(dir); err != nil {
		return nil, fail(err)
	}
	return tables, nil
}

// sink is one table being written.
type sink struct {
	name    string
	columns []sinkColumn
	path    string
	temp    string // "" once renamed
	file    *os.File
	w       *parquet.GenericWriter[any]
	rows    []parquet.Row
	n       int64
}

// sinkColumn is one top-level column: its shape, and how an event's values are appended to a row. first is the number
// of its first leaf.
type sinkColumn struct {
	name   string
	node   parquet.Node
	leaves int
	append func(row parquet.Row, first int, e *event.Event) parquet.Row
}

// newSinks returns the tables by type, event.Other first.
func newSinks() []*sink {
	return []*sink{
		event.Other: {name: "other", columns: sinkColumns[event.Event]([]field[event.Event]{typeField},
			func(e *event.Event) **event.Event { return &e })},
		event.TypeRequest:  sinkOf(event.TypeRequest, requestFields, func(e *event.Event) **event.Request { return &e.Request }),
		event.TypeQuery:    sinkOf(event.TypeQuery, queryFields, func(e *event.Event) **event.Query { return &e.Query }),
		event.TypeTxn:      sinkOf(event.TypeTxn, txnFields, func(e *event.Event) **event.Txn { return &e.Txn }),
		event.TypeCache:    sinkOf(event.TypeCache, cacheFields, func(e *event.Event) **event.Cache { return &e.Cache }),
		event.TypeCall:     sinkOf(event.TypeCall, callFields, func(e *event.Event) **event.Call { return &e.Call }),
		event.TypeTask:     sinkOf(event.TypeTask, taskFields, func(e *event.Event) **event.Task { return &e.Task }),
		event.TypeProcess:  sinkOf(event.TypeProcess, processFields, func(e *event.Event) **event.Process { return &e.Process }),
		event.TypeChange:   sinkOf(event.TypeChange, changeFields, func(e *event.Event) **event.Change { return &e.Change }),
		event.TypeMark:     sinkOf(event.TypeMark, markFields, func(e *event.Event) **event.Mark { return &e.Mark }),
		event.TypeRecorder: sinkOf(event.TypeRecorder, recorderFields, func(e *event.Event) **event.Recorder { return &e.Recorder }),
	}
}

var typeField = newField("type", textCodec, func(e *event.Event) *string { return &e.TypeName })

func sinkOf[T any](t event.Type, fields []field[T], of func(*event.Event) **T) *sink {
	return &sink{name: t.String(), columns: sinkColumns(fields, of)}
}

// sinkColumns puts the common columns before those of the type, and the unknown fields last.
func sinkColumns[T any](fields []field[T], of func(*event.Event) **T) []sinkColumn {
	var list []sinkColumn
	common := func(name string, c tableColumn[event.Event]) {
		list = append(list, sinkColumn{name, c.node, c.leaves, c.append})
	}
	common("at", newTableColumn(func(e *event.Event) *tableTime { return (*tableTime)(&e.At) }))
	common("dur", newTableColumn(func(e *event.Event) *event.Opt[int64] { return &e.Dur }))
	common("trace", newTableColumn(func(e *event.Event) *string { return &e.Trace }))
	common("span", newTableColumn(func(e *event.Event) *string { return &e.Span }))
	common("parent", newTableColumn(func(e *event.Event) *string { return &e.Parent }))
	for _, s := range []struct {
		name string
		at   func(*event.Source) *string
	}{
		{"service", func(s *event.Source) *string { return &s.Service }},
		{"version", func(s *event.Source) *string { return &s.Version }},
		{"version_from", func(s *event.Source) *string { return &s.VersionFrom }},
		{"host", func(s *event.Source) *string { return &s.Host }},
	} {
		common(s.name, newTableColumn(func(e *event.Event) *string { return s.at(sourceOf(e)) }))
	}
	common("pid", newTableColumn(func(e *event.Event) *int64 { return &sourceOf(e).Pid }))
	common("seq", newTableColumn(func(e *event.Event) *uint64 { return &e.Seq }))
	for _, f := range fields {
		list = append(list, sinkColumn{f.name, f.table.node, f.table.leaves, func(row parquet.Row, first int, e *event.Event) parquet.Row {
			return f.table.append(row, first, *of(e))
		}})
	}
	common("extra", newTableColumn(func(e *event.Event) *tableJSON { return (*tableJSON)(&e.Extra) }))
	return list
}

var noSource event.Source

func sourceOf(e *event.Event) *event.Source {
	if e.Source == nil {
		return &noSource
	}
	return e.Source
}

func (s *sink) open(dir string) error {
	s.path = filepath.Join(dir, s.name+".parquet")
	s.temp = s.path + ".tmp"
	f, err := os.OpenFile(s.temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		s.temp = ""
		return err
	}
	s.file = f
	group := orderedGroup{Group: parquet.Group{}}
	for _, c := range s.columns {
		group.Group[c.name] = c.node
		group.names = append(group.names, c.name)
	}
	s.w = parquet.NewGenericWriter[any](f, parquet.NewSchema(s.name, group), parquet.Compression(&parquet.Zstd),
		parquet.MaxRowsPerRowGroup(rowGroup), parquet.CreatedBy("demarc", "", ""))
	return nil
}

func (s *sink) add(e *event.Event) error {
	if len(s.rows) == cap(s.rows) {
		s.rows = append(s.rows, nil)
	} else {
		s.rows = s.rows[:len(s.rows)+1]
	}
	row := s.rows[len(s.rows)-1][:0]
	first := 0
	for i := range s.columns {
		row = s.columns[i].append(row, first, e)
		first += s.columns[i].leaves
	}
	s.rows[len(s.rows)-1] = row
	s.n++
	if len(s.rows) == rowsAtOnce {
		return s.flush()
	}
	return nil
}

func (s *sink) flush() error {
	_, err := s.w.WriteRows(s.rows)
	s.rows = s.rows[:0]
	return err
}

func (s *sink) finish() error {
	f := s.file
	s.file = nil
	return errors.Join(s.flush(), s.w.Close(), f.Sync(), f.Close())
}

// discard removes what was not finished.
func (s *sink) discard() error {
	if s.temp == "" {
		return nil
	}
	if s.file != nil {
		_ = s.file.Close()
	}
	return os.Remove(s.temp)
}

// orderedGroup is a group whose fields keep the order of declaration.
type orderedGroup struct {
	parquet.Group
	names []string
}

func (g orderedGroup) Fields() []parquet.Field {
	fields := g.Group.Fields()
	slices.SortFunc(fields, func(a, b parquet.Field) int {
		return slices.Index(g.names, a.Name()) - slices.Index(g.names, b.Name())
	})
	return fields
}

// tableTime is Unix nanoseconds, shown as a time; tableJSON the members of a JSON object, shown as that object.
type (
	tableTime int64
	tableJSON string
)

// tableColumn is how a field of T stands in an exported table.
type tableColumn[T any] struct {
	node   parquet.Node
	leaves int
	append func(row parquet.Row, first int, v *T) parquet.Row
}

func textNode() parquet.Node { return parquet.Encoded(parquet.String(), &parquet.RLEDictionary) }

// newTableColumn chooses the shape by the field's type. What is not known is null everywhere.
func newTableColumn[T, V any](at func(*T) *V) tableColumn[T] {
	var shape any = new(V)
	var node parquet.Node
	leaves := 1
	switch shape.(type) {
	case *string, *event.Hash:
		node = textNode()
	case *tableJSON:
		node = parquet.Encoded(parquet.JSON(), &parquet.Plain)
	case *tableTime:
		node = parquet.Encoded(parquet.TimestampAdjusted(parquet.Nanosecond, false), &parquet.DeltaBinaryPacked)
	case *int64, *event.Opt[int64]:
		node = parquet.Int(64)
	case *uint64:
		node = parquet.Uint(64)
	case *event.Opt[bool]:
		node = parquet.Leaf(parquet.BooleanType)
	case *event.Opt[float64]:
		node = parquet.Leaf(parquet.DoubleType)
	case *[]event.Hash:
		node = parquet.List(parquet.Optional(textNode()))
	case *[]string:
		node = parquet.List(textNode())
	case *[]event.NamedHash:
		node, leaves = parquet.Map(textNode(), parquet.Optional(textNode())), 2
	case *[]event.Pair:
		node, leaves = parquet.Map(textNode(), textNode()), 2
	case *[]event.Count:
		node, leaves = parquet.Map(textNode(), parquet.Int(64)), 2
	default: // what only the capture's own columns hold
		return tableColumn[T]{}
	}
	return tableColumn[T]{node: parquet.Optional(node), leaves: leaves, append: func(row parquet.Row, first int, v *T) parquet.Row {
		return appendCells(row, first, at(v))
	}}
}

// appendCells appends the values of one column to a row. Definition levels: 0 the column is null, 1 it has a value or
// is a list, 2 an element, 3 an element that could have been null.
func appendCells(row parquet.Row, first int, v any) parquet.Row {
	one := func(known bool, value func() parquet.Value) parquet.Row {
		if !known {
			return append(row, parquet.NullValue().Level(0, 0, first))
		}
		return append(row, value().Level(0, 1, first))
	}
	text := func(s string) parquet.Value { return parquet.ByteArrayValue([]byte(s)) }
	// each appends one leaf of a list of n elements.
	each := func(n, leaf int, optional bool, value func(int) (parquet.Value, bool)) {
		if n == 0 {
			row = append(row, parquet.NullValue().Level(0, 0, leaf))
		}
		for i := range n {
			value, known := value(i)
			level := 2
			if optional && known {
				level = 3
			}
			row = append(row, value.Level(min(i, 1), level, leaf))
		}
	}
	hash := func(h event.Hash) (parquet.Value, bool) {
		if h == 0 {
			return parquet.NullValue(), false
		}
		return text(h.String()), true
	}
	switch v := v.(type) {
	case *string:
		return one(*v != "", func() parquet.Value { return text(*v) })
	case *event.Hash:
		return one(*v != 0, func() parquet.Value { return text(v.String()) })
	case *tableJSON:
		return one(*v != "", func() parquet.Value { return text("{" + string(*v) + "}") })
	case *tableTime:
		return one(*v != 0, func() parquet.Value { return parquet.Int64Value(int64(*v)) })
	case *int64:
		return one(*v != 0, func() parquet.Value { return parquet.Int64Value(*v) })
	case *uint64:
		return one(*v != 0, func() parquet.Value { return parquet.Int64Value(int64(*v)) })
	case *event.Opt[int64]:
		return one(v.Known, func() parquet.Value { return parquet.Int64Value(v.V) })
	case *event.Opt[bool]:
		return one(v.Known, func() parquet.Value { return parquet.BooleanValue(v.V) })
	case *event.Opt[float64]:
		return one(v.Known, func() parquet.Value { return parquet.DoubleValue(v.V) })
	case *[]event.Hash:
		each(len(*v), first, true, func(i int) (parquet.Value, bool) { return hash((*v)[i]) })
	case *[]string:
		each(len(*v), first, false, func(i int) (parquet.Value, bool) { return text((*v)[i]), true })
	case *[]event.NamedHash:
		each(len(*v), first, false, func(i int) (parquet.Value, bool) { return text((*v)[i].Name), true })
		each(len(*v), first+1, true, func(i int) (parquet.Value, bool) { return hash((*v)[i].Hash) })
	case *[]event.Pair:
		each(len(*v), first, false, func(i int) (parquet.Value, bool) { return text((*v)[i].Name), true })
		each(len(*v), first+1, false, func(i int) (parquet.Value, bool) { return text((*v)[i].Value), true })
	case *[]event.Count:
		each(len(*v), first, false, func(i int) (parquet.Value, bool) { return text((*v)[i].Name), true })
		each(len(*v), first+1, false, func(i int) (parquet.Value, bool) { return parquet.Int64Value((*v)[i].N), true })
	}
	return row
}

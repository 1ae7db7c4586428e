package change

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/goccy/go-yaml"

	"github.com/demarc-dev/demarc/internal/fault"
)

// ItemAudit is the id of the item that an audit does.
const ItemAudit = "audit"

// Outcome is what came of a command that demarc has run itself.
type Outcome struct {
	Command  string // as it can be given again
	At       time.Time
	Duration time.Duration
	ExitCode int
	Output   string // the end of it is kept
	Detail   string // why it failed
}

// KeepAudit keeps the outcome of an audit as a run of the record's item ItemAudit, which it adds to the end of the checklist
// where the record has none. All else of the record stays byte for byte. It refuses if the file has changed since it was read.
func (r *Record) KeepAudit(ctx context.Context, o Outcome) (*Run, error) {
	if r.Item(ItemAudit) == nil {
		if err := r.addItem(Item{ID: ItemAudit, Item: "audit caches and security", Run: &Command{Run: o.Command}}); err != nil {
			return nil, err
		}
	}
	run := NewRun(KindItem, o.At)
	run.Item = ItemAudit
	run.By, run.Commit = whoAndWhere(ctx)
	run.State = StatePassed
	if o.ExitCode != 0 {
		run.State, run.Detail = StateFailed, o.Detail
	}
	took := o.Duration.Round(time.Millisecond).String()
	run.Duration = took
	run.Steps = []Step{{
		Name: ItemAudit, Command: o.Command, State: run.State, ExitCode: &o.ExitCode, At: o.At.UTC(), Duration: took, Detail: run.Detail, Output: o.Output,
	}}
	return run, r.SaveRun(run)
}

// addItem writes an item at the end of the checklist into the record.
func (r *Record) addItem(item Item) error {
	fail := func(cause error) error {
		return &fault.Error{What: "cannot add " + item.ID + " to the checklist of " + r.path, Cause: cause, Retry: fault.RetrySafe,
			Expected: "a record whose top-level keys stand at the beginning of their lines, and permission to write"}
	}
	now, err := readBounded(r.path, MaxRecord)
	if err != nil {
		return fail(err)
	}
	if !bytes.Equal(now, r.data) {
		return fail(errors.New("it was changed by somebody else meanwhile"))
	}
	whole := append(slices.Clone(r.Checklist), item)
	data, parsed := r.appended(item)
	if parsed == nil || len(parsed.Checklist) != len(whole) { // a list in another form than one item a line
		if data, err = replaceKey(r.data, "checklist", whole, false, "not_claimed"); err != nil {
			return fail(err)
		}
		if parsed, err = Parse(data); err != nil {
			return fail(err)
		}
	}
	if err := WriteFile(r.path, data); err != nil {
		return fail(err)
	}
	parsed.path = r.path
	*r = *parsed
	return nil
}

// appended puts an item behind the last line of the checklist, so that comments between its items stay. It returns nil where
// the result is no record.
func (r *Record) appended(item Item) ([]byte, *Record) {
	_, to, ok := keyLines(r.data, "checklist")
	if !ok || to == 0 || r.data[to-1] != '\n' {
		return nil, nil
	}
	text, err := yaml.MarshalWithOptions([]Item{item}, yaml.Indent(2), yaml.IndentSequence(true))
	if err != nil {
		return nil, nil
	}
	var b bytes.Buffer
	b.Write(r.data[:to])
	for line := range bytes.Lines(text) {
		b.WriteString("  ")
		b.Write(bytes.TrimPrefix(line, []byte("  ")))
	}
	b.Write(r.data[to:])
	parsed, err := Parse(b.Bytes())
	if err != nil {
		return nil, nil
	}
	return b.Bytes(), parsed
}

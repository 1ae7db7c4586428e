package forecast

import "github.com/demarc-dev/demarc/event"

// maxWriters bounds the pairs of table and process, and the processes, that are remembered; beyond it no write is known to be heard.
const maxWriters = 10_000

// process is one process of a service.
type process struct {
	service, host string
	pid           int64
}

type writer struct {
	table uint32
	process
}

// writers tell whether what listens to the statements of a library, which has a hook of the recorder's, would hear the writes
// to a table. A hook says that a process has the library, not that a statement goes through it: it is taken for that.
type writers struct {
	hook string
	on   map[process]bool // processes in which the hook is on
	by   map[writer]bool
	more bool // than are remembered
}

func newWriters(hook string) writers {
	return writers{hook: hook, on: map[process]bool{}, by: map[writer]bool{}}
}

// hooks notes what a recorder says that it watches.
func (w *writers) hooks(e *event.Event) {
	if w.hook == "" || e.Source == nil || len(w.on) >= maxWriters {
		return
	}
	for _, h := range e.Recorder.Hooks {
		if h.Name == w.hook && h.Value == "on" {
			w.on[process{e.Source.Service, e.Source.Host, e.Source.Pid}] = true
		}
	}
}

// wrote notes a statement that writes to a table.
func (w *writers) wrote(e *event.Event, table uint32) {
	if w.hook == "" {
		return
	}
	who := writer{table: table} // of an unknown process
	// SQLAlchemy begins a transaction before it writes: a write outside of any is the driver's own.
	if e.Source != nil && (w.hook != "sqlalchemy" || e.Query.Txn != "") {
		who.process = process{e.Source.Service, e.Source.Host, e.Source.Pid}
	}
	if len(w.by) >= maxWriters && !w.by[who] {
		w.more = true
		return
	}
	w.by[who] = true
}

// unheard says that a write to a table was not heard, or might not be: one of a process that has not the library; where none
// was observed, in a service of which no process has it.
func (w *writers) unheard(table uint32) bool {
	if w.hook == "" {
		return false
	}
	observed := false
	for who := range w.by {
		if who.table == table {
			observed = true
			if !w.on[who.process] {
				return true
			}
		}
	}
	return w.more || !observed && len(w.on) == 0
}

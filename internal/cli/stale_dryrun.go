package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/sqlread"
	"github.com/demarc-dev/demarc/internal/stale"
)

// maxDryRunTraces bounds the requests whose writes wait for the request's own event, and with it the route's name.
const maxDryRunTraces = 65_536

// dryRun says which live keys depend on what a statement, or the writes of a route, would write. Nothing is executed.
func (x *staleFlags) dryRun(cmd *cobra.Command, dir string, budgets map[string]time.Duration) error {
	r, err := capture.Open(dir)
	if err != nil {
		return err
	}
	writes, isSQL, err := x.statementWrites(dir)
	if err != nil {
		return err
	}
	if !isSQL {
		if writes, err = routeWrites(cmd.Context(), r, x.wouldDelete); err != nil {
			return err
		}
	}
	versions, err := x.versions(cmd.Context(), r, dir)
	if err != nil {
		return err
	}
	d, err := detect(cmd.Context(), cmd.ErrOrStderr(), r, dir, "", budgets, true)
	if err != nil {
		return err
	}
	deps := d.WouldDelete(writes, versions)
	if isSQL {
		deps.SQL = sqlread.Fingerprint(sqlread.Any, x.wouldDelete)
	} else {
		deps.Route = x.wouldDelete
	}
	out := cmd.OutOrStdout()
	if x.json {
		err = report.DependentsJSON(out, deps)
	} else {
		err = report.DependentsTerminal(out, deps, terminalOptions(out))
	}
	if err != nil {
		return &fault.Error{What: "cannot write the answer", Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe}
	}
	return nil
}

// versions reads which keys are made of the value of another; nil without the hashing key, which only a statement with values
// cannot do without.
func (x *staleFlags) versions(ctx context.Context, r *capture.Reader, dir string) (*stale.Versions, error) {
	hash, err := recorder.Hasher(cmp.Or(x.key, keyBeside(dir)))
	if err != nil {
		return nil, nil
	}
	v := stale.NewVersions(hash)
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		v.Add(batch)
	}
	return v, nil
}

// statementWrites reads --would-delete as SQL; isSQL is false where it is the name of a route.
func (x *staleFlags) statementWrites(dir string) (writes []stale.Write, isSQL bool, err error) {
	text := x.wouldDelete
	st := sqlread.Read(sqlread.Any, text)
	if !st.Writes() {
		first, _, _ := strings.Cut(strings.TrimSpace(text), " ")
		if st.Kind == sqlread.Other && !slices.Contains([]string{"SELECT", "WITH", "MERGE", "TRUNCATE"}, strings.ToUpper(first)) {
			return nil, false, nil
		}
		return nil, false, &fault.Error{What: "cannot tell what this would delete", Cause: errors.New("the statement writes no table"),
			Expected: "an INSERT, UPDATE, DELETE or TRUNCATE, or a route such as 'PATCH /articles/{id}'", Retry: fault.RetryUseless,
			Try: "demarc stale --would-delete \"UPDATE articles SET title = 'x' WHERE id = 7\"", Code: fault.ExitUsage}
	}
	hash, err := x.hasher(dir, &st)
	if err != nil {
		return nil, true, err
	}
	return writesOf(&st, func(v sqlread.Value) (event.Hash, bool) {
		if v.Kind != sqlread.Literal || v.List || hash == nil {
			return 0, false
		}
		return hash(v.Text), true
	}), true, nil
}

// hasher returns the project's keyed hash, if the statement has literals to compare with rows; nil where there is none.
func (x *staleFlags) hasher(dir string, st *sqlread.Statement) (func(string) event.Hash, error) {
	literals := false
	for i := range st.Tables {
		for _, p := range st.Tables[i].Where {
			literals = literals || p.All && slices.ContainsFunc(p.Values, func(v sqlread.Value) bool { return v.Kind == sqlread.Literal })
		}
	}
	if !literals {
		return nil, nil
	}
	path := cmp.Or(x.key, keyBeside(dir))
	hash, err := recorder.Hasher(path)
	if err == nil {
		return hash, nil
	}
	cause := plainCause(err)
	if errors.Is(err, fs.ErrNotExist) {
		cause = errors.New("there is none")
	}
	return nil, &fault.Error{What: "cannot read the hashing key " + path, Cause: cause,
		Expected: "the key that the capture was made with: rows are kept as keyed hashes only", Retry: fault.RetryUseless,
		Try: "demarc stale --key FILE …, or a statement without values in WHERE, which stands for every row"}
}

// writesOf turns what a statement writes into questions to the detector. value tells the hash of a value in a predicate;
// a predicate with one that is not known is left out, which makes the write broader, never narrower.
func writesOf(st *sqlread.Statement, value func(sqlread.Value) (event.Hash, bool)) []stale.Write {
	var out []stale.Write
	for i := range st.Tables {
		t := &st.Tables[i]
		if !t.Role.Writes() {
			continue
		}
		w := stale.Write{Table: t.Name, Columns: t.Written, Op: "update"}
		switch t.Role {
		case sqlread.RoleInsert:
			w.Op, w.Columns = "insert", nil
		case sqlread.RoleDelete, sqlread.RoleTruncate, sqlread.RoleDDL:
			w.Op, w.Columns = "delete", nil
		}
		for _, p := range t.Where {
			if !p.All || p.More || len(p.Values) != 1 {
				continue
			}
			if h, ok := value(p.Values[0]); ok {
				w.Where = append(w.Where, stale.Bound{Column: p.Column, Value: h})
			}
		}
		out = append(out, w)
	}
	return out
}

// routeWrites collects what the requests of a route wrote in a capture: every table with the columns, whichever the rows.
func routeWrites(ctx context.Context, r *capture.Reader, route string) ([]stale.Write, error) {
	byTrace := map[string][]stale.Write{}
	statements := map[string][]stale.Write{}
	var found []stale.Write
	routes := map[string]bool{}
	seen := false
	add := func(to []stale.Write, from []stale.Write) []stale.Write {
		for _, w := range from {
			if !slices.ContainsFunc(to, func(x stale.Write) bool {
				return x.Table == w.Table && x.Op == w.Op && slices.Equal(x.Columns, w.Columns)
			}) {
				to = append(to, w)
			}
		}
		return to
	}
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		for i := range batch {
			e := &batch[i]
			switch {
			case e.Query != nil && e.Trace != "":
				ws, known := statements[e.Query.Text]
				if !known {
					st := sqlread.Read(sqlread.DialectOf(e.Query.DB), e.Query.Text)
					ws = writesOf(&st, func(sqlread.Value) (event.Hash, bool) { return 0, false })
					if len(statements) < maxDryRunTraces {
						statements[strings.Clone(e.Query.Text)] = ws
					}
				}
				if len(ws) > 0 && (len(byTrace) < maxDryRunTraces || byTrace[e.Trace] != nil) {
					byTrace[strings.Clone(e.Trace)] = add(byTrace[e.Trace], ws)
				}
			case e.Request != nil:
				name := strings.TrimSpace(e.Request.Method + " " + e.Request.Route)
				if len(routes) < maxMarkNames {
					routes[strings.Clone(name)] = true
				}
				if name == route || e.Request.Route == route {
					seen = true
					found = add(found, byTrace[e.Trace])
				}
				delete(byTrace, e.Trace)
			}
		}
	}
	if seen {
		return found, nil
	}
	var names []string
	for name := range routes {
		names = append(names, name)
	}
	slices.Sort(names)
	f := &fault.Error{What: fmt.Sprintf("cannot tell what %q would delete", route), Cause: errors.New("it is no statement that writes, and no route of the capture"),
		Expected: "SQL, or a route or job: " + strings.Join(names, ", "), Retry: fault.RetryUseless, Try: "demarc report", Code: fault.ExitUsage}
	if len(names) == 0 {
		f.Expected = "SQL; the capture has no request"
	}
	return nil, f
}

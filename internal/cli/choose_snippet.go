package cli

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/forecast"
	"github.com/demarc-dev/demarc/internal/snippet"
)

// writeSnippet prints how the boundaries of a file are put into a service, those of the names given or all, or writes the
// files into a folder, which is made; a file that stands there is not overwritten. The report is the one that the file was made from.
func writeSnippet(out, talk io.Writer, file *boundary.File, library string, names []string, into string, asJSON bool, rep *forecast.Report) error {
	list := file.Boundaries
	if len(names) > 0 {
		list = nil
		for _, name := range names {
			b, ok := file.Find(name)
			if !ok {
				var there []string
				for _, b := range file.Boundaries {
					there = append(there, b.Name)
				}
				return &fault.Error{What: "no boundary is named " + name, Cause: errors.New("it is not among the " + levelsInWords(snippet.Levels(library)) + " to cache, which are what a snippet puts there"),
					Expected: "one of: " + strings.Join(there, ", "), Retry: fault.RetryUseless, Try: "demarc choose --explain, for what it takes to cache it by hand", Code: fault.ExitUsage}
			}
			list = append(list, b)
		}
	}
	conf, err := config.Load("demarc choose", "")
	if err != nil {
		return err
	}
	unheard := unheardTables(rep)
	files, err := snippet.Render(library, list, snippet.Asker(conf.Observe.Principal), unheard...)
	if err != nil {
		return &fault.Error{What: "cannot write a snippet for " + library, Cause: err, Expected: "boundaries that can be put there in this way",
			Retry: fault.RetryUseless, Try: snippetTry(library, list, rep)}
	}
	for _, b := range list {
		if strings.Contains(b.Comment, forecast.Unguarded) {
			fmt.Fprintln(talk, b.Name+": "+forecast.Unguarded)
		}
	}
	notes := snippet.Notes(library, list, unheard...)
	if other := snippet.Framework(library, list, rep.Hooks); other != "" {
		notes = append([]string{other}, notes...)
	}
	for _, note := range notes {
		fmt.Fprintln(talk, "note: "+note)
	}
	switch {
	case into != "":
		return writeFiles(talk, files, into)
	case asJSON:
		enc := json.NewEncoder(out)
		enc.SetEscapeHTML(false)
		err = enc.Encode(struct {
			Schema  string         `json:"schema"`
			Library string         `json:"library"`
			Files   []snippet.File `json:"files"`
		}{snippet.Schema, library, files})
	default:
		for _, f := range files {
			if _, err = fmt.Fprintf(out, "# ==== %s\n%s", f.Name, f.Text); err != nil {
				break
			}
		}
	}
	if err != nil {
		return &fault.Error{What: "cannot write the snippet", Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe}
	}
	return nil
}

// unheardTables are the tables of which a snippet may not hear the writes.
func unheardTables(rep *forecast.Report) []string {
	var tables []string
	for i := range rep.Boundaries {
		for _, d := range rep.Boundaries[i].On {
			if d.Unheard {
				tables = append(tables, d.Table)
			}
		}
	}
	return tables
}

// levelsInWords says what boundaries of these levels are.
func levelsInWords(levels []string) string {
	words := map[string]string{boundary.Response: "whole answers", boundary.Function: "functions", boundary.Query: "statements"}
	var list []string
	for _, level := range levels {
		list = append(list, words[level])
	}
	return strings.Join(list, " and ")
}

// runBy says which line runs a statement ("shop.items:load:42"), by the name of its boundary, where that is known.
func runBy(rep *forecast.Report) map[string]string {
	lines := map[string]string{}
	for i := range rep.Boundaries {
		b := &rep.Boundaries[i]
		for _, note := range b.Notes {
			if text, ok := strings.CutPrefix(note, "run by "); ok && b.Level == forecast.LevelQuery {
				lines[b.Name], _, _ = strings.Cut(text, " (")
			}
		}
	}
	return lines
}

// snippetTry says what to do instead where a snippet cannot be written.
func snippetTry(library string, list []boundary.Boundary, rep *forecast.Report) string {
	lines, levels := runBy(rep), snippet.Levels(library)
	other := func(level string) bool {
		return !slices.Contains(levels, level) && slices.ContainsFunc(list, func(b boundary.Boundary) bool { return b.Level == level })
	}
	asker := slices.IndexFunc(list, func(b boundary.Boundary) bool {
		return b.Level == boundary.Function && slices.Contains(b.Key, "principal")
	})
	switch {
	case other(boundary.Query):
		text := "without --level, which chooses among " + levelsInWords(levels)
		i := slices.IndexFunc(list, func(b boundary.Boundary) bool { return b.Level == boundary.Query && lines[b.Name] != "" })
		if i < 0 {
			return text + "; a cache of a statement stands around the function that runs it: name that under observe.functions in demarc.yaml and observe again"
		}
		line := lines[list[i].Name]
		name := line[:max(strings.LastIndexByte(line, ':'), 0)]
		return text + fmt.Sprintf("; the statement is run by %s: with observe: {functions: [%q]} in demarc.yaml and a new capture, demarc choose --level function --snippet cashews prints a cache of that function", line, name)
	case asker >= 0:
		return whoAsks(rep, list[asker].Name)
	case other(boundary.Function):
		return "--snippet cashews, fastapi-cache or django, which put a cache around a function; or without --level, which chooses among " + levelsInWords(levels)
	}
	return "--boundary NAME for one of them, or another of: " + strings.Join(snippet.Libraries(), ", ")
}

// whoAsks says what to do where the principal is in the key of a function, which has no request in hand.
func whoAsks(rep *forecast.Report, name string) string {
	for i := range rep.Boundaries {
		if rep.Boundaries[i].Name != name || rep.Boundaries[i].Level != forecast.LevelFunction {
			continue
		}
		for _, in := range rep.Boundaries[i].Inputs {
			switch {
			case in.Name != "principal":
			case in.Use == "key":
				return fmt.Sprintf("what %s gives differs between users (%d of %d pairs): give it the user as an argument and observe again, or cache the answers around it", name, in.Differ, in.Pairs)
			default:
				return fmt.Sprintf("the principal stays in the key of %s: %s. It is left out where several users got the same, or where no request of the whole capture had one: "+
					"observe.principal in demarc.yaml names the header or cookie that says who asks; then observe several users", name, in.Because)
			}
		}
	}
	return "a function whose key does not hold the principal"
}

func writeFiles(talk io.Writer, files []snippet.File, into string) error {
	fail := func(path string, cause error) error {
		return &fault.Error{What: "cannot write " + path, Cause: cause, Expected: "a folder to write to, without files of these names",
			Retry: fault.RetryUseless, Try: "--into another folder"}
	}
	if err := os.MkdirAll(into, 0o755); err != nil {
		return fail(into, err)
	}
	for _, f := range files {
		if _, err := os.Lstat(filepath.Join(into, f.Name)); err == nil {
			return fail(filepath.Join(into, f.Name), os.ErrExist)
		}
	}
	for _, f := range files {
		path := filepath.Join(into, f.Name)
		w, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
		if err != nil {
			return fail(path, err)
		}
		_, err = w.WriteString(f.Text)
		if err := errors.Join(err, w.Close()); err != nil {
			return fail(path, err)
		}
		fmt.Fprintln(talk, "wrote "+path)
	}
	return nil
}

package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/importer"
	"github.com/demarc-dev/demarc/internal/otlp"
	"github.com/demarc-dev/demarc/internal/recorder"
)

// maxBadLines is how many bad lines are printed; the others are counted.
const maxBadLines = 20

// importSummary is the schema demarc.import/1.
type importSummary struct {
	Schema   string         `json:"schema"`
	Capture  string         `json:"capture"`
	Events   int64          `json:"events"`
	BadLines int64          `json:"bad_lines"`
	Bytes    int64          `json:"bytes"` // of the capture, on disk
	Files    []importedFile `json:"files"`
}

type importedFile struct {
	File     string        `json:"file"`
	Lines    int64         `json:"lines"`
	Events   int64         `json:"events"`
	BadLines int64         `json:"bad_lines"`
	Skipped  int64         `json:"skipped,omitempty"` // requests that are not wanted, or never reached the service
	Bytes    int64         `json:"bytes"`             // as stored, compressed or not
	Form     importer.Form `json:"form"`
	Spans    *otlp.Counts  `json:"spans,omitempty"` // what became of spans; absent for events
}

func newImportCommand() *cobra.Command {
	var output, service, keys string
	var strict, asJSON bool
	var format, host string
	var routes []string
	cmd := &cobra.Command{
		Use:     "import FILE...",
		Short:   "Read events, spans, HARs and access logs into a new capture",
		GroupID: groupMore,
		Args:    cobra.MinimumNArgs(1),
		Long: "Reads event JSON Lines (docs/events.md), spans of OpenTelemetry in JSON or protobuf (docs/otlp.md), HARs, and access logs\n" +
			"of nginx, Apache, Caddy, gunicorn and uvicorn as text or JSON (docs/import.md), plain or compressed with gzip or\n" +
			"zstd, into a new capture. What a file holds is told by how it begins, or by --format. FILE may be - for standard\n" +
			"input. A line that cannot be read is reported with its number, and the rest is read.\n\n" +
			"Access logs do not name routes: numbers, UUIDs and hashes in a path become {}, unless --route gives the template.",
		Example: "  demarc import spans.json spans.pb -o captures/otel\n  demarc import events.jsonl.gz -o captures/monday\n" +
			"  demarc import access.log.1.gz access.log --route '/articles/{slug}' -o captures/nginx\n  demarc import shop.har --host shop.example\n" +
			"  docker logs -t shop | demarc import -\n  demarc export captures/monday | demarc import - -o captures/again",
		RunE: func(cmd *cobra.Command, args []string) error {
			wanted := output != ""
			if !wanted {
				output = capture.NewPath(capture.Root, service, time.Now())
			}
			if keys != "clear" && keys != "hashed" {
				return usageError(cmd, fmt.Sprintf("--keys is clear or hashed, not %q", keys))
			}
			if format != "" && !slices.Contains(importer.Forms(), format) {
				return usageError(cmd, fmt.Sprintf("there is no format %q, only %s", format, strings.Join(importer.Forms(), ", ")))
			}
			for _, r := range routes {
				if err := importer.CheckRoute(r); err != nil {
					return usageError(cmd, "--route "+err.Error())
				}
			}
			im := &importing{cmd: cmd, strict: strict, keys: keys, format: importer.Form(format), routes: routes, host: host, named: wanted, summary: importSummary{Schema: "demarc.import/1", Capture: output}}
			if err := im.run(cmd.Context(), args, service); err != nil {
				return named(cmd, err)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(im.summary)
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "%d events into %s, %d bytes\n", im.summary.Events, output, im.summary.Bytes)
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "directory of the new capture (default: one under "+capture.Root+")")
	cmd.Flags().StringVar(&service, "service", "import", "name of the service, kept with the capture")
	cmd.Flags().StringVar(&keys, "keys", "hashed", "keep keys and targets clear or hashed; events stay as they are")
	cmd.Flags().StringVar(&format, "format", "", "what the files hold: "+strings.Join(importer.Forms(), ", ")+" (default: told by how each begins)")
	cmd.Flags().StringArrayVar(&routes, "route", nil, "template of routes in HARs and access logs, as `/articles/{slug}`; the first that fits counts")
	cmd.Flags().StringVar(&host, "host", "", "of HARs and access logs, only requests to this `host`")
	cmd.Flags().BoolVar(&strict, "strict", false, "fail on a bad line and leave no capture")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a summary as JSON (demarc.import/1)")
	for flag, list := range map[string][]string{"format": importer.Forms(), "keys": {"hashed", "clear"}} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// named puts the command's name before an error of a package that does not know it.
func named(cmd *cobra.Command, err error) error {
	var f *fault.Error
	if errors.As(err, &f) && f.Op == "" {
		f.Op = cmd.CommandPath()
	}
	return err
}

type importing struct {
	cmd     *cobra.Command
	strict  bool
	keys    string
	format  importer.Form // "": told by how each file begins
	routes  []string
	host    string
	named   bool // where the capture goes
	summary importSummary
}

// run reads the files into a capture beside the wanted one, which takes its name when all is there.
func (im *importing) run(ctx context.Context, files []string, service string) error {
	output := im.summary.Capture
	if _, err := os.Lstat(output); err == nil {
		return &fault.Error{What: "cannot create capture " + output, Cause: errors.New("it is there already"),
			Expected: "a name that is not taken", Retry: fault.RetryUseless, Try: "another name after -o"}
	}
	partial := filepath.Join(filepath.Dir(output), "."+filepath.Base(output)+".partial")
	if _, err := os.Stat(partial); err == nil {
		if err := capture.Drop(partial); err != nil {
			return err
		}
	}
	// What somebody imports is kept whole, whatever its size and age.
	w, err := capture.Create(partial, capture.Options{Service: service, MaxBytes: -1, MaxAge: -1})
	if err != nil {
		return err
	}
	err = im.read(ctx, w, files)
	im.summary.Bytes = w.Stats().Bytes
	err = errors.Join(err, w.Close())
	if err == nil {
		im.summary.Bytes = w.Stats().Bytes
		if err = os.Rename(partial, output); err != nil {
			err = &fault.Error{What: "cannot name capture " + output, Cause: err, Retry: fault.RetrySafe}
		}
	}
	if err != nil {
		return errors.Join(err, capture.Drop(partial))
	}
	return nil
}

func (im *importing) read(ctx context.Context, w *capture.Writer, files []string) error {
	stderr := im.cmd.ErrOrStderr()
	bar := progress(stderr, files)
	defer func() { _ = bar.Finish() }()
	printed := 0
	for _, name := range files {
		in := im.cmd.InOrStdin()
		label := "standard input"
		if name != "-" {
			label = name
			f, err := os.Open(name)
			if err != nil {
				return &fault.Error{What: "cannot read " + name, Cause: plainCause(err), Expected: "a file that docs/import.md describes, or - for standard input",
					Retry: fault.RetrySafe}
			}
			defer f.Close()
			in = f
		}
		file, err := im.file(ctx, w, io.TeeReader(in, bar), func(line int64, cause error) error {
			if printed++; printed <= maxBadLines {
				_ = bar.Clear()
				fmt.Fprintf(stderr, "%s:%d: %v\n", label, line, cause)
			}
			return nil
		})
		file.File = label
		im.summary.Files = append(im.summary.Files, file)
		im.summary.Events += file.Events
		im.summary.BadLines += file.BadLines
		if err != nil {
			var f *fault.Error
			if errors.As(err, &f) || errors.Is(err, context.Canceled) {
				return err
			}
			return &fault.Error{What: "cannot read " + label, Cause: plainCause(err),
				Expected: "events, spans of OpenTelemetry, a HAR, or an access log; plain, gzip or zstd",
				Retry:    fault.RetryUseless, Try: "another copy of the file: " + readWell(file)}
		}
	}
	_ = bar.Clear()
	bad := im.summary.BadLines
	if bad > maxBadLines {
		fmt.Fprintf(stderr, "… and %d other bad lines\n", bad-maxBadLines)
	}
	if im.summary.Events == 0 && !im.named { // it would be taken for the newest one
		return &fault.Error{What: "cannot import " + strings.Join(files, ", "), Cause: fmt.Errorf("no event was read, and %d bad lines", bad),
			Expected: "what docs/import.md describes", Retry: fault.RetryUseless, Try: "--format, if it is told wrongly what the file holds"}
	}
	if bad > 0 && im.strict {
		return &fault.Error{What: "cannot import " + strings.Join(files, ", "), Cause: fmt.Errorf("%d bad lines, and --strict was given", bad),
			Expected: "lines as docs/import.md describes", Retry: fault.RetryUseless, Try: "the same without --strict"}
	}
	return nil
}

// file reads one file, whatever it holds.
func (im *importing) file(ctx context.Context, w *capture.Writer, from io.Reader, bad func(int64, error) error) (importedFile, error) {
	in, err := importer.Open(from)
	if err != nil {
		return importedFile{}, err
	}
	defer in.Close()
	if im.format != "" {
		in.Form = im.format
	}
	done := importedFile{Form: in.Form}
	took := func(c importer.Counts, err error) (importedFile, error) {
		done.Lines, done.Events, done.BadLines, done.Skipped, done.Bytes = c.Lines, c.Events, c.Bad, c.Skipped, c.Bytes
		return done, err
	}
	format := otlp.JSON
	switch in.Form {
	case importer.Events:
		return took(in.JSONL(ctx, w.Append, bad))
	case importer.HAR, importer.Access, importer.AccessJSON:
		opt, err := im.spanOptions()
		if err != nil {
			return done, err
		}
		return took(in.Web(ctx, importer.WebOptions{Hash: opt.Hash, Target: opt.Target, Routes: im.routes, Host: im.host}, w.Append, bad))
	case importer.SpansProtobuf:
		format = otlp.Protobuf
	}
	opt, err := im.spanOptions()
	if err != nil {
		return done, err
	}
	counts, err := otlp.DecodeFile(in, format, opt, sinkFunc(func(batch []event.Event) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		return w.Append(batch)
	}))
	done.Spans, done.Events, done.Bytes = &counts, counts.Events, in.Bytes()
	return done, err
}

// spanOptions hash with the project's key, as everything that observes does, so that captures compare. It is drawn where
// there is none.
func (im *importing) spanOptions() (otlp.Options, error) {
	op, path := im.cmd.CommandPath(), filepath.Join(capture.Root, "key")
	if err := os.MkdirAll(capture.Root, 0o700); err != nil {
		return otlp.Options{}, &fault.Error{What: "cannot create the folder " + capture.Root, Cause: plainCause(err),
			Expected: "a folder that can be written to, for the hashing key", Retry: fault.RetryUseless}
	}
	if err := recorder.KeyFile(op, path); err != nil {
		return otlp.Options{}, err
	}
	hash, err := recorder.Hasher(path)
	if err != nil {
		return otlp.Options{}, &fault.Error{What: "cannot use the hashing key " + path, Cause: err, Retry: fault.RetryUseless}
	}
	return otlp.Options{Hashed: im.keys == "hashed", Hash: hash}, nil
}

// sinkFunc is a sink of one function.
type sinkFunc func([]event.Event) error

func (f sinkFunc) Events(batch []event.Event) error { return f(batch) }

func readWell(f importedFile) string {
	if f.Spans != nil {
		return fmt.Sprintf("%d spans before were read well", f.Spans.Spans)
	}
	if f.Form == importer.HAR {
		return fmt.Sprintf("%d entries before were read well", f.Lines)
	}
	return fmt.Sprintf("%d lines before were read well", f.Lines)
}

// plainCause leaves out the path that the message names already.
func plainCause(err error) error {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// progress returns a bar over the bytes of the files, which only shows on a terminal.
func progress(stderr io.Writer, files []string) *progressbar.ProgressBar {
	total := int64(0)
	for _, name := range files {
		st, err := os.Stat(name)
		if err != nil || !st.Mode().IsRegular() {
			total = -1
			break
		}
		total += st.Size()
	}
	f, ok := stderr.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return progressbar.NewOptions64(total, progressbar.OptionSetVisibility(false))
	}
	return progressbar.NewOptions64(total, progressbar.OptionSetWriter(f), progressbar.OptionShowBytes(true),
		progressbar.OptionSetDescription("reading"), progressbar.OptionThrottle(100*time.Millisecond),
		progressbar.OptionClearOnFinish(), progressbar.OptionSetWidth(20))
}

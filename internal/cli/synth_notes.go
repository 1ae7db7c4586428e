package cli

import (
	"bufio"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"os"
	"path"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/klauspost/compress/zstd"
	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/synth"
)

// synthNotesSummary is the schema demarc.synth.notes/1.
type synthNotesSummary struct {
	Schema  string `json:"schema"`
	Output  string `json:"output"`
	Format  string `json:"format"`
	Truth   string `json:"truth"`
	SHA256  string `json:"sha256"`
	Seed    uint64 `json:"seed"`
	Count   int    `json:"count"`
	Good    int    `json:"good"`
	Hostile int    `json:"hostile"`
	Bytes   int64  `json:"bytes"`
}

func newSynthNotesCommand() *cobra.Command {
	opt := synth.DefaultNotes()
	var output, truth, line string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "notes",
		Short: "Make notes for tests of import and search",
		Args:  cobra.NoArgs,
		Long: "Makes notes of a plausible form and no truth: marked as generated, with synthetic views, waiting for a person's review.\n" +
			"Markdown and plain text go into a folder, one file a note; JSON Lines to a file or standard output.\n\n" +
			"--hostile puts notes between them that must be refused: scripts, bombs of nesting, over-long lines, wrong encodings, names\n" +
			"that lead out of the folder. OUTPUT.truth.json names them.",
		Example: "  demarc synth notes --count 1000 -o notes/\n" +
			"  demarc synth notes --count 100000 --hostile -o many/ && demarc note import many/\n" +
			"  demarc synth notes --topic stale-reads --scenario publishing --format jsonl | head -1",
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := &synthNotes{cmd: cmd, output: output, truth: truth}
			var err error
			if opt.LongLine, err = byteSize(line); err != nil {
				return synthUsage(cmd, err)
			}
			if err := m.place(&opt, cmd.Flags().Changed("format"), asJSON); err != nil {
				return err
			}
			if m.notes, err = synth.NewNotes(opt); err != nil {
				return synthUsage(cmd, err)
			}
			if err := m.run(opt); err != nil {
				return named(cmd, err)
			}
			return m.tell(opt, asJSON)
		},
	}
	f := cmd.Flags()
	f.Uint64Var(&opt.Seed, "seed", opt.Seed, "what all chance follows from")
	f.IntVar(&opt.Count, "count", opt.Count, "how many notes")
	f.StringVar(&opt.Topic, "topic", "", "what all are about (default: all topics): "+strings.Join(synth.Topics(), ", "))
	f.StringVar(&opt.Scenario, "scenario", "", "the kind of service that all speak of (default: all): "+strings.Join(synth.Scenarios(), ", "))
	f.StringVar(&opt.Form, "format", opt.Form, strings.Join(synth.Forms(), ", ")+"; a name that ends in .jsonl or .jsonl.zst asks for jsonl")
	f.BoolVar(&opt.Hostile, "hostile", false, "one in sixteen must be refused by an import")
	f.StringVar(&line, "long-line", "2MB", "length of an over-long line, up to 1GB")
	f.StringVarP(&output, "output", "o", "", "`folder`, or file for JSON Lines; JSON Lines go to standard output without it")
	f.StringVar(&truth, "truth", "", "`file` for the truth (default: OUTPUT.truth.json; none for standard output)")
	f.BoolVar(&asJSON, "json", false, "print a summary as JSON (demarc.synth.notes/1); needs -o")
	for flag, list := range map[string][]string{"format": synth.Forms(), "topic": synth.Topics(), "scenario": synth.Scenarios()} {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// byteSize reads a number of bytes such as 2MB.
func byteSize(s string) (int, error) {
	unit, number := 1, strings.TrimSuffix(strings.ToUpper(s), "B")
	for suffix, u := range map[string]int{"K": 1 << 10, "M": 1 << 20, "G": 1 << 30} {
		if n, ok := strings.CutSuffix(number, suffix); ok {
			number, unit = n, u
		}
	}
	n, err := strconv.Atoi(number)
	if err != nil || n < 0 || n > synth.MaxLongLine {
		return 0, &synth.OptionError{Option: "long-line", Problem: strconv.Quote(s), Expected: "a size such as 2MB, up to 1GB"}
	}
	return min(n*unit, synth.MaxLongLine+1), nil
}

// synthNotes writes notes to their place.
type synthNotes struct {
	cmd           *cobra.Command
	notes         *synth.Notes
	output, truth string
	sum           hash.Hash
	size          int64
	report        *synth.NotesTruth
}

func (m *synthNotes) place(opt *synth.NoteOptions, formSet, asJSON bool) error {
	if m.output == "-" {
		m.output = ""
	}
	plain := strings.TrimSuffix(m.output, ".zst")
	if ext := filepath.Ext(plain); !formSet && (ext == ".jsonl" || ext == ".ndjson") {
		opt.Form = synth.FormJSONL
	}
	m.output = strings.TrimRight(m.output, "/")
	if m.output == "" {
		if opt.Form != synth.FormJSONL {
			return usageError(m.cmd, "notes as "+opt.Form+" are files and need a folder after -o; or --format jsonl")
		}
		if asJSON {
			return usageError(m.cmd, "--json prints a summary and needs -o, since the notes themselves go to standard output")
		}
		return nil
	}
	if m.truth == "" {
		m.truth = m.output + ".truth.json"
	}
	return nil
}

func (m *synthNotes) run(opt synth.NoteOptions) error {
	m.sum = sha256.New()
	switch {
	case opt.Form != synth.FormJSONL:
		return m.folder(opt)
	case m.output == "":
		if err := m.lines(m.cmd.OutOrStdout(), opt); err != nil {
			return cannotWrite("standard output", err)
		}
		return m.writeTruth()
	}
	err := capture.WriteFile(m.output, func(w io.Writer) error {
		err := m.compressed(w, opt)
		if err == nil {
			err = m.writeTruth()
		}
		return err
	})
	if err != nil {
		if m.report != nil {
			_ = os.Remove(m.truth)
		}
		return cannotWrite(m.output, err)
	}
	return nil
}

func (m *synthNotes) compressed(w io.Writer, opt synth.NoteOptions) error {
	if filepath.Ext(m.output) != ".zst" {
		return m.lines(w, opt)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return errors.Join(m.lines(z, opt), z.Close())
}

func (m *synthNotes) lines(w io.Writer, opt synth.NoteOptions) error {
	out := bufio.NewWriterSize(w, 256<<10)
	err := m.each(opt, func(f synth.NoteFile) error {
		m.sum.Write(f.Data)
		_, err := out.Write(f.Data)
		return err
	})
	if err == nil {
		err = out.Flush()
	}
	return err
}

// each makes all notes.
func (m *synthNotes) each(opt synth.NoteOptions, take func(synth.NoteFile) error) error {
	bar := synthBar(m.cmd.ErrOrStderr(), int64(opt.Count), "notes")
	defer func(b *progressbar.ProgressBar) { _ = b.Finish() }(bar)
	n := 0
	for f, ok := m.notes.Next(); ok; f, ok = m.notes.Next() {
		m.size += int64(len(f.Data))
		if err := take(f); err != nil {
			return err
		}
		if n++; n%64 == 0 {
			if err := m.cmd.Context().Err(); err != nil {
				return err
			}
			_ = bar.Set(n)
		}
	}
	m.report = m.notes.Truth(hex.EncodeToString(m.sum.Sum(nil)))
	return nil
}

// folder writes a folder beside the wanted one, which takes its name when all is there. Its hash is that of each note's name,
// length and bytes, in their order.
func (m *synthNotes) folder(opt synth.NoteOptions) error {
	if err := isTaken(m.output); err != nil {
		return err
	}
	partial := beside(m.output)
	if err := os.RemoveAll(partial); err != nil {
		return cannotWrite(partial, err)
	}
	if err := os.Mkdir(partial, 0o755); err != nil {
		return cannotWrite(m.output, err)
	}
	made := ""
	err := m.each(opt, func(f synth.NoteFile) error {
		fmt.Fprintf(m.sum, "%s\x00%d\x00", f.Name, len(f.Data))
		m.sum.Write(f.Data)
		if dir := path.Dir(f.Name); dir != made {
			made = dir
			if err := os.MkdirAll(filepath.Join(partial, dir), 0o755); err != nil {
				return cannotWrite(m.output, err)
			}
		}
		if err := os.WriteFile(filepath.Join(partial, filepath.FromSlash(f.Name)), f.Data, 0o644); err != nil {
			return cannotWrite(m.output, err)
		}
		return nil
	})
	if err == nil {
		err = m.writeTruth()
	}
	if err == nil {
		if err = os.Rename(partial, m.output); err != nil {
			_ = os.Remove(m.truth)
			err = &fault.Error{What: "cannot name " + m.output, Cause: plainCause(err), Retry: fault.RetrySafe}
		}
	}
	if err != nil {
		return errors.Join(err, os.RemoveAll(partial))
	}
	return nil
}

func (m *synthNotes) writeTruth() error { return writeTruth(m.truth, m.report) }

// writeTruth writes a truth; to nowhere where no file is named.
func writeTruth(file string, truth any) error {
	if file == "" {
		return nil
	}
	err := capture.WriteFile(file, func(w io.Writer) error {
		e := json.NewEncoder(w)
		e.SetIndent("", "  ")
		e.SetEscapeHTML(false)
		return e.Encode(truth)
	})
	if err != nil {
		return cannotWrite(file, err)
	}
	return nil
}

func (m *synthNotes) tell(opt synth.NoteOptions, asJSON bool) error {
	if asJSON {
		return json.NewEncoder(m.cmd.OutOrStdout()).Encode(synthNotesSummary{Schema: "demarc.synth.notes/1", Output: m.output, Format: opt.Form,
			Truth: m.truth, SHA256: m.report.SHA256, Seed: opt.Seed, Count: opt.Count, Good: m.report.Good, Hostile: len(m.report.Hostile), Bytes: m.size})
	}
	e := m.cmd.ErrOrStderr()
	fmt.Fprintf(e, "%d notes, %d bytes; %d of them must be refused\n", opt.Count, m.size, len(m.report.Hostile))
	if m.truth != "" {
		fmt.Fprintf(e, "truth:  %s\n", m.truth)
	}
	fmt.Fprintf(e, "sha256: %s\n", m.report.SHA256)
	return nil
}

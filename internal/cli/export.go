package cli

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
)

// exportSummary is the schema demarc.export/1.
type exportSummary struct {
	Schema   string          `json:"schema"`
	Capture  string          `json:"capture"`
	Events   int64           `json:"events"`
	Output   string          `json:"output,omitempty"`
	Tables   []capture.Table `json:"tables,omitempty"`
	Warnings []string        `json:"warnings"`
}

func newExportCommand() *cobra.Command {
	var output, tables string
	var asJSON bool
	cmd := &cobra.Command{
		Use:     "export [CAPTURE]",
		Short:   "Write a capture's events as JSON Lines or Parquet tables",
		GroupID: groupMore,
		Args:    cobra.MaximumNArgs(1),
		Long: "Writes the events of a capture (the newest one under " + capture.Root + " where none is named) as JSON Lines\n" +
			"(docs/events.md) to standard output, or as one Parquet table a type of event (docs/parquet.md).",
		Example: "  demarc export > events.jsonl\n  demarc export captures/monday --parquet tables/",
		RunE: func(cmd *cobra.Command, args []string) error {
			if asJSON && output == "" && tables == "" {
				return usageError(cmd, "--json prints a summary and needs -o or --parquet, since the events themselves go to standard output")
			}
			dir, err := captureArg(args)
			if err != nil {
				return named(cmd, err)
			}
			r, err := capture.Open(dir)
			if err != nil {
				return named(cmd, err)
			}
			sum := exportSummary{Schema: "demarc.export/1", Capture: dir, Output: output}
			if tables != "" {
				sum.Tables, err = capture.ExportParquet(cmd.Context(), r, tables)
				for _, t := range sum.Tables {
					sum.Events += t.Rows
				}
			}
			if err == nil && (output != "" || tables == "") {
				lines := func(to io.Writer) error {
					sum.Events, err = exportLines(cmd, r, to)
					return err
				}
				if output == "" {
					err = lines(cmd.OutOrStdout())
				} else if err = capture.WriteFile(output, lines); err != nil {
					err = exportFault("cannot write "+output, err)
				}
			}
			if err != nil {
				return named(cmd, err)
			}
			sum.Warnings = append([]string{}, r.Info().Warnings...)
			for _, w := range sum.Warnings {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %s\n", dir, w)
			}
			if asJSON {
				return json.NewEncoder(cmd.OutOrStdout()).Encode(sum)
			}
			for _, t := range sum.Tables {
				fmt.Fprintf(cmd.ErrOrStderr(), "%s: %d rows\n", t.File, t.Rows)
			}
			return nil
		},
	}
	cmd.Flags().StringVarP(&output, "output", "o", "", "file for the JSON Lines instead of standard output")
	cmd.Flags().StringVar(&tables, "parquet", "", "directory for one Parquet file a type of event")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print a summary as JSON (demarc.export/1)")
	return cmd
}

// captureArg returns the capture that a command is about: the one named, or the newest.
func captureArg(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	return capture.Newest(capture.Root)
}

// exportFault gives an error the form for people, unless it has it.
func exportFault(what string, err error) error {
	var f *fault.Error
	if errors.As(err, &f) {
		return err
	}
	return &fault.Error{What: what, Cause: plainCause(err), Expected: "space and permission to write", Retry: fault.RetrySafe}
}

func exportLines(cmd *cobra.Command, r *capture.Reader, to io.Writer) (int64, error) {
	out := bufio.NewWriterSize(to, 256<<10)
	var line []byte
	var n int64
	for batch, err := range r.Batches() {
		if err == nil {
			err = cmd.Context().Err()
		}
		if err != nil {
			return n, err
		}
		for i := range batch {
			line = append(event.AppendJSON(line[:0], &batch[i]), '\n')
			if _, err := out.Write(line); err != nil {
				return n, exportFault("cannot write the events", err)
			}
			n++
		}
	}
	if err := out.Flush(); err != nil {
		return n, exportFault("cannot write the events", err)
	}
	return n, nil
}

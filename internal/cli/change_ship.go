package cli

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
)

// defaultWatch is how long a ship watches where nobody says.
const defaultWatch = 15 * time.Minute

func newChangeShipCommand() *cobra.Command {
	f := &changeRun{}
	var s change.ShipOptions
	cmd := &cobra.Command{
		Use:   "ship [RECORD]",
		Short: "Do a rehearsed change on production, watch it, and draft its note",
		Long: "Backs up, deploys, asks for the health, puts a mark into the running capture, watches the service and its log, and drafts the\n" +
			"final note. It refuses where deploy or rollback (or a script that they name) are not those of the newest rehearsal, and where\n" +
			"items of the checklist are open. When deploy or health fails, production is rolled back.\n\n" +
			"A ship that was broken off, by kill -9 too, is gone on with; one that was broken off while it deployed is rolled back, because\n" +
			"what was deployed may be half of it. demarc change rollback stops a ship that is running.\n\n" +
			"Exit code 1: not shipped, or rolled back; 10: shipped, and the watch found what must not be; 11: the watch saw too little.",
		Example: "  demarc change ship article-list\n" +
			"  demarc change ship article-list --watch 1h --log /var/log/shop.log\n" +
			"  demarc change ship article-list --dry-run",
		Args:              cobra.MaximumNArgs(1),
		ValidArgsFunction: completeRecords,
		RunE: func(cmd *cobra.Command, args []string) error {
			record, err := recordArg(cmd, args)
			if err != nil {
				return err
			}
			if s.Watch < 0 {
				return usageError(cmd, "--watch: a length of time such as 15m was expected")
			}
			s.Watcher, s.Note = watchShip, draftNote
			run, err := change.Ship(cmd.Context(), record, f.options(cmd), s)
			return f.tell(cmd, record, run, err)
		},
	}
	f.add(cmd)
	cmd.Flags().DurationVar(&s.Watch, "watch", defaultWatch, "how long to watch after the deploy; 0: not at all")
	cmd.Flags().StringVar(&s.Log, "log", "", "log of the service to watch: a `file`, or \"run: COMMAND\"")
	cmd.Flags().BoolVar(&s.Unrehearsed, "unrehearsed", false, "ship although these commands were not rehearsed")
	cmd.Flags().BoolVar(&s.Unchecked, "unchecked", false, "ship although items of the checklist are open")
	cmd.Flags().BoolVar(&s.KeepOnFailed, "keep", false, "do not roll back when deploy or health fails")
	return cmd
}

// watchShip follows the live service after a release, as demarc check --watch does. A log that is a file is followed from
// where it ended before the deploy; what stood there before is its baseline.
func watchShip(ctx context.Context, q change.WatchRequest) (change.WatchResult, error) {
	environment := q.Record.Environments.Get(q.Environment)
	round, err := roundOf(q.CheckRequest, environment)
	if err != nil {
		return change.WatchResult{}, err
	}
	round.list = slices.Clone(round.list)
	for i, c := range round.list {
		round.list[i] = within(c, environment)
	}
	w := &checkWatch{checkRound: *round, length: q.For, log: q.Log, named: len(round.captures) > 0, told: q.Talk}
	if info, err := os.Stat(q.Log); err == nil && info.Mode().IsRegular() && q.LogSize >= 0 && info.Size() >= q.LogSize {
		w.baselineLog = fmt.Sprintf("run: head -c %d -- %s", q.LogSize, change.ShellQuote(q.Log))
		w.log = fmt.Sprintf("run: tail -c +%d -F -- %s", q.LogSize+1, change.ShellQuote(q.Log))
	}
	rep, err := w.run(ctx)
	if err != nil {
		return change.WatchResult{}, err
	}
	var out change.WatchResult
	for _, r := range rep.Checks {
		out.Checks = append(out.Checks, checkResult(r))
	}
	var text strings.Builder
	for _, shape := range rep.Watch.New {
		fmt.Fprintf(&text, "new error, %d times: %s\n", shape.Count, plainText(shape.Shape))
	}
	for _, note := range rep.Watch.Notes {
		text.WriteString("note: " + plainText(note) + "\n")
	}
	out.Output = text.String()
	if q.Log != "" {
		out.Detail = fmt.Sprintf("lines of the log: %d; errors: %d; kinds of errors that it did not have before: %d", rep.Watch.Lines, rep.Watch.Errors, len(rep.Watch.New))
	}
	return out, nil
}

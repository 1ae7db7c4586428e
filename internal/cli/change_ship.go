package cli

import (
	"cmp"
	"context"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/check"
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

// watchShip follows the live service after a release: it asks for its health again and again, and answers the record's
// checks at the end, from what was seen since the release. A service that does not answer ends the watch.
func watchShip(ctx context.Context, q change.WatchRequest) (change.WatchResult, error) {
	const often = 5 * time.Second
	for end := time.Now().Add(q.For); ; {
		for _, c := range q.Checks {
			if c.Kind != check.Health {
				continue
			}
			once := q.CheckRequest
			once.Checks = check.List{c}
			if results, err := answerChecks(ctx, once); err != nil || results[0].State == change.StateFailed {
				return change.WatchResult{Checks: results}, err
			}
		}
		left := time.Until(end)
		if left <= 0 {
			break
		}
		select {
		case <-ctx.Done():
			return change.WatchResult{}, ctx.Err()
		case <-time.After(min(left, cmp.Or(q.For/10, often), often)):
		}
	}
	results, err := answerChecks(ctx, q.CheckRequest)
	return change.WatchResult{Checks: results}, err
}

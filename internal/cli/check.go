package cli

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/check"
	shell "github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
)

// checkFlags are what the command line of demarc check says.
type checkFlags struct {
	config, baseline, since, junit, logs string
	lines                                []string
	asJSON, allowUndecided               bool
	boundaries                           string

	watch            time.Duration
	log, baselineLog string
	failFast         bool
}

func newCheckCommand() *cobra.Command {
	f := &checkFlags{}
	cmd := &cobra.Command{
		Use:     "check [CAPTURE]",
		Short:   "Hold a capture and the service to the checks of demarc.yaml; the exit code tells",
		GroupID: groupMain,
		Args:    cobra.MaximumNArgs(1),
		Long: "Answers the checks of demarc.yaml (docs/check.md): figures of a capture (the newest one under " + capture.Root + " where none\n" +
			"is named) against a bound or a baseline, commands that must succeed, addresses that must answer. The report is\n" +
			"written before the exit. Exit code 10: a check failed; 11: none failed, but there is too little to decide one.",
		Example: "  demarc check\n  demarc check --baseline .demarc/captures/before --junit check.xml\n" +
			"  demarc check --check 'p95_ms of \"GET /articles\" < 300' --check 'error_rate < 1%'\n" +
			"  demarc check --json | jq '.checks[] | select(.verdict != \"pass\")'\n" +
			"  demarc check --boundaries boundaries.yaml\n  demarc check --watch 15m --log /var/log/shop.log --fail-fast",
		ValidArgsFunction: completeOneCapture,
		RunE:              func(cmd *cobra.Command, args []string) error { return f.run(cmd, args) },
	}
	cmd.Flags().StringVar(&f.config, "config", "", "configuration `file` (default "+config.File+", if it is there)")
	cmd.Flags().StringVar(&f.baseline, "baseline", "", "`capture` that relative checks compare with")
	cmd.Flags().StringArrayVar(&f.lines, "check", nil, "a check, in place of those of the configuration; may be given again")
	cmd.Flags().StringVar(&f.since, "since", "", "only what came after the last mark of this `name`")
	cmd.Flags().BoolVar(&f.asJSON, "json", false, "print JSON ("+check.Schema+")")
	cmd.Flags().StringVar(&f.junit, "junit", "", "write JUnit XML into this `file`, too")
	cmd.Flags().StringVar(&f.logs, "logs", "", "keep the whole output of commands in this `folder`")
	cmd.Flags().BoolVar(&f.allowUndecided, "allow-undecided", false, "exit with 0 where there is too little to decide")
	cmd.Flags().StringVar(&f.boundaries, "boundaries", "", "in place of the configured checks: do the caches keep to this `file`, which demarc choose -o writes?")
	cmd.Flags().DurationVar(&f.watch, "watch", 0, "follow the live service for this long (15m), then answer")
	cmd.Flags().StringVar(&f.log, "log", "", "with --watch: a log `file`, \"run: COMMAND\" that shows one, or - for standard input")
	cmd.Flags().StringVar(&f.baselineLog, "baseline-log", "", "`file` or \"run: COMMAND\" with the log of before; else what --log FILE holds already")
	cmd.Flags().BoolVar(&f.failFast, "fail-fast", false, "with --watch: end at the first failure")
	_ = cmd.RegisterFlagCompletionFunc("baseline", completeCapture)
	_ = cmd.RegisterFlagCompletionFunc("check", completeChecks)
	return cmd
}

func (f *checkFlags) run(cmd *cobra.Command, args []string) error {
	round, err := f.round(cmd, args)
	if err != nil {
		return err
	}
	if f.watch != 0 {
		return f.runWatch(cmd, round)
	}
	rep, err := round.run(cmd.Context())
	if err == nil && f.boundaries != "" {
		err = f.addBoundaries(cmd, round, rep)
	}
	if err != nil {
		return named(cmd, err)
	}
	return f.tell(cmd, rep)
}

// addBoundaries adds to a report what the capture's caches show of the boundaries.
func (f *checkFlags) addBoundaries(cmd *cobra.Command, round *checkRound, rep *check.Report) error {
	if len(round.captures) == 0 {
		newest, err := capture.Newest(capture.Root)
		if err != nil {
			return err
		}
		round.captures = []string{newest}
	}
	rep.Capture = round.captures[0]
	var err error
	rep.Boundaries, err = checkBoundaries(cmd.Context(), round.op, f.boundaries, rep.Capture)
	rep.Finish()
	return err
}

// runWatch watches, and writes what it saw even if it is interrupted.
func (f *checkFlags) runWatch(cmd *cobra.Command, round *checkRound) error {
	w := &checkWatch{
		checkRound: *round, length: f.watch, log: f.log, baselineLog: f.baselineLog, failFast: f.failFast, named: len(round.captures) > 0,
		stdin: cmd.InOrStdin(), told: cmd.ErrOrStderr(), terminal: onTerminal(cmd.ErrOrStderr()),
	}
	rep, err := w.run(cmd.Context())
	if rep == nil {
		return named(cmd, err)
	}
	told := f.tell(cmd, rep)
	if err != nil {
		return err
	}
	return told
}

// checkWatchFlags refuses a command line whose parts do not belong together.
func (f *checkFlags) checkWatchFlags(cmd *cobra.Command) error {
	watching := cmd.Flags().Changed("watch")
	switch {
	case watching && (f.watch <= 0 || f.watch > shell.MaxTimeout):
		return usageError(cmd, fmt.Sprintf("--watch wants a length of time such as 15m, at most %s", shell.MaxTimeout))
	case !watching && (f.log != "" || f.baselineLog != "" || f.failFast):
		return usageError(cmd, "--log, --baseline-log and --fail-fast belong to --watch 15m")
	case f.baselineLog != "" && f.log == "":
		return usageError(cmd, "--baseline-log belongs to --log")
	case watching && f.boundaries != "":
		return usageError(cmd, "--boundaries looks at a capture, so --watch does not go with it")
	case watching && f.since != "":
		return usageError(cmd, "--watch looks at what comes from now on, so --since does not go with it")
	}
	return nil
}

// round makes a round of checks of the command line and the configuration.
func (f *checkFlags) round(cmd *cobra.Command, args []string) (*checkRound, error) {
	op := cmd.CommandPath()
	if err := f.checkWatchFlags(cmd); err != nil {
		return nil, err
	}
	conf, err := config.Load(op, f.config)
	if err != nil {
		return nil, err
	}
	r := &checkRound{
		op: op, list: conf.Checks, baseline: f.baseline, sinceMark: f.since, staleness: conf.Staleness,
		runner: check.Runner{LogDir: f.logs},
	}
	if f.config != "" {
		r.runner.Dir = filepath.Dir(f.config)
	}
	if len(args) > 0 {
		r.captures = args[:1]
	}
	if len(f.lines) > 0 || f.boundaries != "" {
		r.list = nil
		for _, line := range f.lines {
			c, err := check.Parse(line)
			if err != nil {
				return nil, usageError(cmd, fmt.Sprintf("--check %q: %v", line, err))
			}
			r.list = append(r.list, c)
		}
	}
	if onTerminal(cmd.ErrOrStderr()) {
		r.talk = cmd.ErrOrStderr()
	}
	if f.logs != "" {
		if err := os.MkdirAll(f.logs, 0o755); err != nil {
			return nil, &fault.Error{Op: op, What: "cannot make the folder " + f.logs, Cause: plainCause(err), Retry: fault.RetrySafe}
		}
	}
	if len(r.list) == 0 && f.log == "" && f.boundaries == "" {
		name := f.config
		if name == "" {
			name = config.File
		}
		return nil, &fault.Error{
			Op: op, What: "cannot check anything", Cause: fmt.Errorf("there is no check in %s", name),
			Expected: "a list of checks there, or --check", Retry: fault.RetryUseless,
			Try: op + " --check 'error_rate < 1%'", Code: fault.ExitUsage,
		}
	}
	return r, nil
}

// tell writes the report in every form that was asked for, says what failed, and returns what the exit code tells.
func (f *checkFlags) tell(cmd *cobra.Command, rep *check.Report) error {
	out, errOut := cmd.OutOrStdout(), cmd.ErrOrStderr()
	if f.junit != "" {
		if err := capture.WriteFile(f.junit, rep.JUnit); err != nil {
			return named(cmd, exportFault("cannot write "+f.junit, err))
		}
	}
	var err error
	if f.asJSON {
		err = rep.JSON(out)
	} else {
		o := terminalOptions(out)
		err = rep.Table(out, check.Text{Width: o.Width, Color: o.Color})
	}
	if err != nil {
		return named(cmd, exportFault("cannot write the report", err))
	}
	code := rep.ExitCode()
	if code == fault.ExitTooFew && f.allowUndecided {
		code = fault.ExitOK
	}
	total := rep.Counts.Pass + rep.Counts.Fail + rep.Counts.Undecided
	e := &fault.Error{Op: cmd.CommandPath(), Code: code}
	switch code {
	case fault.ExitOK:
		return nil
	case fault.ExitCheck:
		e.What = fmt.Sprintf("%d of %d checks failed", rep.Counts.Fail, total)
		tellLines(errOut, rep.Failures())
	default:
		e.What = fmt.Sprintf("there is too little to decide %d of %d checks", rep.Counts.Undecided, total)
		e.Expected, e.Retry = "more samples, as many as the report says", fault.RetrySafe
		e.Try = "a capture of more traffic; --allow-undecided to exit with 0"
	}
	return e
}

func tellLines(w io.Writer, lines []string) {
	for _, l := range lines {
		fmt.Fprintln(w, l)
	}
}

// completeOneCapture proposes the captures of this folder, newest first, where none stands there yet.
func completeOneCapture(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
	if len(args) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return completeCapture(cmd, nil, typed)
}

func completeCapture(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective) {
	entries, _ := os.ReadDir(capture.Root)
	var names []string
	for _, e := range slices.Backward(entries) {
		if e.IsDir() && !strings.HasPrefix(e.Name(), ".") {
			names = append(names, filepath.Join(capture.Root, e.Name()))
		}
	}
	return names, cobra.ShellCompDirectiveDefault
}

// completeChecks proposes the metrics, and behind "METRIC of" the routes of the newest capture.
func completeChecks(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
	metric, rest, of := strings.Cut(typed, " of ")
	if !of {
		return check.Metrics(), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
	}
	dir, err := capture.Newest(capture.Root)
	if err != nil || strings.Count(rest, `"`) > 1 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	rep, err := readBaseline(cmd.Context(), dir, "")
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	lines := []string{metric + " of *"}
	for _, r := range rep.Routes {
		lines = append(lines, fmt.Sprintf("%s of %q", metric, r.Route))
	}
	return lines, cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
}

// checkTimeFormat is how a check writes points in time.
const checkTimeFormat = "2006-01-02T15:04:05.000Z"

func checkStamp(t time.Time) string { return t.UTC().Format(checkTimeFormat) }

package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/audit"
	"github.com/demarc-dev/demarc/internal/auditscan"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/change"
	shell "github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/stale"
)

// auditFlags are the command line of demarc audit.
type auditFlags struct {
	config, project, probe, failOn, record, key, output string
	logs, redis                                         []string
	json, html, probeRemote                             bool
}

func newAuditCommand() *cobra.Command {
	x := &auditFlags{}
	cmd := &cobra.Command{
		Use:     "audit [CAPTURE]",
		Short:   "Go through a security checklist of caches, secrets, headers, limits and logs",
		GroupID: groupMore,
		Args:    cobra.MaximumNArgs(1),
		Long: "Looks at a capture (the newest one under " + capture.Root + " where none is named), the files of the service, its cache servers\n" +
			"and its logs, and says of each item of a checklist: pass, fail or not seen, with the evidence, how bad it is, what to\n" +
			"do and how to verify it (docs/audit.md). It reads only, and never shows a secret. With --probe it also sends requests\n" +
			"to the running service, and says before which. Exit code 10 with --fail-on: an item of that severity or worse failed.",
		Example: "  demarc audit\n  demarc audit --log /var/log/shop.log --fail-on high\n  demarc audit --probe http://127.0.0.1:8000\n" +
			"  demarc audit --redis redis://127.0.0.1:6379/0 --json | jq '.items[] | select(.state == \"fail\")'\n" +
			"  demarc audit --record article-list --fail-on high\n  demarc audit --html -o audit.html",
		ValidArgsFunction: completeOneCapture,
		RunE:              func(cmd *cobra.Command, args []string) error { return named(cmd, x.run(cmd, args)) },
	}
	f := cmd.Flags()
	f.StringVar(&x.config, "config", "", "configuration `file`, for security.files (default "+config.File+" in the project, if it is there)")
	f.StringVar(&x.project, "project", ".", "`folder` of the service, whose files are read")
	f.StringArrayVar(&x.logs, "log", nil, "`file` with the log of the service; may be given again (files *.log of the project are read, too)")
	f.StringArrayVar(&x.redis, "redis", nil, "`address` of a cache server to be asked, env:NAME or file:PATH where it has a password; may be given again (those of capture and configuration are, too)")
	f.StringVar(&x.probe, "probe", "", "`address` of the running service: also send oversized bodies and bad input to it; loopback only")
	f.BoolVar(&x.probeRemote, "probe-remote", false, "the address of --probe may be another machine; do so with its owner's consent only")
	f.StringVar(&x.failOn, "fail-on", "", "exit with 10 if an item of this `severity` or worse failed: high, medium, low")
	f.StringVar(&x.record, "record", "", "keep the outcome in the checklist of this change `record`")
	f.StringVar(&x.key, "key", "", "hashing key `file`, for hashes of secrets (default the one beside the capture)")
	f.BoolVar(&x.json, "json", false, "print JSON ("+audit.Schema+")")
	f.BoolVar(&x.html, "html", false, "write one self-contained HTML page")
	f.StringVarP(&x.output, "output", "o", "", "`file` to write instead of standard output")
	cmd.MarkFlagsMutuallyExclusive("json", "html")
	completeWith(cmd, "fail-on", []string{string(audit.High), string(audit.Medium), string(audit.Low)})
	_ = cmd.RegisterFlagCompletionFunc("record", completeRecords)
	return cmd
}

func (x *auditFlags) run(cmd *cobra.Command, args []string) error {
	least := audit.Severity(x.failOn)
	if x.failOn != "" && !slices.Contains(audit.Severities, least) {
		return usageError(cmd, fmt.Sprintf("--fail-on wants high, medium or low, not %q", x.failOn))
	}
	if x.probeRemote && x.probe == "" {
		return usageError(cmd, "--probe-remote belongs to --probe")
	}
	out := cmd.OutOrStdout()
	if x.html && x.output == "" && onTerminal(out) {
		err := usageError(cmd, "--html would fill the terminal with the page's source")
		err.Try = "demarc audit --html -o audit.html"
		return err
	}
	var record *change.Record
	if x.record != "" {
		var err error
		if record, err = recordArg(cmd, []string{x.record}); err != nil {
			return err
		}
	}
	began := time.Now()
	rep, err := x.audit(cmd, args)
	if err != nil {
		return err
	}
	write := func(w io.Writer) error {
		switch {
		case x.json:
			return report.AuditJSON(w, rep)
		case x.html:
			return report.AuditHTML(w, rep)
		}
		return report.AuditTerminal(w, rep, terminalOptions(w))
	}
	if x.output == "" {
		err = write(out)
	} else if err = capture.WriteFile(x.output, write); err == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "wrote "+x.output)
	}
	if err != nil {
		return &fault.Error{What: "cannot write " + cmp.Or(x.output, "the audit"), Cause: err, Expected: "space and permission to write", Retry: fault.RetrySafe}
	}
	failed := auditStatus(rep, least)
	if record != nil {
		if err := x.keep(cmd, record, rep, args, began, failed); err != nil {
			return err
		}
	}
	return failed
}

// auditStatus is what --fail-on makes of a report; least is empty without it.
func auditStatus(rep *audit.Report, least audit.Severity) error {
	if least == "" {
		return nil
	}
	failed := rep.Failed(least)
	if len(failed) == 0 {
		return nil
	}
	ids := make([]string, len(failed))
	for i, f := range failed {
		ids[i] = f.ID
	}
	return &fault.Error{What: fmt.Sprintf("%d items failed: %s", len(failed), strings.Join(ids, ", ")), Expected: "none of severity " + string(least) + " or worse (--fail-on)",
		Retry: fault.RetryUseless, Try: "what stands under fix", Code: fault.ExitCheck}
}

// keep puts the outcome into a change record.
func (x *auditFlags) keep(cmd *cobra.Command, record *change.Record, rep *audit.Report, args []string, began time.Time, failed error) error {
	o := change.Outcome{Command: x.command(args), At: began, Duration: time.Since(began), ExitCode: fault.ExitCode(failed), Output: auditShort(rep)}
	if failed != nil {
		o.Detail = failed.Error()
	}
	run, err := record.KeepAudit(cmd.Context(), o)
	if err != nil {
		return err
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "demarc: kept as %s in %s\n", run.ID, record.Dir())
	if item := record.Item(change.ItemAudit); item != nil && item.Run != nil && item.Run.Run != o.Command {
		fmt.Fprintf(cmd.ErrOrStderr(), "demarc: the item audit of %s names another command, so it stays open: %s\n", record.Name(), plainText(item.Run.Run))
	}
	return nil
}

// auditShort is what a record keeps of an audit: the failed items with their first places, and the counts.
func auditShort(rep *audit.Report) string {
	var b strings.Builder
	for _, item := range rep.Failed(audit.Low) {
		fmt.Fprintf(&b, "FAIL %s %s: %s\n", item.Severity, item.ID, item.Title)
		for i, p := range item.Places {
			if i == 3 {
				fmt.Fprintf(&b, "  … and %d more\n", int64(len(item.Places)-i)+item.More)
				break
			}
			fmt.Fprintf(&b, "  %s  %s\n", p.Where, p.Says)
		}
	}
	c := rep.Counts
	fmt.Fprintf(&b, "%d failed (%d high, %d medium, %d low), %d passed, %d not seen\n", c.Fail, c.High, c.Medium, c.Low, c.Pass, c.NotSeen)
	return b.String()
}

// command is the command line as it can be given again, without what only says where its outcome goes. No password stands in it: none is taken there.
func (x *auditFlags) command(args []string) string {
	words := []string{"demarc", "audit"}
	words = append(words, args...)
	add := func(flag, value string) {
		if value != "" {
			words = append(words, flag, value)
		}
	}
	add("--config", x.config)
	if x.project != "." {
		add("--project", x.project)
	}
	for _, l := range x.logs {
		add("--log", l)
	}
	for _, r := range x.redis {
		add("--redis", r)
	}
	add("--probe", x.probe)
	if x.probeRemote {
		words = append(words, "--probe-remote")
	}
	add("--fail-on", x.failOn)
	for i, w := range words {
		words[i] = change.ShellQuote(w)
	}
	return strings.Join(words, " ")
}

// audit gathers the evidence and judges it.
func (x *auditFlags) audit(cmd *cobra.Command, args []string) (*audit.Report, error) {
	ctx, op := cmd.Context(), cmd.CommandPath()
	if x.config == "" && x.project != "." {
		if path := filepath.Join(x.project, config.File); exists(path) {
			x.config = path
		}
	}
	cfg, err := config.Load(op, x.config)
	if err != nil {
		return nil, err
	}
	e := &audit.Evidence{Project: x.project}
	if abs, err := filepath.Abs(x.project); err == nil && x.project == "." {
		e.Project = filepath.Base(abs)
	}
	dir, err := x.capture(args)
	if err != nil {
		return nil, err
	}
	if dir == "" {
		e.Warnings = append(e.Warnings, "there is no capture under "+capture.Root+": what requests show was not seen")
	}
	mask := x.mask(dir)
	if dir != "" {
		budgets, err := stalenessBudgets(cfg.Staleness)
		if err != nil {
			return nil, err
		}
		if err := readAudited(ctx, cmd.ErrOrStderr(), e, dir, mask, stale.Options{Budgets: budgets, Late: lateOfCapture}); err != nil {
			return nil, err
		}
	}
	scan, err := auditscan.Project(x.project, cfg.Security.Files, mask)
	if err != nil {
		return nil, &fault.Error{What: "cannot read the folder " + x.project, Cause: plainCause(err), Expected: "the folder of the service, after --project",
			Retry: fault.RetryUseless, Code: fault.ExitUsage}
	}
	e.Files, e.Notes = scan.Files, scan.Notes
	e.Warnings = append(e.Warnings, scan.Warnings...)
	e.Paths = append(auditscan.State(capture.Root, dir), scan.Paths...)
	if err := x.readLogs(e, scan.LogFiles, mask); err != nil {
		return nil, err
	}
	asked, err := x.asked(cmd)
	if err != nil {
		return nil, err
	}
	e.Servers = auditscan.Servers(ctx, asked, serverRefs(e))
	if e.Traffic != nil {
		e.Processes = auditscan.Processes(e.Traffic.Processes)
	}
	if err := x.send(cmd, e); err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return audit.Judge(e), nil
}

// capture returns the capture that is meant; "" where none is named and there is none.
func (x *auditFlags) capture(args []string) (string, error) {
	if len(args) > 0 {
		return args[0], nil
	}
	dir, err := capture.Newest(capture.Root)
	if err != nil {
		if _, serr := os.Stat(capture.Root); serr == nil {
			if list, _ := filepath.Glob(filepath.Join(capture.Root, "*", "manifest.json")); len(list) > 0 {
				return "", err
			}
		}
		return "", nil
	}
	return dir, nil
}

// mask returns the keyed hash of secrets; nil where there is no key that can be used.
func (x *auditFlags) mask(dir string) func(string) string {
	key := x.key
	if key == "" && dir != "" {
		key = keyBeside(dir)
	}
	if key = cmp.Or(key, filepath.Join(capture.Root, "key")); !exists(key) {
		key = filepath.Join(capture.Root, "key")
	}
	hash, err := recorder.Hasher(key)
	if err != nil {
		return nil
	}
	return func(secret string) string { return fmt.Sprintf("%016x", uint64(hash(secret))) }
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// readAudited reads a capture once, for the checklist and for keys that serve several people.
func readAudited(ctx context.Context, stderr io.Writer, e *audit.Evidence, dir string, mask func(string) string, opt stale.Options) error {
	r, err := capture.Open(dir)
	if err != nil {
		return err
	}
	e.Capture, e.Traffic = dir, audit.NewTraffic(mask)
	d, pace := stale.New(opt), letGarbageLie()
	defer pace.end()
	bar := counting(stderr, r.Info().Events)
	bar.Describe("reading")
	defer func() { _ = bar.Finish() }()
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return err
		}
		pace.batch()
		for i := range batch {
			e.Traffic.Add(&batch[i])
		}
		if err := d.Add(batch); err != nil {
			return err
		}
		_ = bar.Add(len(batch))
	}
	d.Finish()
	e.Leaks = d.Report()
	e.Warnings = append(e.Warnings, r.Info().Warnings...)
	return nil
}

// readLogs reads the logs that were named, and those of the project.
func (x *auditFlags) readLogs(e *audit.Evidence, found []string, mask func(string) string) error {
	if len(x.logs)+len(found) == 0 {
		return nil
	}
	var failing []audit.Failing
	if e.Traffic != nil {
		failing = e.Traffic.Failing()
	}
	e.Logs = audit.NewLogs(failing, mask)
	read := map[string]bool{}
	for i, name := range append(slices.Clone(x.logs), found...) {
		abs, err := filepath.Abs(name)
		if err != nil || read[abs] {
			continue
		}
		read[abs] = true
		shown := name
		if rel, err := filepath.Rel(x.project, name); err == nil && filepath.IsLocal(rel) {
			shown = filepath.ToSlash(rel)
		}
		cut, err := auditscan.Log(name, shown, e.Logs)
		switch {
		case err != nil && i < len(x.logs):
			return &fault.Error{What: "cannot read the log " + name, Cause: plainCause(err), Expected: "a file that can be read, after --log", Retry: fault.RetryUseless,
				Code: fault.ExitUsage}
		case err != nil:
			e.Warnings = append(e.Warnings, "the log "+shown+" could not be read: "+plainCause(err).Error())
		case cut:
			e.Warnings = append(e.Warnings, fmt.Sprintf("of the log %s the first %d MiB were read", shown, auditscan.MaxLog>>20))
		}
	}
	return nil
}

// asked reads the addresses of --redis. A password on the command line could be read by every process of the machine.
func (x *auditFlags) asked(cmd *cobra.Command) ([]string, error) {
	var list []string
	for _, a := range x.redis {
		switch {
		case strings.HasPrefix(a, "env:"), strings.HasPrefix(a, "file:"):
			address, err := shell.ReadSecret("", a)
			if err != nil {
				return nil, usageError(cmd, "--redis "+a+": "+err.Error())
			}
			a = address
		case strings.Contains(a, "@"):
			return nil, usageError(cmd, "--redis with a password shows it to every process: env:NAME or file:PATH was expected")
		}
		list = append(list, a)
	}
	return list, nil
}

// serverRefs are the cache servers that files, capture and environment name.
func serverRefs(e *audit.Evidence) []audit.ServerRef {
	refs := slices.Clone(e.Files.Servers)
	for _, name := range []string{"CACHE_URL", "REDIS_URL", "CACHE_REDIS_URL"} {
		if v := os.Getenv(name); strings.HasPrefix(v, "redis") || strings.HasPrefix(v, "unix:") {
			refs = append(refs, audit.ServerRef{Address: v, Where: "the variable " + name})
		}
	}
	if e.Traffic != nil {
		for _, s := range e.Traffic.Stores {
			if strings.HasPrefix(s, "redis") {
				refs = append(refs, audit.ServerRef{Address: s, Where: "the capture"})
			}
		}
	}
	return refs
}

// send probes the live service where that was asked for.
func (x *auditFlags) send(cmd *cobra.Command, e *audit.Evidence) error {
	if x.probe == "" {
		return nil
	}
	target, err := auditscan.ParseTarget(cmd.Context(), x.probe)
	if err == nil && e.Traffic == nil {
		return &fault.Error{What: "cannot probe " + x.probe, Cause: errors.New("there is no capture, which names the routes"), Expected: "a capture of the service",
			Retry: fault.RetryUseless, Try: "demarc run -- COMMAND, a few requests, then this again", Code: fault.ExitUsage}
	}
	if err != nil {
		return &fault.Error{What: "cannot probe " + x.probe, Cause: err, Expected: "the address of the running service, such as http://127.0.0.1:8000", Retry: fault.RetryUseless,
			Code: fault.ExitUsage}
	}
	if !target.Loopback && !x.probeRemote {
		return &fault.Error{What: "will not probe " + x.probe, Cause: errors.New("it is another machine"), Expected: "an address of this machine", Retry: fault.RetryUseless,
			Try: "--probe-remote, if its owner agrees", Code: fault.ExitUsage}
	}
	fmt.Fprintf(cmd.ErrOrStderr(), "demarc: probing %s: %s\n", target.URL, auditscan.Plan(e.Traffic))
	e.Probe = auditscan.Probe(cmd.Context(), target, e.Traffic)
	return nil
}

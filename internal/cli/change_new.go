package cli

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/change"
	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/fault"
)

// changeNew is what the flags of change new say.
type changeNew struct {
	from, checklist, capture string
	yes, json                bool
	expect                   []string
	commands                 map[string]*string // name of change.CommandNames
	artifact                 string
	record                   change.Record

	ctx context.Context // of the command
	in  *bufio.Reader
	ask bool
	out io.Writer // of the questions
}

func newChangeNewCommand() *cobra.Command {
	n := &changeNew{commands: map[string]*string{}}
	cmd := &cobra.Command{
		Use:   "new [TOPIC]",
		Short: "Begin a change record with what demarc knows, and ask for the rest",
		Long: "Writes a new record under " + change.Folder + "/. What demarc knows is filled in: the figures of the newest capture, the boundary of\n" +
			boundary.Name + ", the stack from pyproject.toml and requirements.txt, the owner and the files from git. The rest is asked for on\n" +
			"a terminal; with --yes, or without a terminal, it comes from the flags or is left open. Nothing is ever overwritten.\n\n" +
			"It works without a capture, too: the checks may be commands (run: pytest -q) and health answers (health: http://…).",
		Example: "  demarc change new --from 'GET /articles/{slug}' --checklist boundary\n" +
			"  demarc change new 'Faster article list' --yes --deploy 'make deploy' --health 'curl -fsS localhost:8000/health' \\\n" +
			"    --rollback 'make deploy TAG=previous' --expect 'p95_ms of \"GET /articles\" < 100'\n" +
			"  demarc change new 'Drop the tag cache' --checklist invalidation --expect 'run: pytest -q tests/integration'",
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 {
				n.record.Topic = args[0]
			}
			return n.run(cmd)
		},
	}
	f := cmd.Flags()
	f.StringVar(&n.from, "from", "", "what the change is about: a `BOUNDARY` of "+boundary.Name+", a finding's id, or a route")
	f.StringVar(&n.checklist, "checklist", "", "`template` of the checklist: "+strings.Join(change.Templates, ", ")+", or one of demarc.yaml")
	f.StringVar(&n.capture, "capture", "", "capture of the state before (default: the newest one)")
	f.BoolVarP(&n.yes, "yes", "y", false, "ask nothing")
	f.BoolVar(&n.json, "json", false, "print the record as JSON (demarc.change/1)")
	r := &n.record
	for _, s := range []struct {
		to          *string
		name, usage string
	}{
		{&r.Owner, "owner", "who answers for it (default: git's user)"},
		{&r.Reason, "reason", "why it is done"},
		{&r.Context, "context", "what one must know to understand it"},
		{&r.Baseline.Route, "route", "route whose figures are the baseline"},
		{&r.Baseline.Input, "input", "expected input, such as /articles?limit=20"},
		{&r.Baseline.SlowQuery, "slow-query", "the statement that is slow"},
		{&r.Baseline.Failing, "failing", "the command that fails"},
		{&r.Baseline.Noticed, "noticed", "where the user notices the problem"},
		{&r.Cause, "cause", "why it was slow or wrong"},
		{&r.Change, "change", "the smallest change that helps"},
		{&r.Base, "base", "git `revision` before the change (default: where the branch left the main one)"},
		{&r.Rollback, "rollback-note", "how it is taken back, and what remains afterwards"},
		{&n.artifact, "backup-artifact", "file or folder that the backup command writes"},
	} {
		f.StringVar(s.to, s.name, "", s.usage)
	}
	f.StringArrayVar(&n.expect, "expect", nil, "a check that must hold afterwards (several times)")
	f.StringArrayVar(&r.Assumptions, "assume", nil, "what must stay true for the change to be right (several times)")
	for _, name := range change.CommandNames {
		n.commands[name] = f.String(name, "", "the "+name+" `command`")
	}
	_ = cmd.RegisterFlagCompletionFunc("checklist", func(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
		settings, _ := config.Load(cmd.CommandPath(), "") // an error comes when the command is run
		return change.TemplateNames(settings.Checklists), cobra.ShellCompDirectiveNoFileComp
	})
	_ = cmd.RegisterFlagCompletionFunc("from", completeFrom)
	return cmd
}

// httpAddress is a health answer that was given as an address instead of a command.
var httpAddress = regexp.MustCompile(`^https?://[A-Za-z0-9._:/\[\]-]+$`)

// completeWith offers fixed words for a flag.
func completeWith(cmd *cobra.Command, flag string, words []string) {
	_ = cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp))
}

// completeFrom offers the boundaries that are declared.
func completeFrom(cmd *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	var names []string
	if file, err := boundary.Load(cmd.CommandPath(), boundary.Name); err == nil {
		for _, b := range file.Boundaries {
			names = append(names, b.Name)
		}
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

func (n *changeNew) run(cmd *cobra.Command) error {
	ctx, talk, r := cmd.Context(), cmd.ErrOrStderr(), &n.record
	stdin, terminal := cmd.InOrStdin().(*os.File)
	n.ask = !n.yes && terminal && term.IsTerminal(int(stdin.Fd()))
	n.ctx, n.in, n.out = ctx, bufio.NewReader(cmd.InOrStdin()), talk

	for _, line := range n.expect {
		if err := n.addCheck(line); err != nil {
			return usageError(cmd, fmt.Sprintf("--expect %q: %v", line, err))
		}
	}
	settings, err := config.Load(cmd.CommandPath(), "")
	if err != nil {
		return err
	}
	if names := change.TemplateNames(settings.Checklists); n.checklist != "" && !slices.Contains(names, n.checklist) {
		return usageError(cmd, fmt.Sprintf("--checklist: %s was expected, not %q", strings.Join(names, " or "), n.checklist))
	}
	if err := n.known(cmd); err != nil {
		return named(cmd, err)
	}
	repo, err := change.OpenRepository(ctx, ".")
	if err != nil {
		fmt.Fprintln(talk, "demarc: owner, base and files are left open: "+err.Error())
	} else {
		r.Owner = cmp.Or(r.Owner, repo.User(ctx))
		r.Base = cmp.Or(r.Base, repo.Base(ctx))
	}
	if err := n.questions(); err != nil {
		return named(cmd, err)
	}
	if r.Topic == "" {
		err := usageError(cmd, "the topic is missing")
		err.Expected, err.Try = "one line that says what the change is about", "demarc change new 'Faster article list'"
		return err
	}
	for _, name := range change.CommandNames {
		if line := *n.commands[name]; line != "" {
			c := &change.Command{Run: line}
			if name == "health" && httpAddress.MatchString(line) {
				c.Run = "curl -fsS -o /dev/null " + line
			}
			if name == "backup" {
				c.Artifact = n.artifact
			}
			r.Commands.Set(name, c)
		}
	}
	if repo != nil && r.Base != "" {
		if r.Files, r.Security, err = repo.Touched(ctx, r.Base, ""); err != nil {
			return named(cmd, err)
		}
		if _, dirty, err := repo.Head(ctx); err == nil && dirty {
			fmt.Fprintln(talk, "demarc: git has changes that are not committed; they are counted among the files touched")
		}
	}
	stack := change.ReadStack(".")
	r.Stack = stack.Parts
	err = change.Create(change.Folder, r, time.Now(), func(name string) ([]change.Item, error) {
		return change.Checklist(n.checklist, settings.Checklists, r, stack, name)
	})
	if err != nil {
		return named(cmd, &fault.Error{What: "cannot write the change record", Cause: err, Retry: fault.RetrySafe,
			Expected: "texts without control characters and secrets, and permission to write below " + change.Folder})
	}
	if n.json {
		return showJSON(cmd.OutOrStdout(), r, nil)
	}
	fmt.Fprintln(cmd.OutOrStdout(), r.Path())
	if missing := r.Missing(); len(missing) > 0 {
		fmt.Fprintln(talk, "demarc: still open: "+strings.Join(missing, ", "))
	}
	fmt.Fprintf(talk, "next: edit %s, then: demarc change rehearse\n", r.Path())
	return nil
}

// addCheck adds a check that a person gave.
func (n *changeNew) addCheck(line string) error {
	c, err := check.Parse(line)
	if err == nil {
		n.record.Expected = append(n.record.Expected, c)
	}
	return err
}

// known fills in what --from and the capture say.
func (n *changeNew) known(cmd *cobra.Command) error {
	r := &n.record
	route := r.Baseline.Route
	found := n.from == ""
	if n.from != "" {
		b, err := declared(cmd, n.from)
		if err != nil {
			return err
		}
		if b != nil {
			found = true
			r.FromBoundary(b)
			if b.Level == boundary.Response {
				route = cmp.Or(route, b.Name)
			}
		}
	}
	dir := n.capture
	if dir == "" {
		newest, err := capture.Newest(capture.Root)
		if err != nil {
			if !found {
				return n.unknown(err)
			}
			r.Baseline.Route = route
			fmt.Fprintln(cmd.ErrOrStderr(), "demarc: no capture, so the record has no figures of the state before; its checks may be commands and health answers")
			return nil
		}
		dir = newest
	}
	rep, err := readBaseline(cmd.Context(), dir, "")
	if err != nil {
		return err
	}
	if !found && !slices.ContainsFunc(slices.Concat(rep.Routes, rep.Jobs), func(x baseline.Route) bool { return x.Route == n.from }) {
		if found, err = n.finding(cmd, dir); err != nil {
			return err
		}
	}
	if !found {
		route = cmp.Or(route, n.from)
	}
	if route == "" && n.ask && len(rep.Routes) > 0 {
		fmt.Fprintln(n.out, "Routes that cost most in "+dir+":")
		for _, x := range rep.Routes[:min(5, len(rep.Routes))] {
			fmt.Fprintf(n.out, "  %s (%d requests)\n", plainText(x.Route), x.Requests)
		}
		if err := n.question("Route of the baseline", &route); err != nil {
			return err
		}
	}
	if err := r.FromBaseline(&rep, dir, route); err != nil {
		if n.from == route {
			return n.unknown(err)
		}
		// A boundary or route that the capture has not seen: the record is begun without its figures.
		fmt.Fprintln(cmd.ErrOrStderr(), "demarc: no figures: "+plainText(err.Error()))
		r.Baseline.Route, r.Baseline.Capture = route, ""
		return nil
	}
	if r.Topic == "" && n.from != "" {
		r.Topic = n.from
	}
	r.ExpectBetter()
	return nil
}

// findingID is how a finding's id looks, or its beginning.
var findingID = regexp.MustCompile(`^[0-9a-f]{4,64}$`)

// finding fills in the finding of demarc stale that --from names; false: it does not look like one.
func (n *changeNew) finding(cmd *cobra.Command, dir string) (bool, error) {
	if !findingID.MatchString(n.from) {
		return false, nil
	}
	budgets, err := configuredBudgets(cmd, "")
	if err != nil {
		return false, err
	}
	rep, err := readStale(cmd.Context(), cmd.ErrOrStderr(), dir, "", budgets)
	if err != nil {
		return false, err
	}
	f, err := findingOf(rep, n.from, dir)
	if err != nil {
		return false, n.unknown(err)
	}
	n.record.FromFinding(f, dir)
	return true, nil
}

// unknown says that --from names nothing.
func (n *changeNew) unknown(cause error) error {
	return &fault.Error{
		What: fmt.Sprintf("cannot begin a record from %q", n.from), Cause: cause, Code: fault.ExitUsage, Retry: fault.RetryUseless,
		Expected: "a boundary of " + boundary.Name + ", the id of a finding of demarc stale, or a route of the capture",
		Try:      "demarc report (routes), demarc stale (findings), or demarc change new TOPIC without --from",
	}
}

// declared returns the boundary of a name, or nil.
func declared(cmd *cobra.Command, name string) (*boundary.Boundary, error) {
	settings, err := config.Load(cmd.CommandPath(), "")
	if err != nil {
		return nil, err
	}
	path := cmp.Or(settings.Boundaries, boundary.Name)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	file, err := boundary.Load(cmd.CommandPath(), path)
	if err != nil {
		return nil, err
	}
	if b, ok := file.Find(name); ok {
		return &b, nil
	}
	return nil, nil
}

// questions asks for what is not known yet. An empty answer leaves it open.
func (n *changeNew) questions() error {
	if !n.ask {
		return nil
	}
	fmt.Fprintln(n.out, "An empty answer takes what stands in brackets, or leaves the field open.")
	r := &n.record
	for _, q := range []struct {
		text string
		to   *string
	}{
		{"Topic, in one line", &r.Topic},
		{"Owner", &r.Owner},
		{"Reason: why is it done", &r.Reason},
		{"Context: what must one know to understand it", &r.Context},
		{"Where does the user notice the problem", &r.Baseline.Noticed},
		{"Input that shows it", &r.Baseline.Input},
		{"Cause", &r.Cause},
		{"The smallest change that helps", &r.Change},
		{"Command that makes a backup (empty: none)", n.commands["backup"]},
		{"Command that restores it into a scratch target", n.commands["restore"]},
		{"Command that deploys the change", n.commands["deploy"]},
		{"Command, or address, that tells whether the service is healthy", n.commands["health"]},
		{"Command that verifies it by an integration check", n.commands["verify"]},
		{"Command that takes it back", n.commands["rollback"]},
		{"What remains after it was taken back", &r.Rollback},
	} {
		if err := n.question(q.text, q.to); err != nil {
			return err
		}
	}
	for {
		var line string
		text := "A check that must hold afterwards (empty: no more)"
		for _, c := range r.ExpectedLines() {
			text = "have: " + c + "\n" + text
		}
		if err := n.question(text, &line); err != nil || line == "" {
			return err
		}
		if err := n.addCheck(line); err != nil {
			fmt.Fprintln(n.out, "  "+err.Error())
		}
	}
}

// question asks for one line; what is there is the answer to an empty one.
func (n *changeNew) question(text string, to *string) error {
	if *to != "" {
		text += " [" + plainText(*to) + "]"
	}
	fmt.Fprint(n.out, text+": ")
	type answer struct {
		line string
		err  error
	}
	answered := make(chan answer, 1)
	go func() { // Ctrl-C does not end a read
		line, err := n.in.ReadString('\n')
		answered <- answer{line, err}
	}()
	var line string
	var err error
	select {
	case a := <-answered:
		line, err = a.line, a.err
	case <-n.ctx.Done():
		fmt.Fprintln(n.out)
		return n.ctx.Err()
	}
	if errors.Is(err, io.EOF) && line == "" {
		return errors.New("the input ended before the last question; nothing was written")
	}
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	if line = strings.TrimSpace(line); line != "" {
		*to = line
	}
	return nil
}

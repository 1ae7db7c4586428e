package cli

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/baseline"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/engine"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/stale"
)

// observeFlags are what run and collect have in common.
type observeFlags struct {
	listen, config, service, dir, out, keys, logLines string
	rate                                              float64
	live, noReport                                    bool
	reportJSON                                        string
}

func (o *observeFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&o.listen, "listen", "", "address of /health, /metrics and /report (default 127.0.0.1:0, a free port)")
	f.StringVar(&o.config, "config", "", "configuration (default "+config.File+", if it is there)")
	f.StringVar(&o.service, "service", "", "name of the service (default: the folder's name)")
	f.StringVar(&o.dir, "dir", capture.Root, "folder for captures, the hashing key and the run file")
	f.StringVar(&o.out, "out", "", "directory of the new capture (default: one named by time and service in --dir)")
	f.StringVar(&o.keys, "keys", "", "keep keys and targets clear or hashed")
	f.StringVar(&o.logLines, "log-lines", "", "write one line for each request to FILE (without FILE: stderr)")
	f.Lookup("log-lines").NoOptDefVal = "-"
	f.BoolVar(&o.live, "live", false, "show the routes while they are seen (needs a terminal)")
	f.BoolVar(&o.noReport, "no-report", false, "do not print the baseline at the end")
	f.StringVar(&o.reportJSON, "report-json", "", "write the baseline to FILE as JSON at the end (demarc.report/1)")
}

// observation is a running collector: a capture, the engine over it, the HTTP server and the run file.
type observation struct {
	op     string // "demarc run"
	cfg    config.Config
	flags  *observeFlags
	stderr io.Writer

	token     string // of control, and of HTTP that is not loopback
	keyFile   string
	engine    *engine.Engine
	http      *engine.Server
	listener  net.Listener
	capture   *capture.Writer
	runFile   string
	json      *os.File
	logFile   *os.File
	refusedMu sync.Mutex
	refusals  map[string]bool
	stopLive  chan struct{}
	liveDone  chan struct{}
	findings  liveFindings
}

// observe makes everything ready that can fail, in the order in which the least is left behind when it does. keys is
// what is kept of keys where nobody says; example is the command for the errors' last line.
func observe(cmd *cobra.Command, flags *observeFlags, keys, example string) (_ *observation, err error) {
	o := &observation{op: cmd.CommandPath(), flags: flags, stderr: cmd.ErrOrStderr()}
	// Go dies of the signal for files beyond a limit; caught, it is a failed write, which is said and survived.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGXFSZ)
	defer func() {
		if err != nil {
			o.abandon()
		}
	}()
	if o.cfg, err = config.Load(o.op, flags.config); err != nil {
		return nil, err
	}
	if err := o.settle(cmd, keys); err != nil {
		return nil, err
	}
	if o.token, err = o.cfg.Security.ReadToken(recorder.NewToken); err != nil {
		return nil, &fault.Error{Op: o.op, What: "cannot use security.token of the configuration", Cause: plainCause(err),
			Expected: "a token of at least 16 characters", Retry: fault.RetryUseless, Try: "security: { token: auto }"}
	}
	if err := o.folder(); err != nil {
		return nil, err
	}
	if o.listener, err = net.Listen("tcp", o.cfg.Security.Listen); err != nil {
		return nil, cannotListen(o.op, o.cfg.Security.Listen, "a free port for the live page", err, example)
	}
	if err := o.files(); err != nil {
		return nil, err
	}
	if err := o.open(); err != nil {
		return nil, named(cmd, err)
	}
	return o, nil
}

// settle puts flags and environment over the configuration.
func (o *observation) settle(cmd *cobra.Command, keys string) error {
	c := &o.cfg
	pick := func(values ...string) string {
		for _, v := range values {
			if v != "" {
				return v
			}
		}
		return ""
	}
	folder := "service"
	if wd, err := os.Getwd(); err == nil {
		folder = filepath.Base(wd)
	}
	c.Service = pick(o.flags.service, os.Getenv("DEMARC_SERVICE"), c.Service, folder)
	c.Privacy.Keys = pick(o.flags.keys, os.Getenv("DEMARC_KEYS"), c.Privacy.Keys, keys)
	c.Security.Listen = pick(o.flags.listen, c.Security.Listen)
	if c.Privacy.Keys != "clear" && c.Privacy.Keys != "hashed" {
		return usageError(cmd, fmt.Sprintf("--keys is clear or hashed, not %q", c.Privacy.Keys))
	}
	rate, given := o.flags.rate, cmd.Flags().Changed("rate")
	if text := os.Getenv("DEMARC_MAX_RATE"); text != "" && !given {
		var err error
		if rate, err = strconv.ParseFloat(text, 64); err != nil {
			return usageError(cmd, fmt.Sprintf("DEMARC_MAX_RATE is a number of events a second, 0 for no limit, not %q", text))
		}
		given = true
	}
	if given {
		if !(rate >= 0 && rate <= 1e9) {
			return usageError(cmd, "--rate is a number of events a second, 0 for no limit")
		}
		c.Security.Limits.MaxRate = &rate
	}
	if o.flags.live && !onTerminal(o.stderr) {
		return usageError(cmd, "--live needs a terminal on stderr")
	}
	return nil
}

// folder makes the folder for captures and the hashing key in it.
func (o *observation) folder() error {
	dir := o.flags.dir
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return &fault.Error{Op: o.op, What: "cannot create the folder " + dir, Cause: plainCause(err),
			Expected: "a folder that can be written to, for the capture and the hashing key", Retry: fault.RetryUseless,
			Try: o.op + " --dir DIR, with a folder of yours"}
	}
	o.keyFile = filepath.Join(dir, "key")
	if err := recorder.KeyFile(o.op, o.keyFile); err != nil {
		return err
	}
	// Captures, and the key above all, do not belong into the service's repository. Where this fails, git will ask.
	ignore := filepath.Join(dir, ".gitignore")
	if _, err := os.Lstat(ignore); errors.Is(err, fs.ErrNotExist) {
		_ = os.WriteFile(ignore, []byte("*\n"), 0o600)
	}
	return nil
}

// cannotListen is the error for an address that is not to be had.
func cannotListen(op, address, expected string, err error, example string) error {
	f := &fault.Error{Op: op, What: "cannot listen on " + address, Cause: err, Expected: expected, Retry: fault.RetrySafe, Try: example}
	var oe *net.OpError
	if errors.As(err, &oe) {
		f.Cause = oe.Err
		var se *os.SyscallError
		if errors.As(oe.Err, &se) {
			f.Cause = se.Err
		}
	}
	if !errors.Is(err, syscall.EADDRINUSE) {
		f.Retry = fault.RetryUseless
	}
	return f
}

// files opens what the flags name, so that a file that cannot be written is known before the service starts.
func (o *observation) files() error {
	for _, f := range []struct {
		flag, path string
		mode       int
		to         **os.File
	}{
		{"--report-json", o.flags.reportJSON, os.O_WRONLY | os.O_CREATE, &o.json},
		{"--log-lines", o.flags.logLines, os.O_WRONLY | os.O_CREATE | os.O_APPEND, &o.logFile},
	} {
		if f.path == "" || f.path == "-" {
			continue
		}
		file, err := os.OpenFile(f.path, f.mode, 0o600)
		if err != nil {
			return &fault.Error{Op: o.op, What: "cannot write " + f.path, Cause: plainCause(err),
				Expected: "a file that can be written to, after " + f.flag, Retry: fault.RetryUseless}
		}
		*f.to = file
	}
	return nil
}

// open begins the capture and everything that works on it.
func (o *observation) open() error {
	size, err := config.Size(o.cfg.Keep.Size)
	if err != nil {
		return err
	}
	age, err := config.Age(o.cfg.Keep.Age)
	if err != nil {
		return err
	}
	keep := capture.Options{MaxBytes: size, MaxAge: age, Service: o.cfg.Service}
	if gone, err := capture.Retain(o.flags.dir, keep); err != nil {
		fmt.Fprintf(o.stderr, "demarc: old captures could not be dropped: %v\n", err)
	} else if len(gone) > 0 {
		fmt.Fprintf(o.stderr, "demarc: dropped %d old captures (keep: size %s, age %s)\n", len(gone), o.cfg.Keep.Size, o.cfg.Keep.Age)
	}
	path := o.flags.out
	if path == "" {
		path = capture.NewPath(o.flags.dir, o.cfg.Service, time.Now())
	}
	if o.capture, err = capture.Create(path, keep); err != nil {
		return err
	}
	budgets, err := stalenessBudgets(o.cfg.Staleness)
	if err != nil {
		return err
	}
	opt := engine.Options{Capture: o.capture, Baseline: baseline.New(baselineOptions()), Stale: stale.New(o.liveStale(budgets)), OnLoss: o.loss}
	switch {
	case o.logFile != nil:
		opt.Folds = append(opt.Folds, engine.NewLogLines(o.logFile))
	case o.flags.logLines == "-":
		opt.Folds = append(opt.Folds, engine.NewLogLines(o.stderr))
	}
	o.engine = engine.New(opt)
	o.http = engine.Serve(o.listener, o.engine, o.token)
	o.runFile, err = engine.WriteRunFile(o.flags.dir, engine.RunFile{
		Started: time.Now().UTC().Format(time.RFC3339), Command: strings.TrimPrefix(o.op, "demarc "), Service: o.cfg.Service,
		URL: o.http.URL, Token: o.token, Capture: path,
	})
	if err != nil {
		return &fault.Error{What: "cannot write the run file in " + o.flags.dir, Cause: plainCause(err),
			Expected: "a folder that can be written to", Retry: fault.RetrySafe}
	}
	return nil
}

// maxRefusals is how many different reasons for refusing a connection are told.
const maxRefusals = 20

// refused tells a person why a recorder was refused, each reason once: the service it runs in says nothing.
func (o *observation) refused(why string) {
	o.refusedMu.Lock()
	defer o.refusedMu.Unlock()
	if o.refusals == nil {
		o.refusals = map[string]bool{}
	}
	if !o.refusals[why] && len(o.refusals) < maxRefusals {
		o.refusals[why] = true
		fmt.Fprintf(o.stderr, "demarc: a recorder was refused: %s\n", why)
	}
}

func (o *observation) loss(err error) {
	f := &fault.Error{Op: o.op, What: "cannot write the capture", Cause: err}
	var cause *fault.Error
	if errors.As(err, &cause) {
		c := *cause
		c.Op, f = o.op, &c
	}
	f.Expected = "space and permission to write; the service goes on, what could not be written is lost and counted"
	fmt.Fprintln(o.stderr, f.Text())
}

// announce says in two lines where things are and what the settings come to.
func (o *observation) announce(where, sampling string) {
	c := &o.cfg
	fmt.Fprintf(o.stderr, "demarc: watching %s%s, %s, capture %s\n", c.Service, where, o.http.URL, o.capture.Dir())
	reach := "this machine only"
	if host, _, err := net.SplitHostPort(c.Security.Listen); err == nil {
		if ip := net.ParseIP(host); host != "localhost" && (ip == nil || !ip.IsLoopback()) {
			reach = "reachable from outside with the token in " + o.runFile
		}
	}
	kept := "keys and targets in clear, secrets and SQL literals left out"
	if c.Privacy.Keys == "hashed" {
		kept = "keys and targets hashed"
	}
	fmt.Fprintf(o.stderr, "demarc: %s, values only as keyed hashes; %s; %s; keeps %s, %s\n", kept, reach, sampling, c.Keep.Size, c.Keep.Age)
}

// startLive draws the routes once a second, over the terminal, and tells of stale reads as they are found.
func (o *observation) startLive() {
	o.startFindings()
	if !o.flags.live {
		return
	}
	o.stopLive, o.liveDone = make(chan struct{}), make(chan struct{})
	go func() {
		defer close(o.liveDone)
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for {
			select {
			case <-o.stopLive:
				return
			case <-tick.C:
			}
			rep := o.engine.Report()
			opt := terminalOptions(o.stderr)
			opt.Rows = 12
			fmt.Fprint(o.stderr, "\x1b[H\x1b[2J")
			_ = report.Terminal(o.stderr, &rep, opt)
		}
	}()
}

// finish closes the capture and says what there is to say. Sources have ended.
func (o *observation) finish() {
	if o.stopLive != nil {
		close(o.stopLive)
		<-o.liveDone
	}
	o.stopFindings()
	if err := o.engine.Close(); err != nil {
		o.loss(err)
	}
	h := o.engine.Health()
	rep := o.engine.Report()
	o.http.Close()
	_ = os.Remove(o.runFile)
	if o.json != nil {
		err := o.json.Truncate(0)
		err = errors.Join(err, report.JSON(o.json, &rep), o.json.Close())
		if err != nil {
			fmt.Fprintln(o.stderr, (&fault.Error{Op: o.op, What: "cannot write " + o.flags.reportJSON, Cause: plainCause(err),
				Try: "demarc report --json " + o.capture.Dir() + " > " + o.flags.reportJSON}).Text())
		}
	}
	if o.logFile != nil {
		_ = o.logFile.Close()
	}
	if h.Received == 0 {
		if capture.Drop(o.capture.Dir()) == nil {
			fmt.Fprintln(o.stderr, "demarc: no event came, so no capture was kept")
		}
		return
	}
	if !o.flags.noReport {
		fmt.Fprintln(o.stderr)
		_ = report.Terminal(o.stderr, &rep, terminalOptions(o.stderr))
		o.tellStale()
	}
	if h.Dropped > 0 || h.BadFrames > 0 {
		fmt.Fprintf(o.stderr, "demarc: not in the capture: %d events that the service's processes could not send, %d that came faster than "+
			"the disk, %d of failed writes; %d frames could not be read\n", h.DroppedBy.Recorders, h.DroppedBy.Collector, h.DroppedBy.Disk, h.BadFrames)
	}
	fmt.Fprintf(o.stderr, "demarc: %d events, %s kept in %s\n", h.Received, size(o.capture.Stats().Bytes), o.capture.Dir())
	fmt.Fprintf(o.stderr, "demarc: next: demarc report %s · demarc stale %s\n", o.capture.Dir(), o.capture.Dir())
}

// abandon takes back what was opened before the start failed.
func (o *observation) abandon() {
	if o.listener != nil {
		_ = o.listener.Close()
	}
	if o.http != nil {
		o.http.Close()
	}
	if o.runFile != "" {
		_ = os.Remove(o.runFile)
	}
	if o.engine != nil {
		_ = o.engine.Close()
	}
	if o.capture != nil {
		_ = o.capture.Close()
		_ = capture.Drop(o.capture.Dir())
	}
	for _, f := range []*os.File{o.json, o.logFile} {
		if f != nil {
			_ = f.Close()
		}
	}
}

func size(n int64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n >= 1e6:
		return fmt.Sprintf("%.1f MB", float64(n)/1e6)
	case n >= 1e3:
		return fmt.Sprintf("%.1f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%d bytes", n)
}

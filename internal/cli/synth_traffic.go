package cli

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/synth"
)

// synthTrafficSummary is the schema demarc.synth.traffic/1.
type synthTrafficSummary struct {
	Schema     string `json:"schema"`
	Output     string `json:"output"`
	Format     string `json:"format"`
	Truth      string `json:"truth,omitempty"`
	SHA256     string `json:"sha256"` // of the events as JSON Lines, before compression
	Seed       uint64 `json:"seed"`
	Events     int64  `json:"events"`
	Requests   int64  `json:"requests"`
	Stories    int64  `json:"stories"`
	StaleReads int64  `json:"stale_reads"`
	Leaks      int64  `json:"leaks"`
}

// Formats of traffic.
const (
	formatJSONL   = "jsonl"
	formatZstd    = "zst"
	formatCapture = "capture"
)

func trafficFormats() []string { return []string{formatJSONL, formatZstd, formatCapture} }

func newSynthTrafficCommand() *cobra.Command {
	opt := synth.DefaultTraffic()
	var output, format, truth, start, skew, writes string
	var stale int
	var plant, lifetimes []string
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "traffic",
		Short: "Make an event stream with planted stale reads, and the truth beside it",
		Args:  cobra.NoArgs,
		Long: "Makes the events of a service (docs/events.md): routes that are worth a cache and routes that are not, keys by Zipf's law,\n" +
			"writers, a cache that is right, and stories of stale reads, one of each cause that events can show, with look-alikes\n" +
			"and harmless twins. What `demarc stale` and `demarc choose` should say of it is written to OUTPUT.truth.json.\n\n" +
			"A name that ends in .zst is compressed JSON Lines, one without an ending is a capture; --format says otherwise.",
		Example: "  demarc synth traffic --seed 7 --requests 20000 -o traffic.jsonl\n" +
			"  demarc synth traffic --requests 1000000 --rate 500 -o big && demarc stale big\n" +
			"  demarc synth traffic --plant forgot=3 --plant twin-lag=2 --plant vary=1 | demarc import -\n" +
			"  demarc synth traffic --stale 0 -o clean.jsonl.zst",
		RunE: func(cmd *cobra.Command, _ []string) error {
			m := &synthTraffic{cmd: cmd, output: output, format: format, truth: truth}
			if err := m.place(asJSON); err != nil {
				return err
			}
			set := cmd.Flags().Changed
			var err error
			if opt.Plant, err = plants(plant, stale, set("stale"), set("plant"), opt.Processes); err == nil {
				if opt.Start, err = startTime(start); err == nil {
					if opt.Skew, err = decimal("skew", skew, 1000); err == nil {
						opt.WriteRate, err = decimal("write-rate", writes, 1_000_000)
					}
				}
			}
			if err == nil && set("lifetimes") {
				opt.Lifetimes, err = milliseconds(lifetimes)
			}
			if err != nil {
				return synthUsage(cmd, err)
			}
			if m.traffic, err = synth.NewTraffic(opt); err != nil {
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
	f.Int64Var(&opt.Requests, "requests", opt.Requests, "requests in all, with those of planted stories")
	f.IntVar(&opt.Routes, "routes", opt.Routes, "routes of ordinary traffic that read")
	f.IntVar(&opt.Keys, "keys", opt.Keys, "rows of each table")
	f.StringVar(&skew, "skew", "1", "how unevenly keys are asked for: Zipf's exponent, 0 to 5")
	f.StringVar(&writes, "write-rate", "0.05", "share of the ordinary requests that write, 0 to 0.9")
	f.IntVar(&opt.Users, "users", opt.Users, "identities that ask, the first of them anonymous")
	f.IntVar(&opt.Processes, "processes", opt.Processes, "processes of the service")
	f.IntVar(&stale, "stale", len(synth.Causes()), "stories of stale reads, the causes in turn; 0: nothing is planted")
	f.StringArrayVar(&plant, "plant", nil, "so many stories of a `cause=N`; without --stale nothing else is planted")
	f.Int64Var(&opt.Rate, "rate", opt.Rate, "requests a second of simulated time")
	f.StringVar(&start, "start", time.Unix(0, synth.DefaultStart).UTC().Format(time.RFC3339), "when the traffic begins, RFC 3339")
	f.StringVar(&opt.Service, "service", opt.Service, "name of the service")
	f.StringSliceVar(&lifetimes, "lifetimes", []string{"1s", "10s", "1m"}, "for which the truth says how often a cache would have been hit")
	f.StringVarP(&output, "output", "o", "", "`file` or capture; standard output without it")
	f.StringVar(&format, "format", "", strings.Join(trafficFormats(), ", ")+" (default: told by the name after -o)")
	f.StringVar(&truth, "truth", "", "`file` for the truth (default: OUTPUT.truth.json; none for standard output)")
	f.BoolVar(&asJSON, "json", false, "print a summary as JSON (demarc.synth.traffic/1); needs -o")
	complete := map[string][]string{"format": trafficFormats(), "plant": synth.Plants()}
	for i := range complete["plant"] {
		complete["plant"][i] += "=1"
	}
	for flag, list := range complete {
		if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(list, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(err) // the flag is defined above
		}
	}
	return cmd
}

// plants reads what is to be planted.
func plants(list []string, stale int, staleSet, plantSet bool, processes int) ([]synth.Plant, error) {
	if stale < 0 || stale > synth.MaxPlanted {
		return nil, &synth.OptionError{Option: "stale", Problem: strconv.Itoa(stale), Expected: fmt.Sprintf("0 to %d", synth.MaxPlanted)}
	}
	var out []synth.Plant
	if staleSet || !plantSet {
		out = synth.Spread(stale, processes)
	}
	for _, p := range list {
		name, number, ok := strings.Cut(p, "=")
		n, err := strconv.Atoi(number)
		if !ok || err != nil {
			return nil, &synth.OptionError{Option: "plant", Problem: fmt.Sprintf("%q", p), Expected: "a cause and how many stories of it, such as forgot=3"}
		}
		at := slices.IndexFunc(out, func(x synth.Plant) bool { return x.Cause == name })
		if at < 0 {
			out = append(out, synth.Plant{Cause: name})
			at = len(out) - 1
		}
		out[at].N = n
	}
	return out, nil
}

func startTime(s string) (int64, error) {
	t, err := time.Parse(time.RFC3339Nano, s)
	if err != nil || t.Year() < 1971 || t.Year() > 2110 {
		return 0, &synth.OptionError{Option: "start", Problem: fmt.Sprintf("%q", s), Expected: "a time from 1971 to 2110 such as 2026-03-02T09:00:00Z"}
	}
	return t.UnixNano(), nil
}

// decimal reads a number with a point as a whole number of parts.
func decimal(option, s string, parts float64) (int64, error) {
	v, err := strconv.ParseFloat(s, 64)
	if err != nil || math.IsNaN(v) || v < 0 || v > 1000 {
		return 0, &synth.OptionError{Option: option, Problem: fmt.Sprintf("%q", s), Expected: "a number such as 0.9"}
	}
	return int64(math.Round(v * parts)), nil
}

func milliseconds(list []string) ([]int64, error) {
	var out []int64
	for _, s := range list {
		d, err := time.ParseDuration(s)
		if err != nil || d < time.Millisecond || d%time.Millisecond != 0 {
			return nil, &synth.OptionError{Option: "lifetimes", Problem: fmt.Sprintf("%q", s), Expected: "whole milliseconds, such as 500ms,10s"}
		}
		out = append(out, d.Milliseconds())
	}
	return out, nil
}

// synthTraffic writes traffic to its place.
type synthTraffic struct {
	cmd                   *cobra.Command
	traffic               *synth.Traffic
	output, format, truth string
	report                *synth.Truth
}

// place finds out what is written where.
func (m *synthTraffic) place(asJSON bool) error {
	if m.output == "-" {
		m.output = ""
	}
	if m.format != "" && !slices.Contains(trafficFormats(), m.format) {
		return usageError(m.cmd, fmt.Sprintf("there is no format %q, only %s", m.format, strings.Join(trafficFormats(), ", ")))
	}
	if m.format == "" {
		switch ext := filepath.Ext(m.output); {
		case m.output == "":
			m.format = formatJSONL
		case ext == ".zst":
			m.format = formatZstd
		case ext == "" || strings.HasSuffix(m.output, "/"):
			m.format = formatCapture
		default:
			m.format = formatJSONL
		}
	}
	switch {
	case m.output == "" && m.format == formatCapture:
		return usageError(m.cmd, "a capture is a directory and needs a name after -o")
	case m.output == "" && asJSON:
		return usageError(m.cmd, "--json prints a summary and needs -o, since the events themselves go to standard output")
	}
	m.output = strings.TrimRight(m.output, "/")
	if m.truth == "" && m.output != "" {
		m.truth = m.output + ".truth.json"
	}
	return nil
}

// run writes the events, and the truth when they are all there. Where one of them fails, neither stays.
func (m *synthTraffic) run(opt synth.TrafficOptions) error {
	switch {
	case m.output == "":
		if err := m.lines(m.cmd.OutOrStdout()); err != nil {
			return cannotWrite("standard output", err)
		}
		return m.writeTruth()
	case m.format == formatCapture:
		return m.capture(opt)
	}
	err := capture.WriteFile(m.output, func(w io.Writer) error {
		err := m.compressed(w)
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

func (m *synthTraffic) compressed(w io.Writer) error {
	if m.format != formatZstd {
		return m.lines(w)
	}
	z, err := zstd.NewWriter(w, zstd.WithEncoderConcurrency(1))
	if err != nil {
		return err
	}
	return errors.Join(m.lines(z), z.Close())
}

// lines writes the events as JSON Lines, a batch at a time: some 200 kB.
func (m *synthTraffic) lines(to io.Writer) error {
	return m.each(func([]event.Event) error { return nil }, to)
}

// each hands on the events in batches, which are valid until take returns, and writes them to a place as JSON Lines. What is
// written and summed is so on a second processor, at most summing batches behind.
func (m *synthTraffic) each(take func(batch []event.Event) error, to io.Writer) error {
	_, total := m.traffic.Progress()
	bar := synthBar(m.cmd.ErrOrStderr(), total, "traffic")
	defer func() { _ = bar.Finish() }()
	const summing = 4
	filled, free, failed := make(chan []byte, summing), make(chan []byte, summing), make(chan error, 1)
	for range summing {
		free <- nil
	}
	sum := sha256.New()
	done := make(chan struct{})
	go func() {
		defer close(done)
		good := true
		for lines := range filled {
			sum.Write(lines)
			if good {
				if _, err := to.Write(lines); err != nil {
					good = false
					failed <- err
				}
			}
			free <- lines
		}
	}()
	err := m.batches(func(batch []event.Event) error {
		lines := (<-free)[:0]
		for i := range batch {
			lines = append(event.AppendJSON(lines, &batch[i]), '\n')
		}
		filled <- lines
		select {
		case err := <-failed:
			return err
		default:
		}
		requests, _ := m.traffic.Progress()
		_ = bar.Set64(requests)
		return take(batch)
	})
	close(filled)
	<-done
	select {
	case wrong := <-failed:
		err = errors.Join(err, wrong)
	default:
	}
	if err == nil {
		m.report = m.traffic.Truth(hex.EncodeToString(sum.Sum(nil)))
	}
	return err
}

// batches makes all the traffic.
func (m *synthTraffic) batches(take func(batch []event.Event) error) error {
	for batch := m.traffic.Next(); len(batch) > 0; batch = m.traffic.Next() {
		if err := errors.Join(take(batch), m.cmd.Context().Err()); err != nil {
			return err
		}
	}
	return nil
}

// capture writes a capture beside the wanted one, which takes its name when all is there.
func (m *synthTraffic) capture(opt synth.TrafficOptions) error {
	if err := isTaken(m.output); err != nil {
		return err
	}
	partial := beside(m.output)
	if _, err := os.Stat(partial); err == nil {
		if err := capture.Drop(partial); err != nil {
			return err
		}
	}
	w, err := capture.Create(partial, capture.Options{Service: opt.Service, MaxBytes: -1, MaxAge: -1})
	if err != nil {
		return err
	}
	err = m.each(w.Append, io.Discard)
	err = errors.Join(err, w.Close())
	if err == nil {
		err = m.writeTruth()
	}
	if err == nil {
		if err = os.Rename(partial, m.output); err != nil {
			err = &fault.Error{What: "cannot name capture " + m.output, Cause: err, Retry: fault.RetrySafe}
			_ = os.Remove(m.truth)
		}
	}
	if err != nil {
		return errors.Join(err, capture.Drop(partial))
	}
	return nil
}

func (m *synthTraffic) writeTruth() error { return writeTruth(m.truth, m.report) }

// tell prints what was made.
func (m *synthTraffic) tell(opt synth.TrafficOptions, asJSON bool) error {
	t := m.report.Totals
	if asJSON {
		return json.NewEncoder(m.cmd.OutOrStdout()).Encode(synthTrafficSummary{Schema: "demarc.synth.traffic/1", Output: m.output, Format: m.format,
			Truth: m.truth, SHA256: m.report.SHA256, Seed: opt.Seed, Events: t.Events, Requests: t.Requests, Stories: t.Stories,
			StaleReads: t.StaleReads, Leaks: t.Leaks})
	}
	e := m.cmd.ErrOrStderr()
	fmt.Fprintf(e, "%d events of %d requests; %d stories with %d stale reads and %d leaks\n", t.Events, t.Requests, t.Stories, t.StaleReads, t.Leaks)
	if m.truth != "" {
		fmt.Fprintf(e, "truth:  %s\n", m.truth)
	}
	fmt.Fprintf(e, "sha256: %s\n", m.report.SHA256)
	return nil
}

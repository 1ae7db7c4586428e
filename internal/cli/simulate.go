package cli

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/report"
	"github.com/demarc-dev/demarc/internal/sim"
	"github.com/demarc-dev/demarc/internal/trace"
)

// Limits and defaults of demarc simulate.
const (
	maxSimulateSizes  = 1000
	simulateMemory    = 2000 // MB
	simulatePolicies  = "lru,fifo,clock,lfu,sieve,s3fifo,arc,w-tinylfu,opt"
	simulateShares    = "0.1%,0.2%,0.5%,1%,2%,5%,10%,20%,50%"
	smallestSimulated = 1e-6 // sample
)

func newSimulateCommand() *cobra.Command {
	var asJSON, asHTML bool
	var output, policies, sizes, format string
	var ttl time.Duration
	var sample float64
	var memory int64
	cmd := &cobra.Command{
		Use:     "simulate TRACE",
		Short:   "Replay a key trace through cache policies and sizes: miss-ratio curves",
		GroupID: groupMore,
		Args:    cobra.ExactArgs(1),
		Long: "Reads which key was asked for, request after request, and says what caches of several policies and sizes would\n" +
			"have missed (docs/simulate.md). TRACE is a list of keys, lines \"time key size\", CSV with named columns, or\n" +
			"libCacheSim's oracleGeneral; plain, gzip or zstd; - for standard input. Counts are exact, unless --sample is\n" +
			"given or the trace does not fit into --memory, which is said then.",
		Example: "  demarc simulate keys.txt\n  demarc simulate keys.txt --policy lru,sieve --size 1000,5%\n" +
			"  demarc simulate requests.csv.zst --policy ttlcache --ttl 60s --size 500\n  demarc simulate keys.txt --html -o curves.html",
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if asHTML && output == "" && onTerminal(out) {
				err := usageError(cmd, "--html would fill the terminal with the page's source")
				err.Try = "demarc simulate " + args[0] + " --html -o curves.html"
				return err
			}
			s := simulation{cmd: cmd, file: args[0], format: format, ttl: ttl, rate: 1, memory: memory * 1_000_000}
			if cmd.Flags().Changed("sample") {
				if !(sample >= smallestSimulated && sample <= 1) {
					return usageError(cmd, fmt.Sprintf("--sample %v is not a share between %v and 1", sample, smallestSimulated))
				}
				s.rate, s.reason = sample, "as asked"
			}
			if memory < 1 || memory > math.MaxInt64/1_000_000 {
				return usageError(cmd, fmt.Sprintf("--memory %d is not a number of megabytes", memory))
			}
			if format != trace.Auto && !slices.Contains(trace.Formats(), format) {
				return usageError(cmd, fmt.Sprintf("there is no format %q, only %s", format, strings.Join(trace.Formats(), ", ")))
			}
			if err := s.choose(policies, cmd.Flags().Changed("policy")); err != nil {
				return usageError(cmd, err.Error())
			}
			var err error
			if s.sizes, err = parseSizes(cmp.Or(sizes, simulateShares)); err != nil {
				return usageError(cmd, err.Error())
			}
			result, err := s.run(cmd.Context())
			if err != nil {
				return named(cmd, err)
			}
			write := func(w io.Writer) error {
				switch {
				case asJSON:
					return report.SimulationJSON(w, result)
				case asHTML:
					return report.SimulationHTML(w, result)
				}
				return report.SimulationTerminal(w, result, terminalOptions(w))
			}
			if output == "" {
				err = write(out)
			} else {
				err = capture.WriteFile(output, write)
			}
			if err != nil {
				return named(cmd, &fault.Error{What: "cannot write " + cmp.Or(output, "the result"), Cause: err,
					Expected: "space and permission to write", Retry: fault.RetrySafe})
			}
			if output != "" {
				fmt.Fprintln(cmd.ErrOrStderr(), "wrote "+output)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&policies, "policy", simulatePolicies, "policies, separated by commas; further ones: redis-lru, ttlcache")
	cmd.Flags().StringVar(&sizes, "size", "", "capacities in objects or as a share of the distinct keys, as 100,1000 or 1%,10% (default "+simulateShares+")")
	cmd.Flags().DurationVar(&ttl, "ttl", 0, "lifetime of the entries of ttlcache; needs a trace with times")
	cmd.Flags().StringVar(&format, "format", trace.Auto, "format of the trace: "+strings.Join(trace.Formats(), ", ")+" (default: told by its name and beginning)")
	cmd.Flags().Float64Var(&sample, "sample", 1, "replay only this share of the keys and estimate, with error bars")
	cmd.Flags().Int64Var(&memory, "memory", simulateMemory, "memory to use at most, in MB; a trace that needs more is sampled")
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON ("+sim.Schema+")")
	cmd.Flags().BoolVar(&asHTML, "html", false, "write one self-contained HTML page with the curves")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write instead of standard output")
	cmd.MarkFlagsMutuallyExclusive("json", "html")
	return cmd
}

// choose fills in the policies.
func (s *simulation) choose(list string, asked bool) error {
	names := strings.Split(list, ",")
	if s.ttl != 0 && !asked {
		names = []string{"lru", "ttlcache"}
	}
	for _, name := range names {
		def, err := sim.Find(strings.ToLower(strings.TrimSpace(name)))
		if err != nil {
			return err
		}
		if slices.ContainsFunc(s.policies, func(d sim.Definition) bool { return d.Name == def.Name }) {
			return fmt.Errorf("policy %s is named twice", def.Name)
		}
		s.policies = append(s.policies, def)
	}
	needsTTL := slices.ContainsFunc(s.policies, func(d sim.Definition) bool { return d.Times })
	switch {
	case needsTTL && s.ttl <= 0:
		return errors.New("ttlcache needs a lifetime: --ttl 60s")
	case !needsTTL && s.ttl != 0:
		return errors.New("none of these policies has lifetimes; --ttl needs ttlcache among them")
	}
	return nil
}

// simulateSize is a number of objects, or a share of the distinct keys.
type simulateSize struct {
	objects int64
	share   float64
}

// maxObjects is the greatest capacity: more than there can be keys.
const maxObjects = 1 << 32

func parseSizes(list string) ([]simulateSize, error) {
	var out []simulateSize
	for _, text := range strings.Split(list, ",") {
		text = strings.TrimSpace(text)
		if share, ok := strings.CutSuffix(text, "%"); ok {
			v, err := strconv.ParseFloat(share, 64)
			if err != nil || !(v > 0 && v <= 100) {
				return nil, fmt.Errorf("size %q is not a share above 0%% and up to 100%%", text)
			}
			out = append(out, simulateSize{share: v / 100})
			continue
		}
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 1 || v > maxObjects {
			return nil, fmt.Errorf("size %q is neither a number of objects from 1 to %d nor a share as 5%%", text, int64(maxObjects))
		}
		out = append(out, simulateSize{objects: v})
	}
	if len(out) > maxSimulateSizes {
		return nil, fmt.Errorf("%d sizes are given, at most %d are possible", len(out), maxSimulateSizes)
	}
	return out, nil
}

// objects returns the sizes in objects, ascending, each once.
func objects(sizes []simulateSize, keys int64) []int64 {
	var out []int64
	for _, s := range sizes {
		n := s.objects
		if s.share > 0 {
			n = max(int64(math.Round(s.share*float64(keys))), 1)
		}
		out = append(out, n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// openTrace opens a trace; again says whether it can be opened another time.
func (s *simulation) openTrace() (f io.ReadCloser, again bool, err error) {
	if s.file == "-" {
		return io.NopCloser(s.cmd.InOrStdin()), false, nil
	}
	st, err := os.Stat(s.file)
	if err == nil && st.IsDir() {
		err = errors.New("it is a directory")
	}
	if err == nil {
		f, err = os.Open(s.file)
	}
	if err != nil {
		return nil, false, &fault.Error{What: "cannot read trace " + s.file, Cause: plainCause(err),
			Expected: "a file with a key trace, or - for standard input", Retry: fault.RetrySafe}
	}
	return f, st.Mode().IsRegular(), nil
}

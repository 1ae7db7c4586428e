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
	maxSimulateSizes = 1000
	simulateMemory   = 2000 // MB
	// leastSimulateMemory is what the smallest sample needs beside the program, MB.
	leastSimulateMemory = 40
	simulatePolicies    = "lru,fifo,clock,lfu,sieve,s3fifo,arc,w-tinylfu,opt"
	simulateShares      = "0.1%,0.2%,0.5%,1%,2%,5%,10%,20%,50%"
	smallestSimulated   = 1e-6 // sample
)

func newSimulateCommand() *cobra.Command {
	var asJSON, asHTML bool
	var output, policies, sizes, format, ttl string
	var costs bool
	var boundaryName, declared string
	var sample float64
	var memory int64
	cmd := &cobra.Command{
		Use:     "simulate TRACE|CAPTURE",
		Short:   "Replay a key trace through cache policies and sizes: miss-ratio curves",
		GroupID: groupMore,
		Args:    cobra.ExactArgs(1),
		Long: "Reads which key was asked for, request after request, and says what caches of several policies and sizes would\n" +
			"have missed (docs/simulate.md). TRACE is a list of keys, lines \"time key size\", CSV with named columns, or\n" +
			"libCacheSim's oracleGeneral; plain, gzip or zstd; - for standard input. Counts are exact, unless --sample is\n" +
			"given or the trace does not fit into --memory, which is said then.\n\n" +
			"Of a capture, --boundary names what is replayed: each request asks for the key that demarc choose finds for it, or\n" +
			"that --boundaries declares.",
		Example: "  demarc simulate keys.txt\n  demarc simulate keys.txt --policy lru,sieve --size 1000,5%\n" +
			"  demarc simulate requests.csv.zst --policy ttlcache --ttl 60s --size 500\n  demarc simulate keys.txt --html -o curves.html\n" +
			"  demarc simulate requests.csv --size 10MB,1GB --cost\n  demarc simulate .demarc/shop-… --boundary 'GET /articles/{slug}'",
		RunE: func(cmd *cobra.Command, args []string) error {
			out := cmd.OutOrStdout()
			if asHTML && output == "" && onTerminal(out) {
				err := usageError(cmd, "--html would fill the terminal with the page's source")
				err.Try = "demarc simulate " + args[0] + " --html -o curves.html"
				return err
			}
			s := simulation{cmd: cmd, file: args[0], format: format, rate: 1, memory: memory * 1_000_000, costs: costs || boundaryName != "", boundary: boundaryName, declared: declared}
			if cmd.Flags().Changed("sample") {
				if !(sample >= smallestSimulated && sample <= 1) {
					return usageError(cmd, fmt.Sprintf("--sample %v is not a share between %v and 1", sample, smallestSimulated))
				}
				s.rate, s.reason, s.exact = sample, "as asked", sample == 1
			}
			if memory < leastSimulateMemory || memory > math.MaxInt64/1_000_000 {
				return usageError(cmd, fmt.Sprintf("--memory %d: a number of megabytes from %d on was expected", memory, leastSimulateMemory))
			}
			if format != trace.Auto && !slices.Contains(trace.Formats(), format) {
				return usageError(cmd, fmt.Sprintf("there is no format %q, only %s", format, strings.Join(trace.Formats(), ", ")))
			}
			var err error
			if s.sizes, s.bytes, err = parseSizes(cmp.Or(sizes, simulateShares)); err == nil {
				err = s.lifetimes(ttl)
			}
			if err == nil {
				err = s.choose(policies, cmd.Flags().Changed("policy"))
			}
			if err == nil && s.rate < 1 && s.weighs() {
				err = errors.New("sizes in bytes, lifetimes of the trace, costs and boundaries are not sampled: leave out --sample")
			}
			if err == nil && declared != "" && boundaryName == "" {
				err = errors.New("--boundaries needs --boundary NAME")
			}
			if err != nil {
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
	cmd.Flags().StringVar(&sizes, "size", "", "capacities in objects (100,1000), bytes (10MB) or as a share of all (1%,10%; default "+simulateShares+")")
	cmd.Flags().StringVar(&ttl, "ttl", "", "lifetime of the entries (60s), or trace: as its column ttl says; needs a trace with times")
	cmd.Flags().BoolVar(&costs, "cost", false, "also the share of the cost and bytes of all requests that the misses cost (columns cost and size)")
	cmd.Flags().StringVar(&boundaryName, "boundary", "", "of a capture, replay this boundary: `NAME` or route")
	cmd.Flags().StringVar(&declared, "boundaries", "", "take the boundary's key from this `file` (boundaries.yaml)")
	cmd.Flags().StringVar(&format, "format", trace.Auto, "format of the trace: "+strings.Join(trace.Formats(), ", ")+" (default: told by its name and beginning)")
	cmd.Flags().Float64Var(&sample, "sample", 1, "replay only this share of the keys and estimate, with error bars; 1: exact counts or none")
	cmd.Flags().Int64Var(&memory, "memory", simulateMemory, fmt.Sprintf("memory to use at most, in MB, %d or more; a trace that needs more is sampled", leastSimulateMemory))
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON ("+sim.Schema+")")
	cmd.Flags().BoolVar(&asHTML, "html", false, "write one self-contained HTML page with the curves")
	cmd.Flags().StringVarP(&output, "output", "o", "", "file to write instead of standard output")
	cmd.MarkFlagsMutuallyExclusive("json", "html")
	return cmd
}

// choose fills in the policies.
func (s *simulation) choose(list string, asked bool) error {
	names := strings.Split(list, ",")
	switch {
	case asked:
	case s.bytes || s.traceTTL:
		names = []string{"lru", "fifo", "clock", "sieve"}
	case s.ttl != 0:
		names = []string{"lru", "fifo", "clock", "sieve", "ttlcache"}
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
	case needsTTL && s.bytes:
		return errors.New("ttlcache counts objects, not bytes")
	case !needsTTL && (s.ttl != 0 || s.traceTTL) && !slices.ContainsFunc(s.policies, sim.Definition.Weighted):
		return errors.New("none of these policies has lifetimes; --ttl needs lru, fifo, clock, sieve or ttlcache among them")
	}
	for _, d := range s.policies {
		if s.bytes && !d.Weighted() {
			return fmt.Errorf("%s counts objects; sizes in bytes are there for lru, fifo, clock and sieve", d.Name)
		}
	}
	return nil
}

// lifetimes fills in what --ttl says.
func (s *simulation) lifetimes(text string) error {
	switch text {
	case "":
		return nil
	case "trace":
		s.traceTTL = true
		return nil
	}
	d, err := time.ParseDuration(text)
	if err != nil || d <= 0 {
		return fmt.Errorf("--ttl %q is neither a lifetime such as 60s nor \"trace\"", text)
	}
	s.ttl = d
	return nil
}

// simulateSize is a number of objects or bytes, or a share of all.
type simulateSize struct {
	objects int64
	share   float64
}

// maxObjects is the greatest capacity: more than there can be keys.
const maxObjects = 1 << 32

// maxBytes is the greatest capacity in bytes: 1 PB.
const maxBytes = 1_000_000_000_000_000

// parseBytes reads 500B, 64kB, 10MB, 1.5GB or 64KiB.
func parseBytes(text string) (int64, bool) {
	text = strings.ToUpper(text)
	for _, u := range []struct {
		name string
		size float64
	}{{"KIB", 1 << 10}, {"MIB", 1 << 20}, {"GIB", 1 << 30}, {"TIB", 1 << 40}, {"KB", 1e3}, {"MB", 1e6}, {"GB", 1e9}, {"TB", 1e12}, {"B", 1}} {
		if number, ok := strings.CutSuffix(text, u.name); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(number), 64)
			v *= u.size
			return int64(v), err == nil && v >= 1 && v <= maxBytes
		}
	}
	return 0, false
}

func parseSizes(list string) (out []simulateSize, bytes bool, err error) {
	objects := false
	for _, text := range strings.Split(list, ",") {
		text = strings.TrimSpace(text)
		if share, ok := strings.CutSuffix(text, "%"); ok {
			v, err := strconv.ParseFloat(share, 64)
			if err != nil || !(v > 0 && v <= 100) {
				return nil, false, fmt.Errorf("size %q is not a share above 0%% and up to 100%%", text)
			}
			out = append(out, simulateSize{share: v / 100})
			continue
		}
		if text != "" && strings.HasSuffix(strings.ToUpper(text), "B") {
			n, ok := parseBytes(text)
			if !ok {
				return nil, false, fmt.Errorf("size %q is not a number of bytes as 10MB, up to 1000TB", text)
			}
			bytes = true
			out = append(out, simulateSize{objects: n})
			continue
		}
		objects = true
		v, err := strconv.ParseInt(text, 10, 64)
		if err != nil || v < 1 || v > maxObjects {
			return nil, false, fmt.Errorf("size %q is neither a number of objects from 1 to %d, nor bytes as 10MB, nor a share as 5%%", text, int64(maxObjects))
		}
		out = append(out, simulateSize{objects: v})
	}
	if len(out) > maxSimulateSizes {
		return nil, false, fmt.Errorf("%d sizes are given, at most %d are possible", len(out), maxSimulateSizes)
	}
	if objects && bytes {
		return nil, false, errors.New("sizes are either objects or bytes, not both")
	}
	return out, bytes, nil
}

// objects returns the sizes in objects, or in bytes where keys is a number of bytes, ascending, each once.
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
		return nil, false, &fault.Error{What: "cannot read trace " + s.file, Cause: errors.New("it is a directory"),
			Expected: "a file; or a capture, and what of it is to be replayed", Retry: fault.RetryUseless,
			Try: "demarc simulate " + s.file + " --boundary 'GET /articles/{slug}' (demarc choose lists the boundaries)"}
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

package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/sim"
)

// simulateCommand runs demarc simulate.
func simulateCommand(t *testing.T, stdin string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, talk bytes.Buffer
	code = Main(append([]string{"simulate"}, args...), strings.NewReader(stdin), &out, &talk)
	return code, out.String(), talk.String()
}

// simulated runs it with --json, which must succeed.
func simulated(t *testing.T, args ...string) sim.Result {
	t.Helper()
	code, out, talk := simulateCommand(t, "", append(args, "--json")...)
	if code != fault.ExitOK {
		t.Fatalf("exit %d: %s", code, talk)
	}
	var r sim.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// skewedTrace writes a trace of Zipf keys with times.
func skewedTrace(t *testing.T, requests, keys int) string {
	t.Helper()
	random := rand.New(rand.NewPCG(1, 2))
	zipf := rand.NewZipf(random, 1.05, 10, uint64(keys-1))
	var b bytes.Buffer
	for i := range requests {
		fmt.Fprintf(&b, "%d.%03d %d %d\n", i/1000, i%1000, zipf.Uint64(), 100)
	}
	path := filepath.Join(t.TempDir(), "keys.txt")
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSimulateByHand(t *testing.T) {
	// a b a c b a: LRU of 2 hits once (the second a), of 3 three times.
	for _, stdin := range []string{"a\nb\na\nc\nb\na\n", "key\na\nb\na\nc\nb\na\n,", "0 a 1\n1 b 1\n2 a 1\n3 c 1\n4 b 1\n5 a 1"} {
		if strings.HasSuffix(stdin, ",") {
			stdin = strings.ReplaceAll(strings.ReplaceAll(stdin, "\n", ",1\n"), "key,1", "key,size")
			stdin = strings.TrimSuffix(stdin, ",")
		}
		code, out, talk := simulateCommand(t, stdin, "-", "--policy", "lru,opt", "--size", "2,3", "--json")
		if code != fault.ExitOK {
			t.Fatalf("exit %d: %s", code, talk)
		}
		var r sim.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil {
			t.Fatal(err)
		}
		if r.Schema != "demarc.simulate/1" || r.Trace.Requests != 6 || r.Trace.Keys != 3 || len(r.Curves) != 2 {
			t.Errorf("%s", out)
		}
		want := map[string][2]int64{"lru": {5, 3}, "opt": {4, 3}}
		for _, c := range r.Curves {
			for i, p := range c.Points {
				if p.Misses != want[c.Policy][i] || p.MissRatio != float64(p.Misses)/6 || p.Size != int64(i+2) {
					t.Errorf("%s: %+v, want %d misses", c.Policy, p, want[c.Policy][i])
				}
			}
		}
	}
}

// The curve, which is read while the trace is, and the policies, which are replayed side by side, belong to the same requests.
func TestSimulateSharesAndPolicies(t *testing.T) {
	r := simulated(t, skewedTrace(t, 20_000, 3000), "--size", "100%,1%,25,25", "--policy",
		"lru,fifo,clock,lfu,sieve,s3fifo,arc,w-tinylfu,redis-lru,ttlcache,opt", "--ttl", "1h")
	if len(r.Curves) != len(sim.Policies()) {
		t.Errorf("%d curves", len(r.Curves))
	}
	misses := map[string][]int64{}
	for _, c := range r.Curves {
		for i, p := range c.Points {
			want := []int64{25, int64(math.Round(float64(r.Trace.Keys) / 100)), r.Trace.Keys}
			if len(c.Points) != 3 && want[0] != want[1] || !strings.Contains(fmt.Sprint(want), fmt.Sprint(p.Size)) {
				t.Errorf("%s, point %d: %+v; want the sizes %v", c.Policy, i, p, want)
			}
			misses[c.Policy] = append(misses[c.Policy], p.Misses)
		}
	}
	if fmt.Sprint(misses["lru"]) != fmt.Sprint(misses["ttlcache"]) {
		t.Errorf("lru %v, and with a lifetime longer than the trace %v", misses["lru"], misses["ttlcache"])
	}
	for name, m := range misses {
		if m[0] < misses["opt"][0] || name != "w-tinylfu" && name != "s3fifo" && m[len(m)-1] != r.Trace.Keys {
			t.Errorf("%s: %v, opt %v", name, m, misses["opt"])
		}
	}
}

// A trace that does not fit is sampled, which is said, and the bars hold most of the truth.
func TestSimulateBeyondMemory(t *testing.T) {
	path := skewedTrace(t, 200_000, 60_000)
	args := []string{path, "--policy", "lru,sieve", "--size", "5000,10000"}
	exact := simulated(t, args...)
	code, out, talk := simulateCommand(t, "", append(args, "--memory", "2", "--json")...)
	if code != fault.ExitOK || !strings.Contains(talk, "does not fit into 2 MB") {
		t.Fatalf("exit %d: %s", code, talk)
	}
	var r sim.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if exact.Sample != nil || r.Sample == nil || r.Sample.Rate != 0.1 || r.Sample.Requests >= r.Trace.Requests/5 || r.Trace.Requests != 200_000 {
		t.Fatalf("%+v, %+v", r.Trace, r.Sample)
	}
	for i, c := range r.Curves {
		for j, p := range c.Points {
			truth := exact.Curves[i].Points[j].MissRatio
			if exact.Curves[i].Points[j].Error != nil || p.Error == nil || math.Abs(p.MissRatio-truth) > 2**p.Error || *p.Error > 0.1 {
				t.Errorf("%s at %d: %v ± %v, the truth is %v", c.Policy, p.Size, p.MissRatio, p.Error, truth)
			}
		}
	}
	// What comes through a pipe cannot be read again.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	code, out, talk = simulateCommand(t, string(text), "-", "--memory", "2")
	if code != fault.ExitFailed || out != "" || !strings.Contains(talk, "--sample 0.1") {
		t.Errorf("exit %d, %q: %s", code, out, talk)
	}
}

func TestSimulateRefuses(t *testing.T) {
	tests := []struct {
		args string
		code int
		want string
	}{
		{"- --policy lru,best", fault.ExitUsage, `there is no policy "best"`},
		{"- --policy lru,LRU", fault.ExitUsage, "policy lru is named twice"},
		{"- --policy ttlcache", fault.ExitUsage, "ttlcache needs a lifetime"},
		{"- --policy lru --ttl 5s", fault.ExitUsage, "--ttl needs ttlcache"},
		{"- --ttl 5s", fault.ExitFailed, "this trace has no times"},
		{"- --size 0", fault.ExitUsage, `size "0" is neither`},
		{"- --size 1,,2", fault.ExitUsage, `size "" is neither`},
		{"- --size 101%", fault.ExitUsage, "up to 100%"},
		{"- --size NaN%", fault.ExitUsage, "up to 100%"},
		{"- --sample 0", fault.ExitUsage, "--sample 0 is not a share"},
		{"- --sample NaN", fault.ExitUsage, "--sample NaN is not a share"},
		{"- --sample 0.00001", fault.ExitFailed, "the sample holds none"},
		{"- --memory 0", fault.ExitUsage, "not a number of megabytes"},
		{"- --format xml", fault.ExitUsage, `there is no format "xml"`},
		{"- --json --html", fault.ExitUsage, "none of the others can be"},
		{"", fault.ExitUsage, "accepts 1 arg"},
		{"/no/such/file", fault.ExitFailed, "cannot read trace /no/such/file: no such file or directory"},
		{".", fault.ExitFailed, "it is a directory"},
		{"- --format oracle", fault.ExitFailed, "record 1 (byte 0): cut after 6 bytes"},
	}
	for _, test := range tests {
		t.Run(test.args, func(t *testing.T) {
			code, out, talk := simulateCommand(t, "1\n2\n1\n", strings.Fields(test.args)...)
			if code != test.code || out != "" || !strings.Contains(talk, test.want) || !strings.HasPrefix(talk, "demarc simulate: ") {
				t.Errorf("exit %d, %q:\n%s\nwant exit %d and %q", code, out, talk, test.code, test.want)
			}
		})
	}
}

func TestSimulateOneKey(t *testing.T) {
	code, out, talk := simulateCommand(t, "x\nx\nx\n", "-")
	if code != fault.ExitOK || !strings.Contains(out, "3 requests · 1 key") || !strings.Contains(out, "0.3333") {
		t.Errorf("exit %d: %s\n%s", code, talk, out)
	}
	page := filepath.Join(t.TempDir(), "page.html")
	if code, _, talk := simulateCommand(t, "x\nx\nx\n", "-", "--html", "-o", page); code != fault.ExitOK {
		t.Errorf("exit %d: %s", code, talk)
	}
	text, err := os.ReadFile(page)
	if err != nil || strings.Contains(string(text), "NaN") || !strings.Contains(string(text), "0.3333") {
		t.Errorf("%v\n%s", err, text)
	}
}

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
	path := skewedTrace(t, 400_000, 200_000)
	args := []string{path, "--policy", "lru,sieve", "--size", "5000,10000"}
	exact := simulated(t, args...)
	code, out, talk := simulateCommand(t, "", append(args, "--memory", "40", "--json")...)
	if code != fault.ExitOK || !strings.Contains(talk, "does not fit into 40 MB") {
		t.Fatalf("exit %d: %s", code, talk)
	}
	var r sim.Result
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		t.Fatal(err)
	}
	if exact.Sample != nil || r.Sample == nil || r.Sample.Rate > 0.25 || r.Sample.Rate < 0.01 || r.Sample.Requests >= r.Trace.Requests/2 || r.Trace.Requests != 400_000 {
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
	// What is not sampled is refused.
	for _, args := range [][]string{{"--size", "1MB"}, {"--sample", "1"}} {
		args = append([]string{path, "--memory", "40"}, args...)
		if code, out, talk := simulateCommand(t, "", args...); code != fault.ExitFailed || out != "" || !strings.Contains(talk, "try:      more than --memory 40") {
			t.Errorf("exit %d, %q: %s", code, out, talk)
		}
	}
	// What comes through a pipe cannot be read again. It is sampled all the same, and the sample is one of the whole.
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for policies, most := range map[string]int{"lru": 1, "sieve": 10, "lru,sieve": 10} {
		code, out, talk = simulateCommand(t, string(text), "-", "--memory", "40", "--policy", policies, "--size", "5000,10000", "--json")
		var r sim.Result
		if err := json.Unmarshal([]byte(out), &r); err != nil || code != fault.ExitOK {
			t.Fatalf("exit %d: %s", code, talk)
		}
		asked := simulated(t, path, "--sample", fmt.Sprint(r.Sample.Rate), "--policy", policies, "--size", "5000,10000")
		if r.Trace.Requests != 400_000 || r.Sample.Rate >= 1 || fmt.Sprint(r.Trace.Keys, r.Sample.Keys, r.Sample.Requests) != fmt.Sprint(asked.Trace.Keys, asked.Sample.Keys, asked.Sample.Requests) ||
			!strings.Contains(talk, "standard input does not fit into 40 MB: going on with a sample of") || strings.Count(talk, "going on") > most {
			t.Errorf("%+v %+v, asked for at once %+v: %s", r.Trace, r.Sample, asked.Sample, talk)
		}
		got, _ := json.Marshal(r.Curves)
		want, _ := json.Marshal(asked.Curves)
		if !bytes.Equal(got, want) {
			t.Errorf("%s: %s\nthe same sample, asked for at once: %s", policies, got, want)
		}
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
		{"- --policy opt --ttl 5s", fault.ExitUsage, "--ttl needs lru"},
		{"- --ttl 5s", fault.ExitFailed, "this trace has no times"},
		{"- --size 0", fault.ExitUsage, `size "0" is neither`},
		{"- --size 1,,2", fault.ExitUsage, `size "" is neither`},
		{"- --size 101%", fault.ExitUsage, "up to 100%"},
		{"- --size NaN%", fault.ExitUsage, "up to 100%"},
		{"- --sample 0", fault.ExitUsage, "--sample 0 is not a share"},
		{"- --sample NaN", fault.ExitUsage, "--sample NaN is not a share"},
		{"- --sample 0.00001", fault.ExitFailed, "the sample holds none"},
		{"- --memory 39", fault.ExitUsage, "from 40 on"},
		{"- --format xml", fault.ExitUsage, `there is no format "xml"`},
		{"- --size 10kB,5", fault.ExitUsage, "either objects or bytes"},
		{"- --size 0.1B", fault.ExitUsage, "not a number of bytes"},
		{"- --size 10kB --policy arc", fault.ExitUsage, "arc counts objects"},
		{"- --size 10kB --policy lru,ttlcache --ttl 5s", fault.ExitUsage, "ttlcache counts objects"},
		{"- --size 10kB", fault.ExitFailed, "the trace has no sizes"},
		{"- --size 10kB --sample 0.5", fault.ExitUsage, "are not sampled"},
		{"- --ttl soon", fault.ExitUsage, "neither a lifetime"},
		{"- --cost", fault.ExitFailed, "the trace has no costs"},
		{"- --boundaries b.yaml", fault.ExitUsage, "--boundaries needs --boundary"},
		{"none --boundary x", fault.ExitFailed, "cannot open capture none"},
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

// Three keys of 10, 20 and 30 bytes, by hand.
func TestSimulateWeights(t *testing.T) {
	path := filepath.Join(t.TempDir(), "w.csv")
	text := "time,key,size,ttl,cost\n0,a,10,,1\n1,b,20,,2\n2,a,10,,1\n3,c,30,1,4\n4,a,10,,1\n5,c,30,1,4\n6,b,20,,2\n"
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	one := func(args ...string) sim.Point {
		t.Helper()
		r := simulated(t, append([]string{path, "--policy", "lru"}, args...)...)
		return r.Curves[0].Points[0]
	}
	// 40 bytes: a b hit; c throws out b; a and c hit; b throws out a. Misses a b c b: 80 of 130 bytes, 9 of 15.
	p := one("--size", "40B", "--cost")
	if p.Misses != 4 || p.Size != 40 || *p.CostRatio != 9.0/15 || *p.ByteRatio != 80.0/130 {
		t.Errorf("40 bytes: %+v %v %v", p, *p.CostRatio, *p.ByteRatio)
	}
	if p := one("--size", "25B"); p.Misses != 6 { // a and b throw each other out, c is never stored
		t.Errorf("25 bytes: %+v", p)
	}
	// c lives for a second: it is a miss at 5. b and a have no lifetime.
	if p := one("--size", "3", "--ttl", "trace"); p.Misses != 4 {
		t.Errorf("lifetimes of the trace: %+v", p)
	}
	if p := one("--size", "3", "--ttl", "3s"); p.Misses != 5 || p.CostRatio != nil { // a at 4 and b at 6 have expired
		t.Errorf("a lifetime of 3 s: %+v", p)
	}
	if p := one("--size", "100%,1kB", "--cost"); p.Size != 60 || p.Misses != 3 {
		t.Errorf("all: %+v", p)
	}
}

// A boundary of a capture has the key that choose finds, here without the tracking parameter; or the declared one.
func TestSimulateBoundary(t *testing.T) {
	t.Chdir(t.TempDir())
	var lines strings.Builder
	for i := range 200 {
		article := i * 7 % 5
		fmt.Fprintf(&lines, `{"type":"request","at":%d,"dur":10000000,"kind":"http","method":"GET","route":"/a/{slug}","target":"/a/x%d?utm=%d","status":200,"principal":"-","body_hash":"%016x","body_bytes":100}`+"\n",
			1790000000000000000+int64(i)*1e9, article, i, article+1)
	}
	if code, _, talk := command(t, lines.String(), "import", "-", "-o", "c"); code != 0 {
		t.Fatal(talk)
	}
	r := simulated(t, "c", "--boundary", "GET /a/{slug}", "--size", "5", "--policy", "lru,sieve")
	if fmt.Sprint(r.Trace.Key) != "[path.slug principal]" || r.Trace.Requests != 200 || r.Trace.Keys != 5 || r.Curves[1].Points[0].Misses != 5 || *r.Curves[0].Points[0].CostRatio != 5.0/200 {
		t.Errorf("%+v %+v", r.Trace, r.Curves)
	}
	writeText(t, "b.yaml", "version: 1\nboundaries:\n  - name: GET /a/{slug}\n    level: response\n    key: [path.slug, query.utm]\n    ttl: 60s\n    invalidation: none\n")
	r = simulated(t, "c", "--boundary", "GET /a/{slug}", "--boundaries", "b.yaml", "--size", "300B")
	if len(r.Trace.Key) != 2 || r.Trace.Keys != 200 || r.Unit != "bytes" || r.Trace.Bytes != 20_000 || r.Curves[0].Points[0].Misses != 200 {
		t.Errorf("%+v %+v", r.Trace, r.Curves)
	}
	for args, want := range map[string]string{
		"c --boundary /b":                       `it holds no boundary "/b"`,
		"c":                                     "demarc simulate c --boundary",
		"c --boundary /b --boundaries b.yaml":   `it declares no boundary "/b"`,
		"c --boundary /b --boundaries none.yml": "none.yml",
	} {
		if code, out, talk := simulateCommand(t, "", strings.Fields(args)...); code == 0 || out != "" || !strings.Contains(talk, want) {
			t.Errorf("%s: exit %d: %s", args, code, talk)
		}
	}
}

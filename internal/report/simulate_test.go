package report

import (
	"bytes"
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/sim"
)

func sampleSimulation() *sim.Result {
	bar := 0.021
	r := &sim.Result{Schema: sim.Schema, Trace: sim.TraceSummary{Requests: 1_000_000, Keys: 50_000, Name: "traces/<b>\x1b[31mkeys.txt", Format: "plain"}, Warnings: []string{"<i>doubt"}}
	for i, name := range []string{"lru", "sieve", "w-tinylfu", "opt"} {
		c := sim.PolicyCurve{Policy: name}
		for j, size := range []int64{100, 1000, 10_000} {
			misses := int64(900_000 - 400_000*j - 10_000*i)
			c.Points = append(c.Points, sim.Point{Size: size, Misses: misses, MissRatio: float64(misses) / 1e6, Error: &bar})
		}
		c.Knee = 1000
		r.Curves = append(r.Curves, c)
	}
	return r
}

func TestSimulationTerminal(t *testing.T) {
	r := sampleSimulation()
	for i := range r.Curves {
		for j := range r.Curves[i].Points {
			r.Curves[i].Points[j].Error = nil
		}
	}
	var b bytes.Buffer
	if err := SimulationTerminal(&b, r, TerminalOptions{}); err != nil {
		t.Fatal(err)
	}
	const want = `traces/<b>�[31mkeys.txt · 1,000,000 requests · 50,000 keys

       SIZE OF KEYS     LRU    SIEVE W-TINYLFU     OPT
        100    0.2%  0.9000   0.8900   0.8800*  0.8700
      1,000    2.0%  0.5000   0.4900   0.4800*  0.4700
     10,000     20%  0.1000   0.0900   0.0800*  0.0700

Shares of requests that miss; * is the best of a line, opt excepted (nothing can be better than opt).
The curve bends at: lru 1,000 · sieve 1,000 · w-tinylfu 1,000 · opt 1,000
! <i>doubt
`
	if b.String() != want {
		t.Errorf("got:\n%s\nwant:\n%s", b.String(), want)
	}
}

func TestSimulationOfASample(t *testing.T) {
	r := sampleSimulation()
	r.Sample = &sim.Sample{Rate: 0.1, Requests: 100_000, Keys: 5000, Reason: "as asked"}
	var b bytes.Buffer
	if err := SimulationTerminal(&b, r, TerminalOptions{Width: 60, Color: true}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"about 50,000 keys", "estimated from 10% of the keys (as asked)", "0.90±0.02", "\x1b[1m"} {
		if !strings.Contains(b.String(), want) {
			t.Errorf("no %q in\n%s", want, b.String())
		}
	}
}

func TestSimulationHTML(t *testing.T) {
	var b bytes.Buffer
	if err := SimulationHTML(&b, sampleSimulation()); err != nil {
		t.Fatal(err)
	}
	page := b.String()
	for _, bad := range []string{"<i>", "<script", "http:", "https:", "\x1b", "NaN", "ZgotmplZ"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page holds %q", bad)
		}
	}
	if strings.Count(page, "<polyline") != 4 || strings.Count(page, "<circle") != 4 || strings.Count(page, `class="bar`) != 12 {
		t.Errorf("not four curves with a knee and three bars each:\n%s", page)
	}
}

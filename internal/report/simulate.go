package report

import (
	"cmp"
	"encoding/json"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/internal/sim"
)

// SimulationJSON writes a simulation as one indented JSON object (schema sim.Schema), members in a fixed order.
func SimulationJSON(w io.Writer, r *sim.Result) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(r)
}

// SimulationTerminal writes a simulation as tables of miss ratios, a line for each size, as many policies side by side as
// the width allows. The best of a line, opt excepted, has a star.
func SimulationTerminal(w io.Writer, r *sim.Result, opt TerminalOptions) error {
	t := &terminal{width: max(cmp.Or(opt.Width, 100), 60), color: opt.Color}
	t.flow(simulationFacts(r))
	if len(r.Trace.Key) > 0 {
		t.line(t.style(dim, "The key: ") + plain(strings.Join(r.Trace.Key, ", ")))
	}
	if len(r.Curves) > 0 {
		best := bestPolicies(r)
		fit := (t.width - sizeColumns) / (ratioColumn(r) + 1)
		for from := 0; from < len(r.Curves); from += fit {
			t.ratios(r, r.Curves[from:min(from+fit, len(r.Curves))], best, from)
		}
		t.losses(r, fit, "Share of the cost of all requests that the misses cost:", func(p sim.Point) *float64 { return p.CostRatio })
		t.losses(r, fit, "Share of the bytes of all requests that the misses are of:", func(p sim.Point) *float64 { return p.ByteRatio })
		t.line("")
		t.line(t.style(dim, "Shares of requests that miss; * is the best of a line, opt excepted (nothing can be better than opt)."))
		if knees := kneeList(r); knees != "" {
			t.line(t.style(dim, "The curve bends at: ") + knees)
		}
	}
	for _, s := range r.Warnings {
		t.line(t.style(yellow, "! ") + plain(s))
	}
	_, err := io.WriteString(w, t.b.String())
	return err
}

// simulationFacts say what was replayed.
func simulationFacts(r *sim.Result) []part {
	parts := []part{
		{bold, clip(plain(r.Trace.Name), 50)},
		{"", integer(r.Trace.Requests) + one(r.Trace.Requests, " request", " requests")},
		{"", integer(r.Trace.Keys) + one(r.Trace.Keys, " key", " keys")},
	}
	if r.Unit == "bytes" {
		parts = append(parts, part{"", byteSize(r.Trace.Bytes) + " in all"})
	}
	if s := r.Sample; s != nil {
		parts[2].text = "about " + parts[2].text
		parts = append(parts, part{yellow, fmt.Sprintf("estimated from %s of the keys (%s)", percent(s.Rate), plain(s.Reason))})
	}
	return parts
}

// bestPolicies returns the index of the curve with the fewest misses at each size, -1 where several are equal or there is
// nothing to compare.
func bestPolicies(r *sim.Result) []int {
	best := make([]int, len(r.Curves[0].Points))
	for j := range best {
		best[j] = -1
		ties := 0
		for i, c := range r.Curves {
			switch {
			case c.Policy == "opt":
			case best[j] < 0 || c.Points[j].Misses < r.Curves[best[j]].Points[j].Misses:
				best[j], ties = i, 1
			case c.Points[j].Misses == r.Curves[best[j]].Points[j].Misses:
				ties++
			}
		}
		if ties > 1 || len(r.Curves) < 2 {
			best[j] = -1
		}
	}
	return best
}

// sizeColumns is the width of the size and its share of the keys: up to 999,999,999 objects.
const sizeColumns = 19

// ratioColumn is the width of a miss ratio without its star: wider where it has an error bar.
func ratioColumn(r *sim.Result) int {
	if r.Sample != nil {
		return 10
	}
	return 8
}

func (t *terminal) ratios(r *sim.Result, curves []sim.PolicyCurve, best []int, from int) {
	t.line("")
	column := ratioColumn(r)
	head := padLeft("SIZE", sizeColumns-8) + padLeft("OF KEYS", 8)
	if r.Unit == "bytes" {
		head = padLeft("SIZE", sizeColumns-8) + padLeft("OF ALL", 8)
	}
	for _, c := range curves {
		head += padRight(padLeft(strings.ToUpper(c.Policy), column), column+1)
	}
	t.line(t.style(dim, head))
	for j, p := range curves[0].Points {
		line := padLeft(sizeOf(r, p.Size), sizeColumns-8) + padLeft(percent(shareOf(r, p.Size)), 8)
		for i, c := range curves {
			p := c.Points[j]
			text := strconv.FormatFloat(p.MissRatio, 'f', 4, 64)
			if p.Error != nil {
				text = fmt.Sprintf("%.2f±%.2f", p.MissRatio, *p.Error)
			}
			text = padLeft(text, column)
			if best[j] == from+i {
				text = t.style(bold, text+"*")
			} else {
				text += " "
			}
			line += text
		}
		t.line(line)
	}
}

// losses is a table of another share than that of misses, where it is known.
func (t *terminal) losses(r *sim.Result, fit int, title string, value func(sim.Point) *float64) {
	if len(r.Curves[0].Points) == 0 || value(r.Curves[0].Points[0]) == nil {
		return
	}
	t.line("")
	t.line(t.style(dim, title))
	for from := 0; from < len(r.Curves); from += fit {
		curves := r.Curves[from:min(from+fit, len(r.Curves))]
		head := padLeft("SIZE", sizeColumns-8) + padLeft("", 8)
		for _, c := range curves {
			head += padLeft(strings.ToUpper(c.Policy), 8) + " "
		}
		t.line(t.style(dim, head))
		for j, p := range curves[0].Points {
			line := padLeft(sizeOf(r, p.Size), sizeColumns-8) + padLeft("", 8)
			for _, c := range curves {
				line += padLeft(strconv.FormatFloat(*value(c.Points[j]), 'f', 4, 64), 8) + " "
			}
			t.line(strings.TrimRight(line, " "))
		}
	}
}

// sizeOf writes a capacity in the unit of the result.
func sizeOf(r *sim.Result, size int64) string {
	if r.Unit == "bytes" {
		return byteSize(size)
	}
	return integer(size)
}

// byteSize writes bytes in decimal units, as --size takes them.
func byteSize(n int64) string {
	unit, v := 0, float64(n)
	for v >= 1000 && unit < 4 {
		v, unit = v/1000, unit+1
	}
	return strconv.FormatFloat(v, 'g', 4, 64) + [...]string{" B", " kB", " MB", " GB", " TB"}[unit]
}

// shareOf is a capacity as a share of what a cache that holds everything needs.
func shareOf(r *sim.Result, size int64) float64 {
	if r.Unit == "bytes" {
		return float64(size) / float64(max(r.Trace.Bytes, 1))
	}
	return float64(size) / float64(r.Trace.Keys)
}

// kneeList is "lru 1,527 · sieve 763".
func kneeList(r *sim.Result) string {
	var out []string
	for _, c := range r.Curves {
		if c.Knee > 0 {
			out = append(out, c.Policy+" "+sizeOf(r, c.Knee))
		}
	}
	return strings.Join(out, " · ")
}

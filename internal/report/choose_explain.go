package report

import (
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/forecast"
)

// explain answers the ten questions that people ask when they choose where to cache.
func (t *choosing) explain(b *forecast.Boundary) {
	for i, q := range []struct{ ask, answer string }{
		{"Is it safe per user?", safePerUser(b)},
		{"How is it dropped after a write?", howDropped(b)},
		{"Does it hold with several workers?", severalWorkers(b)},
		{"Which lifetime?", whichLifetime(b)},
		{"Which level?", whichLevel(b)},
		{"Which arguments can be left out?", leftOut(b)},
		{"Are empty answers and errors cached?", "No: only answers of status 200 to 299 are stored, in this forecast and in the snippets."},
		{"Joins, counts and pages?", joins(b)},
		{"What happens at expiry?", atExpiry(b)},
		{"Is it worth it, and how is that seen?", worth(b)},
	} {
		t.wrap(fmt.Sprintf("    %2d. %s %s", i+1, t.style(bold, q.ask), plain(q.answer)), "        ")
	}
}

func inputNamed(b *forecast.Boundary, name string) (forecast.KeyInput, bool) {
	i := slices.IndexFunc(b.Inputs, func(in forecast.KeyInput) bool { return in.Name == name })
	if i < 0 {
		return forecast.KeyInput{}, false
	}
	return b.Inputs[i], true
}

func safePerUser(b *forecast.Boundary) string {
	in, ok := inputNamed(b, "principal")
	switch {
	case !ok:
		return "Not known: who asked was not recorded."
	case in.Use == "key":
		return fmt.Sprintf("Yes, with the principal in the key: %d of %d pairs of different users got different answers.", in.Differ, in.Pairs)
	case in.Use == "kept" && strings.HasPrefix(in.Because, forecast.OwnRows):
		return fmt.Sprintf("Yes, with the principal in the key: in %d pairs of different users the answers were the same, but %s.", in.Pairs, in.Because)
	case in.Use == "kept":
		return fmt.Sprintf("Yes: the principal stays in the key, since only %d pairs tell whether answers differ between users (%s).", in.Pairs, in.Because)
	case in.Use == "follows":
		return "Yes: one key was never asked for by two users."
	case in.Because == forecast.NoAsker:
		return "Yes, as long as there are no users: no request of the whole capture had a principal. Once somebody can sign in, observe again."
	}
	same := fmt.Sprintf("in %d pairs of different users the answers were the same", in.Pairs)
	switch {
	case slices.Contains(b.Notes, forecast.Unguarded):
		return "Between users, as far as was seen: " + same + ". But " + forecast.Unguarded + "."
	case in.Nobody != nil && *in.Nobody > 0:
		same = fmt.Sprintf("in %d pairs of different users (or none: %s to nobody) the answers were the same", in.Pairs,
			integer(*in.Nobody)+one(*in.Nobody, " answer was", " answers were"))
	}
	return "Yes: " + same + "."
}

func howDropped(b *forecast.Boundary) string {
	if b.How == "none" {
		return "It is not: only the lifetime ends an entry."
	}
	text := invalidation(b) + "."
	text = strings.ToUpper(text[:1]) + text[1:]
	if b.Coverage != nil {
		text += fmt.Sprintf(" Observed writes explain %s of the changes beyond chance.", percent(*b.Coverage))
	}
	if b.Over != nil {
		text += fmt.Sprintf(" %s of the drops changed nothing.", percent(*b.Over))
	}
	if b.Unexplained != "" {
		text += " But " + b.Unexplained + "."
	}
	return text
}

func severalWorkers(b *forecast.Boundary) string {
	if b.How == "none" {
		return "Yes, each may keep its own; they then differ by up to the lifetime."
	}
	return "With a shared store, yes: a drop reaches all. With one cache in each process, a drop reaches only its own."
}

func whichLifetime(b *forecast.Boundary) string {
	text := lifetime(b.TTLMs) + ": the shortest that saves at least 98 % of what the best within the budget does."
	var shorter, longer *forecast.CurvePoint
	for i := range b.Curve {
		p := &b.Curve[i]
		if p.How != "none" {
			continue
		}
		if b.TTLMs != nil && p.TTLMs <= float64(*b.TTLMs) && p.StaleServes == p.Overlapping {
			shorter = p
		}
		if p.StaleServes > p.Overlapping && longer == nil {
			longer = p
		}
	}
	if longer != nil && shorter != nil {
		text += fmt.Sprintf(" Without any drop, %s would serve %s stale.", millis(longer.TTLMs), integer(longer.StaleServes-longer.Overlapping))
	}
	return text
}

func whichLevel(b *forecast.Boundary) string {
	text := "The " + b.Level + ", by joint replay of all levels"
	if len(b.Levels) == 0 {
		return text + "; nothing around it or inside it would be worth a cache."
	}
	return text + ": " + strings.Join(b.Levels, "; ") + "."
}

func leftOut(b *forecast.Boundary) string {
	var texts []string
	for _, in := range b.Inputs {
		if in.Use == "ignored" {
			texts = append(texts, fmt.Sprintf("%s (%d pairs, %s)", in.Name, in.Pairs, in.Because))
		}
	}
	if len(texts) == 0 {
		return "None that was seen to vary."
	}
	return strings.Join(texts, ", ") + "."
}

func joins(b *forecast.Boundary) string {
	var rows, tables []string
	for _, d := range b.On {
		if d.By == "row" {
			rows = append(rows, d.Table)
		} else {
			tables = append(tables, d.Table)
		}
	}
	switch {
	case len(rows)+len(tables) == 0:
		return "No table was seen behind it, or none is used to drop."
	case len(tables) == 0:
		return "It reads rows that its key names, of " + strings.Join(rows, ", ") + "."
	case len(rows) == 0:
		return "It is dropped at every write to " + strings.Join(tables, ", ") + ", so that new rows of a list, count or page are seen."
	}
	return "Rows of " + strings.Join(rows, ", ") + " are known; " + strings.Join(tables, ", ") + " count as a whole, so that new rows of a list are seen."
}

func atExpiry(b *forecast.Boundary) string {
	if b.Forecast.ConcurrentMisses == 0 {
		return "No two requests missed the same key at the same time."
	}
	return fmt.Sprintf("%s of %s misses began while another one of the same key was under way; one fill at a time would save these.",
		integer(b.Forecast.ConcurrentMisses), integer(b.Forecast.Requests-b.Forecast.Hits))
}

func worth(b *forecast.Boundary) string {
	return fmt.Sprintf("It %s. Then `demarc check --boundaries` holds the running cache to the key, the lifetime and the drops; %s hits of %s requests are expected, which demarc stale counts by key family.", b.Reason,
		integer(b.Forecast.Hits), integer(b.Forecast.Requests))
}

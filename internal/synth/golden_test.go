package synth_test

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"testing"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/synth"
)

// sumOf is the SHA-256 of traffic as JSON Lines, and that of its truth.
func sumOf(t *testing.T, opt synth.TrafficOptions) (events, truth string) {
	t.Helper()
	tr := traffic(t, opt)
	h := sha256.New()
	var line []byte
	for batch := tr.Next(); len(batch) > 0; batch = tr.Next() {
		for i := range batch {
			line = append(event.AppendJSON(line[:0], &batch[i]), '\n')
			h.Write(line)
		}
	}
	text, err := json.Marshal(tr.Truth(""))
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(h.Sum(nil)), hex.EncodeToString(sum[:])
}

// TestSameBytesEverywhere holds the bytes of traffic and notes against sums that were taken once: on another machine,
// architecture or version of Go they must come out the same. Where the generator is changed on purpose the sums change with
// it, and the change says so.
func TestSameBytesEverywhere(t *testing.T) {
	skewed := synth.DefaultTraffic()
	skewed.Seed, skewed.Skew, skewed.Keys, skewed.Rate, skewed.WriteRate = 99, 730, 3000, 333, 123_456
	skewed.Start, skewed.Routes = 1, 31
	for name, c := range map[string]struct {
		opt           synth.TrafficOptions
		events, truth string
	}{
		"without flags": {synth.DefaultTraffic(), "55141b948bc8b8524d4d8bcd8e11bfc65edb23fdecc8e56ea3c24286917f863c", "b4216c3a55485be688bc4da139ee48a0d0d29b9f26b5be7b97b30d704318c960"},
		"other options": {skewed, "2b3638ec8ad42f466598074856c25d48496a38fbca37e9a5f5020559270360d1", "044a2fc07f8a3426c79a0979ede6754c36fcea69a0d2533f01bca51648f958a2"},
	} {
		events, truth := sumOf(t, c.opt)
		if again, truthAgain := sumOf(t, c.opt); again != events || truthAgain != truth {
			t.Errorf("%s: two runs differ", name)
		}
		if events != c.events || truth != c.truth {
			t.Errorf("%s: events %s, truth %s; %s and %s were expected", name, events, truth, c.events, c.truth)
		}
	}
	for form, want := range map[string]string{
		synth.FormMarkdown: "10cbc5db0c5b30bdda0f2939eca166e713d6ce9a39e6116454f0e729ee560ca4", synth.FormJSONL: "5fbd16966d2d0d8b49f18aa4e3b50e8a88f0b8c8ebd327d080d110907ac7dbf2", synth.FormText: "c432b1fa28ef245d6cb9f75b9997257f7bf6d305d1f826d1883a726a17aa08f2",
	} {
		opt := synth.DefaultNotes()
		opt.Form, opt.Hostile, opt.Count = form, true, 300
		h := sha256.New()
		n := notesOf(t, opt)
		for f, ok := n.Next(); ok; f, ok = n.Next() {
			fmt.Fprintf(h, "%s\x00%d\x00", f.Name, len(f.Data))
			h.Write(f.Data)
		}
		if sum := hex.EncodeToString(h.Sum(nil)); sum != want {
			t.Errorf("notes as %s: %s, %s was expected", form, sum, want)
		}
	}
}

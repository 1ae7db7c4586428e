package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/demarc-dev/demarc/internal/sim"
)

// docs/simulate.md describes every policy and flag, and none that is not there.
func TestSimulatePage(t *testing.T) {
	data, err := os.ReadFile("../../docs/simulate.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, def := range sim.Policies() {
		if !strings.Contains(page, "| `"+def.Name+"` |") {
			t.Errorf("policy %s is not described", def.Name)
		}
	}
	known := map[string]bool{}
	newSimulateCommand().Flags().VisitAll(func(f *pflag.Flag) {
		known[f.Name] = true
		if f.Name != "output" && !strings.Contains(page, "--"+f.Name) {
			t.Errorf("--%s is not described", f.Name)
		}
	})
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("the page names --%s, which is no flag", m[1])
		}
	}
}

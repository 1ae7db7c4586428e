package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// docs/run.md describes every flag of its commands, and none that is not there.
func TestRunPageNamesEveryFlag(t *testing.T) {
	data, err := os.ReadFile("../../docs/run.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	known := map[string]bool{"since": true} // of demarc report
	for _, cmd := range []*cobra.Command{newRunCommand(), newCollectCommand(), newMarkCommand(), newOnCommand(), newOffCommand()} {
		cmd.Flags().VisitAll(func(f *pflag.Flag) {
			known[f.Name] = true
			if !strings.Contains(page, "`--"+f.Name) && !strings.Contains(page, " --"+f.Name+" ") {
				t.Errorf("demarc %s --%s is not described", cmd.Name(), f.Name)
			}
		})
	}
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("the page names --%s, which is no flag", m[1])
		}
	}
}

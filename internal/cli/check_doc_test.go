package cli

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/check"
	"github.com/demarc-dev/demarc/internal/config"
)

// docs/check.md describes every metric and every flag, and its examples are good.
func TestCheckPage(t *testing.T) {
	data, err := os.ReadFile("../../docs/check.md")
	if err != nil {
		t.Fatal(err)
	}
	page := string(data)
	for _, m := range check.Metrics() {
		if !strings.Contains(page, "`"+m+"`") {
			t.Errorf("%s is not described", m)
		}
	}
	known := map[string]bool{"follow": true, "tail": true} // of docker compose logs
	newCheckCommand().Flags().VisitAll(func(f *pflag.Flag) {
		known[f.Name] = true
		if !strings.Contains(page, "--"+f.Name) {
			t.Errorf("--%s is not described", f.Name)
		}
	})
	for _, m := range regexp.MustCompile(`--([a-z][a-z-]+)`).FindAllStringSubmatch(page, -1) {
		if !known[m[1]] {
			t.Errorf("the page names --%s, which is no flag", m[1])
		}
	}
	blocks := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindAllStringSubmatch(page, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d examples", len(blocks))
	}
	if c, err := config.Parse([]byte(blocks[0][1])); err != nil || len(c.Checks) != 10 {
		t.Errorf("%d checks, %v", len(c.Checks), err)
	}
	if f, err := boundary.Parse([]byte(blocks[1][1])); err != nil || len(f.Boundaries) != 1 {
		t.Errorf("%v, %v", f, err)
	}
}

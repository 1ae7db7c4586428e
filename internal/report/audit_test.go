package report

import (
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/audit"
)

// What comes from files and requests is escaped on the page, and moves no cursor on a terminal.
func TestAuditIsRenderedSafely(t *testing.T) {
	p := &audit.Project{Named: []string{"settings.py"}}
	p.Add("<script>alert(1)</script>/\x1b[31mviews.py", "DEBUG = True\n")
	rep := audit.Judge(&audit.Evidence{Project: "<b>shop", Files: p, Warnings: []string{"<i>\x1b[2J"}})
	var page, table strings.Builder
	if err := AuditHTML(&page, rep); err != nil {
		t.Fatal(err)
	}
	if err := AuditTerminal(&table, rep, TerminalOptions{Width: 60}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"Content-Security-Policy", "Audit of &lt;b&gt;shop", "&lt;script&gt;alert(1)", "2 failed (1 high, 0 medium, 1 low)", "debugging is off", "<b>Fix:</b>", "missing: a capture"} {
		if !strings.Contains(page.String(), want) {
			t.Errorf("no %q on the page", want)
		}
	}
	for _, bad := range []string{"<script", "<i>", "\x1b"} {
		if strings.Contains(page.String(), bad) {
			t.Errorf("%q on the page", bad)
		}
	}
	if strings.Contains(table.String(), "\x1b") {
		t.Errorf("an escape in the table:\n%s", table.String())
	}
	for line := range strings.Lines(table.String()) {
		if width(line) > 82 && !strings.Contains(line, "script") {
			t.Errorf("a line of %d columns: %s", width(line), line)
		}
	}
}

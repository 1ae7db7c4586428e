package change

import (
	"strings"
	"testing"
)

func TestParseShowsTheLine(t *testing.T) {
	for _, c := range []struct{ yaml, want string }{
		{"version: 1\ntopic: x\ncommands:\n  deploy:\n    run: a\n    tmeout: 3s\n", "tmeout"},
		{"version: 1\ntopic: x\nwrong: y\n", "wrong"},
		{"version: 1\ntopic: x\nexpected: 3\n", "expected"},
	} {
		_, err := Parse([]byte(c.yaml))
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%q: %v", c.yaml, err)
		}
		t.Log(err)
	}
	r, err := Parse([]byte("version: 1\ntopic: x\ncommands:\n  deploy: make deploy\n  backup: {run: a, artifact: b.sql}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if r.Commands.Deploy.Run != "make deploy" || r.Commands.Backup.Artifact != "b.sql" {
		t.Error(r.Commands.Deploy, r.Commands.Backup)
	}
}

package audit

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Logs is what the log lines of a service carry. Add them line by line.
type Logs struct {
	Lines int64
	Files int
	Mask  func(text string) string // keyed hash of a secret; nil: none is kept

	failing []Failing
	named   []bool // whether the log names that failure
	places  places
}

// NewLogs returns Logs that have seen nothing; failing are the requests that the log should tell of.
func NewLogs(failing []Failing, mask func(string) string) *Logs {
	return &Logs{Mask: mask, failing: failing, named: make([]bool, len(failing))}
}

var (
	accessLine = regexp.MustCompile(`"(?:GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) [^"]*HTTP/\d`)
	troubled   = regexp.MustCompile(`(?i)error|exception|critical|fatal|warn|panic|severe|fail`)
)

// Add takes one line of a file; the first has number 1.
func (l *Logs) Add(file string, number int, line string) {
	l.Lines++
	if len(line) > maxLine {
		line = line[:maxLine]
	}
	put := func(item string, found []Secret) {
		for _, s := range found {
			x := at(file, number, s.Kind+" stands in the log")
			if l.Mask != nil {
				x.Hash = l.Mask(line[s.From:s.To])
			}
			l.places.add(item, x)
		}
	}
	secrets := Secrets(line, Prose)
	sessions := Sessions(line)
	secrets = slices.DeleteFunc(secrets, func(s Secret) bool {
		return slices.ContainsFunc(sessions, func(o Secret) bool { return s.From < o.To && o.From < s.To })
	})
	put("log-secrets", secrets)
	put("log-sessions", sessions)
	put("log-personal", Emails(line))
	// A line of access says that something failed, and never what.
	if len(l.failing) == 0 || accessLine.MatchString(line) || !troubled.MatchString(line) {
		return
	}
	for i := range l.failing {
		f := &l.failing[i]
		if l.named[i] {
			continue
		}
		path, _, _ := strings.Cut(f.Target, "?")
		l.named[i] = f.Type != "" && strings.Contains(line, f.Type) || len(path) > 1 && strings.Contains(line, path)
	}
}

// found returns the places, with the failures that no line names.
func (l *Logs) found() *places {
	p := &places{}
	p.merge(&l.places)
	for i, f := range l.failing {
		if !l.named[i] {
			says := fmt.Sprintf("answers %d, and no line of the log names what failed", f.Status)
			if f.Type != "" {
				says = fmt.Sprintf("fails with %s, and no line of the log names it", f.Error)
			}
			p.add("log-failures", onRoute(f.Route, says+", such as "+f.Target, f.N))
		}
	}
	return p
}

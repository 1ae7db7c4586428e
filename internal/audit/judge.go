package audit

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/stale"
)

// Evidence is all that an audit rests on. A nil part was not looked at.
type Evidence struct {
	Capture, Project string
	Traffic          *Traffic      // nil: there is no capture; judged once
	Leaks            *stale.Report // of the same capture
	Files            *Project
	Paths            []Path
	Servers          []Server
	Processes        []Process // those of the capture that still run here
	Notes            *Notes
	Logs             *Logs // nil: no log was named or found
	Probe            *Probe
	Warnings         []string
}

// Notes is what change records, their runs and notes hold.
type Notes struct {
	Read   int
	places places
}

// Add looks for secrets in a line of a note.
func (n *Notes) Add(file string, number int, line string, mask func(string) string) {
	for _, s := range Secrets(line, Prose) {
		x := at(file, number, s.Kind+" stands there in clear")
		if mask != nil {
			x.Hash = mask(line[s.From:s.To])
		}
		n.places.add("note-secrets", x)
	}
}

// judge is one audit.
type judge struct {
	*Evidence
	p places // all evidence of failures, by item
}

// rule is one item of the checklist: what it asks, and how what was seen is told. seen returns what was looked at; missing is
// what would be needed where nothing could be looked at. A rule fails where its places are not empty.
type rule struct {
	id, head string
	severity Severity
	title    string
	seen     func(j *judge) (says, missing string)
	fix      string
	verify   string
}

// Judge makes the report. Evidence must be judged once only.
func Judge(e *Evidence) *Report {
	j := &judge{Evidence: e}
	if e.Traffic != nil {
		j.p.merge(e.Traffic.found())
	}
	if e.Files != nil {
		j.p.merge(&e.Files.places)
	}
	if e.Notes != nil {
		j.p.merge(&e.Notes.places)
	}
	if e.Logs != nil {
		j.p.merge(e.Logs.found())
	}
	j.paths()
	j.servers()
	j.arguments()
	j.leaks()
	j.uploads()
	j.inputs()
	j.hidden()
	r := &Report{Capture: e.Capture, Project: e.Project, Warnings: slices.Clone(e.Warnings), Looked: j.looked()}
	if e.Probe != nil {
		r.Probed = e.Probe.URL
		if e.Probe.Failed != "" {
			r.Warnings = append(r.Warnings, "the probe could not ask: "+e.Probe.Failed)
		}
	}
	for _, x := range rules {
		item := Item{ID: x.id, Head: x.head, Title: x.title, Severity: x.severity, Fix: x.fix, Verify: x.verify}
		item.Says, item.Missing = x.seen(j)
		switch found := j.p.list[x.id]; {
		case len(found) > 0:
			item.State, item.Places, item.More, item.Missing = Fail, found, j.p.more[x.id], ""
			if x.id == "cache-password" && j.onlyLocal() {
				item.Severity = Low
			}
		case item.Missing != "":
			item.State = NotSeen
		default:
			item.State = Pass
		}
		r.Items = append(r.Items, item)
	}
	if e.Files != nil {
		r.Settings = e.Files.Settings
		if e.Files.Left > 0 {
			r.Warnings = append(r.Warnings, fmt.Sprintf("%d settings beyond the first %d are not listed", e.Files.Left, MaxSettings))
		}
	}
	if t := e.Traffic; t != nil && t.unread > 0 {
		r.Warnings = append(r.Warnings, fmt.Sprintf("in %d texts of the capture, beyond the first %d different ones, no secrets were looked for", t.unread, maxTexts))
	}
	r.finish()
	return r
}

func (j *judge) looked() Looked {
	var l Looked
	if j.Traffic != nil {
		l.Requests, l.Events = j.Traffic.Requests, j.Traffic.Events
	}
	if j.Files != nil {
		l.Files = j.Files.Files
	}
	if j.Logs != nil {
		l.LogLines = j.Logs.Lines
	}
	if j.Notes != nil {
		l.Notes = j.Notes.Read
	}
	for _, s := range j.Servers {
		if s.Error == "" {
			l.Servers++
		}
	}
	return l
}

func (j *judge) paths() {
	for i := range j.Paths {
		p := &j.Paths[i]
		if says := p.wrong(); says != "" {
			j.p.add(p.item(), Place{Where: p.Path, File: p.Path, Says: says})
		}
	}
}

func (j *judge) servers() {
	for i := range j.Servers {
		s := &j.Servers[i]
		where := s.Address
		if s.Error != "" {
			continue
		}
		named := ""
		if s.Named != "" {
			named = ", named by " + s.Named
		}
		if says, _ := s.networks(); says != "" {
			j.p.add("cache-network", Place{Where: where, Says: says + named})
		}
		if s.Open {
			j.p.add("cache-password", Place{Where: where, Says: "it answers without a password" + named})
		} else if s.Default != "" {
			j.p.add("cache-password", Place{Where: where, Says: s.Default + named})
		}
	}
}

// arguments looks at the command lines of the service, which every process of the machine can read.
func (j *judge) arguments() {
	for _, p := range j.Processes {
		for i, arg := range p.Args {
			// A value may stand behind its option.
			for _, s := range append(Secrets(arg, Prose), Secrets(optionOf(p.Args, i), Prose)...) {
				j.p.add("argv-secrets", Place{Where: fmt.Sprintf("process %d", p.Pid), Says: s.Kind + " stands on its command line"})
			}
		}
	}
}

// optionOf writes an option and the argument behind it as one text: "--password x" as "password=x".
func optionOf(args []string, i int) string {
	if name, ok := strings.CutPrefix(args[i], "--"); ok && i+1 < len(args) && !strings.Contains(name, "=") {
		return name + "=" + args[i+1]
	}
	return ""
}

// onlyLocal says whether every server without a password can be reached from this machine alone.
func (j *judge) onlyLocal() bool {
	for i := range j.Servers {
		if s := &j.Servers[i]; s.Open || s.Default != "" {
			if says, _ := s.networks(); says != "" || !s.Loopback {
				return false
			}
		}
	}
	return !slices.ContainsFunc(j.p.list["cache-password"], func(x Place) bool { return x.Line > 0 })
}

func (j *judge) leaks() {
	if j.Leaks == nil {
		return
	}
	for i := range j.Leaks.Findings {
		f := &j.Leaks.Findings[i]
		if f.Cause != stale.Vary || f.Verdict == stale.CannotTell {
			continue
		}
		item, says := "shared-keys", "one key gives different people each other's values"
		if f.Input != "principal" {
			item, says = "unkeyed-input", "one key gives different values for different "+cmp.Or(f.Input, "inputs")
		}
		x := Place{Where: strings.TrimSpace(f.Store + " " + f.Family), Says: fmt.Sprintf("%s, such as %s (%s; demarc explain %s)", says, f.Key, f.Verdict, f.ID), Count: f.StaleReads}
		for _, s := range f.Witness {
			if s.Code != "" {
				x.Says += " at " + s.Code
				break
			}
		}
		j.p.add(item, x)
	}
}

func (j *judge) uploads() {
	if j.Traffic != nil {
		for _, n := range sortedRoutes(j.Traffic.routes) {
			if r := j.Traffic.routes[n]; r.largestOK >= LargeBody && r.tooLarge == 0 {
				j.p.add("upload-limit", onRoute(n, fmt.Sprintf("took a body of %d bytes", r.largestOK), 0))
			}
		}
	}
	if j.Probe == nil {
		return
	}
	for _, u := range j.Probe.Uploads {
		if u.took() {
			how := "in chunks, without a declared length"
			if u.Declared {
				how = "with its length declared"
			}
			j.p.add("upload-limit", onRoute(u.Route, fmt.Sprintf("took all of %d bytes %s, and answered %d", u.Sent, how, u.Status), 0))
		}
	}
}

func sortedRoutes(m map[string]*route) []string {
	list := make([]string, 0, len(m))
	for n := range m {
		list = append(list, n)
	}
	slices.Sort(list)
	return list
}

func (j *judge) inputs() {
	if j.Probe == nil {
		return
	}
	for _, a := range j.Probe.Inputs {
		switch {
		case a.What == "path" && a.Status != 404 && a.Status == a.Plain && a.Status < 500 && a.Status != 405 && !strings.Contains(a.Type, "css"):
			j.p.add("path-confusion", onRoute(a.Route, fmt.Sprintf("%s is answered as if the end of the path were not there (%d)", a.Target, a.Status), 0))
		case a.What == "input" && a.Status == 500:
			j.p.add("bad-input", onRoute(a.Route, "answers 500 to "+a.Target, 0))
		}
		if (a.Status == 429 || a.Status == 503) && !a.RetryAfter {
			j.p.add("retry-after", onRoute(a.Route, fmt.Sprintf("answers %d to %s without Retry-After", a.Status, a.Target), 0))
		}
	}
}

// hidden flags settings outside the files that the configuration names.
func (j *judge) hidden() {
	if j.Files == nil || len(j.Files.Named) == 0 {
		return
	}
	for i := range j.Files.Settings {
		s := &j.Files.Settings[i]
		if !slices.Contains(j.Files.Named, s.File) {
			s.Hidden = true
			j.p.add("hidden-settings", at(s.File, s.Line, s.Name+" stands outside the files of security.files"))
		}
	}
}

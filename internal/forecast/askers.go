package forecast

import (
	"fmt"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// askers is what a capture tells of who asks, over all of its events: those before the time that is looked at, and those
// that do not fit into memory, too. Whether the service has users at all is a fact about all of it.
type askers struct {
	requests int64 // jobs aside
	unknown  int64 // requests that do not say who asked, not even that nobody did
	known    int64 // events of somebody
	// hint is what may say who asks although it was not taken for it, of a request of nobody: the first by name.
	hint string
	// blind says why the recorder may not have seen who asked; the first by name. "" where nothing speaks for that.
	blind string
	hooks bool // a recorder said what it watches
}

// anonymous stands in an event for nobody: the source looked for an identity where it keeps one, and there was none.
const anonymous = "-"

func (a *askers) look(e *event.Event) {
	who := ""
	switch {
	case e.Recorder != nil:
		a.recorder(e.Recorder)
	case e.Request != nil:
		who = e.Request.Principal
		if e.Request.Kind != "job" {
			a.requests++
			switch who {
			case "":
				a.unknown++
			case anonymous:
				if h := mayTell(e.Request); h != "" && (a.hint == "" || h < a.hint) {
					a.hint = h
				}
			}
		}
	case e.Call != nil:
		who = e.Call.Principal
	}
	if who != "" && who != anonymous {
		a.known++
	}
}

// entries are the hooks of the recorder that see requests come in, who they are of, and what runs for them elsewhere.
var entries = []string{"asgi", "background", "frameworks", "threads", "wsgi"}

// recorder notes what a recorder says of itself.
func (a *askers) recorder(r *event.Recorder) {
	a.hooks = a.hooks || len(r.Hooks) > 0
	note := func(why string) {
		if a.blind == "" || why < a.blind {
			a.blind = why
		}
	}
	if r.Dropped.Or(0) > 0 {
		note("the recorder dropped events")
	}
	if r.Rate.Known && r.Rate.V < 1 {
		note("the recorder kept only a part of the requests")
	}
	for _, h := range r.Hooks {
		if slices.Contains(entries, h.Name) && (h.Value == "off" || h.Value == "failed") {
			note(fmt.Sprintf("the recorder's hook %s is %s", h.Name, h.Value))
		}
	}
	for _, f := range r.Failures {
		if f.N > 0 && slices.Contains(entries, f.Name) {
			note(fmt.Sprintf("the recorder's hook %s failed at times", f.Name))
		}
	}
}

// mayTell names an input of a request that could say who asks, by a name that a source of events does not know: a cookie or
// a header of the service's own, a credential in the address. "" for none.
func mayTell(r *event.Request) string {
	first, cookies := "", false
	add := func(name string) {
		if first == "" || name < first {
			first = name
		}
	}
	for _, v := range r.Vary {
		cookie, ok := strings.CutPrefix(v.Name, "cookie.")
		cookies = cookies || ok
		switch {
		case ok && !impersonalCookie(cookie):
			add(v.Name)
		case strings.HasPrefix(v.Name, "x-") && !slices.ContainsFunc(impersonalHeaders, func(p string) bool { return strings.HasPrefix(v.Name, p) }):
			add("header." + v.Name)
		}
	}
	if r.RequestCookie.Or(false) && !cookies {
		add("cookie.*") // whose names were not kept
	}
	_, query, _ := strings.Cut(r.Target, "?")
	for query != "" {
		var pair string
		pair, query, _ = strings.Cut(query, "&")
		name, _, _ := strings.Cut(pair, "=")
		if slices.Contains(credentials, strings.ToLower(name)) {
			add("query." + name)
		}
	}
	return first
}

// impersonalHeaders are beginnings of headers that proxies and scripts add, and that tell of the way and not of who asks.
var impersonalHeaders = []string{
	"x-requested-with", "x-forwarded-host", "x-forwarded-port", "x-forwarded-prefix", "x-forwarded-proto", "x-forwarded-scheme", "x-forwarded-server",
	"x-http-method-override", "x-scheme",
}

// impersonalCookie says whether a cookie is, by its name, one of visitor statistics or against forged requests.
func impersonalCookie(name string) bool {
	for _, p := range [...]string{"_ga", "_gid", "_gat", "_gcl_", "_fbp", "_fbc", "_pk_", "_hj"} {
		if strings.HasPrefix(name, p) {
			return true
		}
	}
	return slices.Contains([]string{"csrftoken", "csrf_token", "_csrf", "XSRF-TOKEN"}, name)
}

// credentials are parameters of an address by which services know somebody.
var credentials = []string{"access_token", "api_key", "api-key", "apikey", "auth", "auth_token", "jwt", "session", "session_id", "sessionid", "sid", "token"}

// nobody says whether no request of the capture had a principal, of which the source would have said it: then, so far as was
// observed, nothing depends on one. Where that cannot be said although none was seen, because says why; it is empty where
// some request had one.
func (a *askers) nobody() (ok bool, because string) {
	switch {
	case a.known > 0:
		return false, ""
	case a.unknown > 0:
		return false, unknownAsker
	case a.hint != "":
		return false, fmt.Sprintf("no request had one that was known as such, but %s may say who asks", a.hint)
	case a.blind != "":
		return false, "no request had one, but " + a.blind
	case a.requests < enoughPrincipal:
		return false, fmt.Sprintf("no request had one, but %d requests are too few to tell", a.requests)
	}
	return true, ""
}

// unknownAsker says why the principal stays in a key where none could be seen.
const unknownAsker = "who asked is not known"

// asksUnknown says whether a unit was asked for by somebody of whom nothing is known: it is, or is a part of, a request
// that does not say who asked. What belongs to no request, such as a job, was asked for by nobody, if the source is one that
// tells what belongs to a request.
func (l *log) asksUnknown(u *unit) bool {
	for range 64 {
		if u.who != 0 {
			return false
		}
		if u.level == response {
			return true
		}
		if u.inside < 0 {
			return !l.seen.askers.hooks || l.seen.askers.blind != ""
		}
		u = &l.units[u.inside]
	}
	return false
}

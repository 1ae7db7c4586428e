package audit

import (
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// headers are the response's headers about caching, read.
type headers struct {
	control              map[string]string // directives of Cache-Control, lower case
	vary                 []string
	setCookie, fromCache bool
	explicit             bool  // it says itself how long it may be kept
	permits              bool  // also where the request carried Authorization
	shared               bool  // caches that several people share may keep it
	lifetime             int64 // seconds that shared caches may keep it, 0 where only public says so
	maxAge               int64 // seconds that clients may keep it
	typ                  string
}

func headersOf(q *event.Request) headers {
	h := headers{control: directives(value(q, "cache-control")), setCookie: value(q, "set-cookie") != "", typ: strings.ToLower(value(q, "content-type"))}
	for v := range strings.SplitSeq(strings.ToLower(value(q, "vary")), ",") {
		if v = strings.TrimSpace(v); v != "" {
			h.vary = append(h.vary, v)
		}
	}
	_, public := h.control["public"]
	_, private := h.control["private"]
	_, noStore := h.control["no-store"]
	_, noCache := h.control["no-cache"]
	h.maxAge = seconds(h.control["max-age"])
	h.lifetime = h.maxAge
	if s, ok := h.control["s-maxage"]; ok {
		h.lifetime, public = seconds(s), public || seconds(s) > 0
	}
	for _, name := range []string{"surrogate-control", "cdn-cache-control"} {
		if d := directives(value(q, name)); seconds(d["max-age"]) > 0 {
			h.lifetime, public = seconds(d["max-age"]), true
			private, noStore = false, false // it speaks to the layer above alone
		}
	}
	_, revalidate := h.control["must-revalidate"]
	h.permits = public || revalidate
	h.explicit = (public || h.maxAge > 0 || h.lifetime > 0) && !noStore && !noCache
	h.shared = h.explicit && !private && !slices.Contains(h.vary, "*")
	if noStore || noCache {
		h.maxAge = 0
	}
	age, _ := strconv.ParseInt(value(q, "age"), 10, 64)
	status := strings.ToLower(value(q, "cache-status"))
	h.fromCache = age > 0 || strings.HasPrefix(strings.ToLower(value(q, "x-cache")), "hit") || strings.EqualFold(value(q, "x-fastapi-cache"), "hit") ||
		strings.Contains(status, "; hit") || strings.Contains(status, ";hit")
	return h
}

// directives reads Cache-Control: names in lower case to values, "" where there is none.
func directives(s string) map[string]string {
	d := map[string]string{}
	for part := range strings.SplitSeq(s, ",") {
		name, v, _ := strings.Cut(strings.TrimSpace(part), "=")
		if name = strings.ToLower(strings.TrimSpace(name)); name != "" && len(d) < 32 {
			d[name] = strings.Trim(strings.TrimSpace(v), `"`)
		}
	}
	return d
}

func seconds(s string) int64 {
	n, err := strconv.ParseInt(s, 10, 64)
	if err != nil || n < 0 {
		return 0
	}
	return min(n, 1<<31)
}

// stored looks whether an answer may be kept that must not be.
func (t *Traffic) stored(q *event.Request, h headers, n string) {
	control := short(strings.TrimSpace(value(q, "cache-control")))
	if h.setCookie && (h.shared || h.fromCache) {
		says := "Set-Cookie with Cache-Control: " + control
		if h.fromCache {
			says = "an answer with Set-Cookie came out of a cache"
		}
		t.hit("set-cookie-stored", n, says, q.Target)
	}
	known := q.Principal != "" && q.Principal != "-"
	cookie := q.RequestCookie.Or(false)
	// Without a cookie the identity came in Authorization or a header of its own, whose answers shared caches keep only where they may.
	if known && h.shared && q.Status < 400 && (cookie || h.permits) && !slices.Contains(h.vary, "authorization") && !slices.Contains(h.vary, "cookie") {
		t.hit("authorized-stored", n, "the answer to who is logged in has Cache-Control: "+control, q.Target)
	}
	if q.Status >= 300 && q.Status < 400 && q.Status != 304 {
		t.redirects++
		switch {
		case h.shared:
			t.hit("cached-redirects", n, fmt.Sprintf("status %d with Cache-Control: %s", q.Status, control), q.Target)
		case (q.Status == 301 || q.Status == 308) && control == "":
			t.hit("cached-redirects", n, fmt.Sprintf("status %d without Cache-Control: browsers keep it for good", q.Status), q.Target)
		}
	}
	if q.Status >= 400 && (h.explicit || h.fromCache) && (q.Status >= 500 || h.shared || h.fromCache) {
		says := fmt.Sprintf("status %d with Cache-Control: %s", q.Status, control)
		if h.fromCache {
			says = fmt.Sprintf("status %d came out of a cache", q.Status)
		}
		t.hit("cached-errors", n, says, q.Target)
	}
}

// staticTypes are extensions by which caches take an answer for a file that is the same for all, with what its type must hold.
var staticTypes = map[string]string{
	".css": "css", ".js": "javascript", ".mjs": "javascript", ".png": "image", ".jpg": "image", ".jpeg": "image", ".gif": "image", ".svg": "image", ".ico": "image",
	".webp": "image", ".avif": "image", ".woff": "font", ".woff2": "font", ".ttf": "font", ".map": "json",
}

// confusion looks for answers that look like files by their path and are none.
func (t *Traffic) confusion(q *event.Request, h headers, n string) {
	p, _, _ := strings.Cut(q.Target, "?")
	wants, static := staticTypes[strings.ToLower(path.Ext(p))]
	if !static || q.Method != "GET" || strings.HasSuffix(q.Route, path.Ext(p)) {
		return
	}
	t.static++
	if q.Status == 200 && h.typ != "" && !strings.Contains(h.typ, wants) && (strings.Contains(h.typ, "html") || strings.Contains(h.typ, "json")) && path.Ext(p) != ".map" {
		t.hit("path-confusion", n, "answers a path that looks like a file with "+strings.SplitN(h.typ, ";", 2)[0], q.Target)
	}
}

// compare keeps what is needed to compare answers of one address.
func (t *Traffic) compare(e *event.Event, q *event.Request, h headers, n string) {
	if q.Method != "GET" || q.Status != 200 || q.BodyHash == 0 || q.Target == "" {
		return
	}
	etag := value(q, "etag")
	if !h.explicit && etag == "" {
		return
	}
	if etag != "" {
		t.withTag++
	}
	k := t.targets[q.Target]
	if k == nil {
		if len(t.targets) >= maxTargets {
			return
		}
		k = &target{route: n}
		t.targets[q.Target] = k
	}
	if len(k.answers) >= maxAnswers {
		return
	}
	k.answers = append(k.answers, answer{
		at: e.At, end: e.End(), body: q.BodyHash, principal: q.Principal, vary: slices.Clone(q.Vary), keyed: h.vary, storable: h.shared, maxAge: h.maxAge, etag: etag,
	})
}

// varied returns the input that alone differs between two answers, "" where none or several do.
func varied(a, b *answer) string {
	found := ""
	differs := func(name string) bool {
		if found != "" {
			return false
		}
		found = name
		return true
	}
	if a.principal != b.principal && !differs("the identity") {
		return ""
	}
	left := map[string]event.Hash{}
	for _, v := range a.vary {
		left[v.Name] = v.Hash
	}
	for _, v := range b.vary {
		if h, ok := left[v.Name]; (!ok || h != v.Hash) && !differs(v.Name) {
			return ""
		}
		delete(left, v.Name)
	}
	for _, n := range slices.Sorted(maps.Keys(left)) {
		if !differs(n) {
			return ""
		}
	}
	return found
}

// judgeTargets compares the answers of each address: what they depend on, whether they change within their lifetime, whether one
// ETag stands for two bodies.
func (t *Traffic) judgeTargets() {
	for _, text := range slices.Sorted(maps.Keys(t.targets)) {
		k := t.targets[text]
		for i := range k.answers {
			a := &k.answers[i]
			for j := i + 1; j < len(k.answers); j++ {
				b := &k.answers[j]
				if a.body == b.body {
					continue
				}
				input := varied(a, b)
				if a.etag != "" && a.etag == b.etag && !strings.HasPrefix(a.etag, "W/") {
					t.hit("outer-etag", k.route, "one ETag stands for different bodies", text)
				}
				if same := a.principal == b.principal && slices.Equal(a.vary, b.vary); same && a.maxAge > 0 && b.at < a.end+a.maxAge*1e9 {
					t.hit("outer-lifetime", k.route, fmt.Sprintf("may be kept for %d s, and changed %s after it was given", a.maxAge, rounded(b.at-a.end)), text)
					break // once for each answer
				}
				// The input made the difference if what was asked first comes back with it.
				if input != "" && a.storable && b.storable && returns(k.answers[j+1:], a, b) {
					t.unkeyed(k.route, text, input, a)
				}
			}
		}
	}
	t.targets = map[string]*target{}
}

// returns says whether an answer follows that is equal to a, asked as a was.
func returns(later []answer, a, b *answer) bool {
	return slices.ContainsFunc(later, func(c answer) bool { return c.body == a.body && varied(a, &c) == "" && varied(&c, b) != "" })
}

// unkeyed reports an input that changes an answer which caches may share, and that their key lacks.
func (t *Traffic) unkeyed(route, text, input string, a *answer) {
	keyed := slices.Contains(a.keyed, input) || (strings.HasPrefix(input, "cookie.") || input == "the identity") && slices.Contains(a.keyed, "cookie") ||
		input == "the identity" && slices.Contains(a.keyed, "authorization") || input == "host" // which is part of every cache's key
	// What middlewares add by themselves says nothing of the answer.
	named := slices.ContainsFunc(a.keyed, func(n string) bool { return n != "accept-encoding" && n != "origin" })
	switch {
	case keyed:
	case !named:
		t.hit("public-without-vary", route, "may be shared and changes with "+input+", without a Vary for it", text)
	default:
		t.hit("unkeyed-input", route, "may be shared and changes with "+input+", which Vary does not name", text)
	}
}

func rounded(ns int64) string {
	if ns < 1e9 {
		return fmt.Sprintf("%d ms", max(0, ns)/1e6)
	}
	return fmt.Sprintf("%d s", ns/1e9)
}

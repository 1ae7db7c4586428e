package importer

import (
	"cmp"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// WebOptions say how requests from HARs and access logs become events.
type WebOptions struct {
	Hash   func(string) event.Hash    // the project's keyed hash
	Target func(target string) string // redacts path and query as the recorder does
	Routes []string                   // templates such as /articles/{slug}, tried in this order before a route is inferred
	Host   string                     // where it is not empty, requests to other hosts are skipped; those whose host is not known are kept
}

// Web reads a HAR or an access log, as the Input's form says. The batches, bad and the errors are those of JSONL; bad gets the number
// of the line, or of the entry of a HAR, from 1. Memory: the longest line (event.MaxLine), or the longest entry of a HAR (maxEntry)
// three times, one batch, and that of the Input.
func (f *Input) Web(ctx context.Context, opt WebOptions, emit func([]event.Event) error, bad func(number int64, err error) error) (Counts, error) {
	b := &batcher{ctx: ctx, emit: emit, bad: bad}
	switch f.Form {
	case HAR:
		return f.har(b, &opt)
	case Access:
		return f.lines(b, func(line []byte) (event.Event, error) {
			x, known := readTextLine(string(trimBOM(line)))
			if !known {
				return event.Event{}, errors.New("no access line: common, combined, or as gunicorn and uvicorn write it")
			}
			return opt.event(&x)
		})
	case AccessJSON:
		return f.lines(b, func(line []byte) (event.Event, error) {
			x, known := readJSONLine(trimBOM(line))
			if !known {
				return event.Event{}, errors.New("no access line in JSON: a method and an address were expected, as Caddy, nginx, gunicorn and uvicorn write them")
			}
			return opt.event(&x)
		})
	}
	return Counts{}, fmt.Errorf("form %q is neither a HAR nor an access log", f.Form)
}

func trimBOM(line []byte) []byte {
	if len(line) >= len(bom) && string(line[:len(bom)]) == string(bom) {
		return line[len(bom):]
	}
	return line
}

// exchange is a request and its answer as a foreign file tells them. What is not known stays as it is in an empty one.
type exchange struct {
	at         int64 // start, Unix ns; 0: not known
	end        bool  // at is when it ended
	dur        event.Opt[int64]
	firstByte  event.Opt[int64]
	method     string
	target     string // path and query, or a whole address
	host       string
	status     int64
	user       string // name of who asked, as the server knows it
	bytes      event.Opt[int64]
	sent       event.Opt[int64]
	asked      []event.Pair // headers of the request
	answered   []event.Pair // headers of the answer
	body       *string      // of the answer, uncompressed; nil where the file has none
	bodyNone   string       // why not
	noticed    string       // what is wrong with it
	cacheState string       // what the proxy's own cache said: HIT, MISS, …
}

// Limits of what is kept of one request; they are the recorder's.
const (
	maxBody   = 1 << 20 // bytes of an answer that are hashed
	maxVary   = 24      // candidate inputs
	maxHeader = 512     // characters of a header of the answer
	maxName   = 80      // characters of the name of a cookie
	maxMethod = 20      // characters; what is longer is none
)

// event makes the event of an exchange.
func (o *WebOptions) event(x *exchange) (event.Event, error) {
	switch {
	case x.noticed != "":
		return event.Event{}, errors.New(x.noticed)
	case x.at <= 0:
		return event.Event{}, errors.New("the line has no time: lifetimes and reuse cannot be told without (docs/import.md says how to get it)")
	case !method(x.method):
		return event.Event{}, fmt.Errorf("%q is not an HTTP method", clip(x.method))
	case x.status != 0 && (x.status < 100 || x.status > 999):
		return event.Event{}, fmt.Errorf("%d is not an HTTP status", x.status)
	}
	target, host := splitAddress(x.target)
	host = cmp.Or(x.host, host, header(x.asked, "host"), header(x.asked, ":authority"))
	if o.Host != "" && host != "" && !sameHost(host, o.Host) {
		return event.Event{}, errSkip
	}
	if !strings.HasPrefix(target, "/") && target != "*" {
		return event.Event{}, fmt.Errorf("%q is not an address of HTTP", clip(x.target))
	}
	e := event.Event{Type: event.TypeRequest, At: x.at, Dur: x.dur}
	if x.end {
		e.At -= x.dur.Or(0)
	}
	if e.At <= 0 {
		return event.Event{}, errors.New("a time after 1970 was expected")
	}
	r := &event.Request{
		Kind: "http", Method: x.method, Status: x.status, BodyBytes: x.bytes, RequestBytes: x.sent, FirstByteDur: x.firstByte,
		Route: o.route(target), Target: o.Target(target),
	}
	e.Request = r
	r.Principal, r.Vary, r.RequestCookie = o.asked(x, host)
	r.Headers = answered(x)
	if !r.RequestCookie.V {
		r.RequestCookie = event.Opt[bool]{}
	}
	switch {
	case x.body == nil:
		r.BodyHashNone = cmp.Or(x.bodyNone, "not in an access log")
	case len(*x.body) > maxBody:
		r.BodyHashNone = "larger than 1 MB"
	default:
		r.BodyHash = o.Hash(*x.body)
	}
	return e, nil
}

func method(m string) bool {
	if m == "" || len(m) > maxMethod {
		return false
	}
	for _, c := range m {
		if (c < 'A' || c > 'Z') && c != '-' && c != '_' {
			return false
		}
	}
	return true
}

// splitAddress returns path and query of an address, and its host where it has one.
func splitAddress(address string) (target, host string) {
	scheme, rest, ok := strings.Cut(address, "://")
	if ok && (scheme == "http" || scheme == "https") {
		end := strings.IndexAny(rest, "/?#")
		if end < 0 {
			end = len(rest)
		}
		host, address = rest[:end], rest[end:]
		if i := strings.LastIndexByte(host, '@'); i >= 0 {
			host = host[i+1:]
		}
		if !strings.HasPrefix(address, "/") {
			address = "/" + address
		}
	}
	address, _, _ = strings.Cut(address, "#")
	return address, host
}

func sameHost(a, b string) bool {
	bare := func(s string) string {
		s = strings.ToLower(s)
		return strings.TrimSuffix(strings.TrimSuffix(s, ":443"), ":80")
	}
	return bare(a) == bare(b)
}

func header(list []event.Pair, name string) string {
	for _, h := range list {
		if strings.EqualFold(h.Name, name) {
			return h.Value
		}
	}
	return ""
}

// varyNames are headers of a request that an answer may depend on; others that begin with x- count too, unless they are in noise:
// another value on every request, or a secret.
var varyNames = []string{"accept-language", "host", "accept", "accept-encoding", "user-agent", "origin", "range"}

var noise = []string{
	"x-request-id", "x-correlation-id", "x-forwarded-for", "x-real-ip", "x-amzn-trace-id", "x-trace-id", "x-b3-", "x-datadog-", "x-cloud-trace",
	"x-request-start", "x-api-key", "x-auth", "x-csrf",
}

// keptHeaders are those of an answer that events keep.
var keptHeaders = []string{
	"cache-control", "vary", "age", "etag", "cache-status", "x-cache", "retry-after", "set-cookie", "expires", "surrogate-key", "surrogate-control",
	"cdn-cache-control", "content-type", "last-modified", "x-fastapi-cache",
}

// sessionCookies are names under which services keep who somebody is.
var sessionCookies = []string{"sessionid", "session", "connect.sid", "sid", "_session", "auth", "access_token"}

// redacted is what Caddy writes in place of a secret.
const redacted = "REDACTED"

// asked returns what the request's headers tell: who asks, as a keyed hash ("" where that is not known), and the inputs that the answer
// may depend on.
func (o *WebOptions) asked(x *exchange, host string) (principal string, vary []event.NamedHash, cookie event.Opt[bool]) {
	add := func(name, value string) {
		if value == "" || len(vary) >= maxVary || slices.ContainsFunc(vary, func(v event.NamedHash) bool { return v.Name == name }) {
			return
		}
		vary = append(vary, event.NamedHash{Name: name, Hash: o.Hash(value)})
	}
	var authorization, key string
	var cookies []event.Pair
	seen := false   // who asks would be seen if somebody said so
	hidden := false // somebody said so, and the log does not tell who
	add("host", host)
	for _, h := range x.asked {
		name := strings.ToLower(h.Name)
		switch {
		case name == "authorization":
			if hidden = hidden || h.Value == redacted; h.Value != redacted {
				authorization = h.Value
			}
		case name == "cookie":
			cookie = event.Some(true)
			if h.Value != redacted {
				seen = true
				cookies = append(cookies, jar(h.Value)...)
			}
		case len(name) > maxName:
		case strings.HasPrefix(name, "x-api-key"), strings.HasPrefix(name, "x-auth"):
			if hidden = hidden || h.Value == redacted; h.Value != redacted && (key == "" || strings.HasSuffix(name, "user")) { // rather than a token beside it
				key = h.Value
			}
		case slices.Contains(varyNames, name), strings.HasPrefix(name, "x-") && !slices.ContainsFunc(noise, func(n string) bool { return strings.HasPrefix(name, n) }):
			if h.Value != redacted {
				add(name, h.Value)
			}
		}
	}
	for _, c := range cookies {
		name := c.Name
		if len(name) > maxName {
			name = strings.ToValidUTF8(name[:maxName], "")
		}
		add("cookie."+name, c.Value)
	}
	slices.SortFunc(vary, func(a, b event.NamedHash) int { return cmp.Compare(a.Name, b.Name) })
	who := cmp.Or(identity(authorization, cookies), x.user, key)
	switch {
	case who != "":
		principal = o.Hash(who).String()
	case seen && !hidden:
		principal = "-"
	}
	return principal, vary, cookie
}

func jar(text string) []event.Pair {
	var list []event.Pair
	for part := range strings.SplitSeq(text, ";") {
		if name, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && name != "" && len(list) < 64 {
			list = append(list, event.Pair{Name: name, Value: value})
		}
	}
	return list
}

// identity is who asks: the subject of a JWT, another Authorization value, the session's cookie; "" where none of them is there. It is
// only ever hashed.
func identity(authorization string, cookies []event.Pair) string {
	if authorization != "" {
		scheme, credentials, _ := strings.Cut(authorization, " ")
		credentials = cmp.Or(strings.TrimSpace(credentials), scheme)
		if s := subject(credentials); s != "" {
			return s
		}
		if strings.EqualFold(scheme, "basic") {
			if raw, err := base64.StdEncoding.DecodeString(credentials); err == nil {
				user, _, _ := strings.Cut(string(raw), ":")
				return user
			}
		}
		return credentials
	}
	find := func(is func(name string) bool) string {
		for _, c := range cookies {
			if c.Value != "" && is(c.Name) {
				return cmp.Or(subject(c.Value), c.Value)
			}
		}
		return ""
	}
	for _, name := range sessionCookies {
		if v := find(func(n string) bool { return n == name }); v != "" {
			return v
		}
	}
	return find(func(n string) bool {
		n = strings.ToLower(n)
		return slices.ContainsFunc([]string{"session", "sessionid", "session_id", "session-id"}, func(end string) bool { return strings.HasSuffix(n, end) })
	})
}

// subject is whom a JWT names, without verifying it: the service does that. "" for what is no JWT.
func subject(token string) string {
	parts := strings.Split(token, ".")
	if len(parts) != 3 || !strings.HasPrefix(parts[0], "eyJ") || len(parts[1]) > 8192 {
		return ""
	}
	raw, err := base64.RawURLEncoding.DecodeString(strings.TrimRight(parts[1], "="))
	if err != nil {
		return ""
	}
	var claims map[string]json.RawMessage
	if json.Unmarshal(raw, &claims) != nil {
		return ""
	}
	for _, name := range []string{"sub", "user_id", "uid", "username", "email", "id"} {
		var text string
		var number json.Number
		if v, ok := claims[name]; ok {
			if json.Unmarshal(v, &text) == nil && text != "" {
				return text
			}
			if json.Unmarshal(v, &number) == nil && number != "" {
				return number.String()
			}
		}
	}
	return ""
}

// answered returns the headers of the answer that are kept.
func answered(x *exchange) []event.Pair {
	var list []event.Pair
	add := func(name, value string) {
		if name == "set-cookie" {
			value = "true"
		}
		i := slices.IndexFunc(list, func(p event.Pair) bool { return p.Name == name })
		switch {
		case value == "" || value == "-":
			return
		case i < 0:
			list = append(list, event.Pair{Name: name})
			i = len(list) - 1
		case name == "set-cookie":
			return
		default:
			value = list[i].Value + ", " + value
		}
		if len(value) > maxHeader {
			value = strings.ToValidUTF8(value[:maxHeader], "")
		}
		list[i].Value = value
	}
	for _, h := range x.answered {
		if name := strings.ToLower(h.Name); slices.Contains(keptHeaders, name) {
			add(name, h.Value)
		}
	}
	if x.cacheState != "" && header(list, "x-cache") == "" {
		add("x-cache", x.cacheState)
	}
	slices.SortFunc(list, func(a, b event.Pair) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// route returns the template of a target: the first of those given that fits, else one inferred by its shape, in which {} stands for a
// segment that is a number, a UUID, a hash, or what redaction hides. Names of variables are not invented.
func (o *WebOptions) route(target string) string {
	path, _, _ := strings.Cut(target, "?")
	for _, r := range o.Routes {
		if fits(r, path) {
			return r
		}
	}
	segments := strings.Split(path, "/")
	for i, s := range segments {
		if s != "" && (number(s) || hashLike(s) || o.Target("/"+s) != "/"+s) {
			segments[i] = "{}"
		}
	}
	return strings.Join(segments, "/")
}

// CheckRoute says what is wrong with a template for WebOptions.Routes.
func CheckRoute(template string) error {
	if !strings.HasPrefix(template, "/") || strings.ContainsAny(template, " ?#\t\r\n") || strings.Count(template, "{") != strings.Count(template, "}") {
		return fmt.Errorf("%q is not a route such as /articles/{slug}", template)
	}
	return nil
}

// fits says whether a path is one of a template, in which {name} stands for a segment or a part of it, and {name:path} for all that
// follows.
func fits(template, path string) bool {
	for {
		want, restT, moreT := strings.Cut(template, "/")
		if strings.HasPrefix(want, "{") && strings.HasSuffix(want, ":path}") && !moreT {
			return path != ""
		}
		have, restP, moreP := strings.Cut(path, "/")
		if !segmentFits(want, have) || moreT != moreP {
			return false
		}
		if !moreT {
			return true
		}
		template, path = restT, restP
	}
}

func segmentFits(want, have string) bool {
	open, end := strings.IndexByte(want, '{'), strings.LastIndexByte(want, '}')
	if open < 0 || end < open {
		return want == have
	}
	head, tail := want[:open], want[end+1:]
	return len(have) > len(head)+len(tail) && strings.HasPrefix(have, head) && strings.HasSuffix(have, tail)
}

func number(s string) bool {
	return strings.Trim(s, "0123456789") == "" || len(s) > 1 && s[0] == '-' && strings.Trim(s[1:], "0123456789") == ""
}

// hashLike says whether a segment is a UUID or 8 or more hexadecimal digits, some of them figures.
func hashLike(s string) bool {
	plain := s
	if len(s) == 36 && s[8] == '-' && s[13] == '-' && s[18] == '-' && s[23] == '-' {
		plain = strings.ReplaceAll(s, "-", "")
	}
	return len(plain) >= 8 && strings.ContainsAny(plain, "0123456789") && strings.Trim(strings.ToLower(plain), "0123456789abcdef") == ""
}

// seconds reads a decimal number of seconds, times unit, as nanoseconds.
func seconds(text string, unit time.Duration) event.Opt[int64] {
	v, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if ns := v * float64(unit); err == nil && ns >= 0 && ns < float64(1<<62) {
		return event.Some(int64(ns + 0.5))
	}
	return event.Opt[int64]{}
}

func size(text string) event.Opt[int64] {
	if v, err := strconv.ParseInt(strings.TrimSpace(text), 10, 64); err == nil && v >= 0 {
		return event.Some(v)
	}
	return event.Opt[int64]{}
}

func clip(s string) string {
	if len(s) > 60 {
		s = strings.ToValidUTF8(s[:60], "") + "…"
	}
	return s
}

// pathAndQuery joins what some logs keep apart.
func pathAndQuery(path, query string) string {
	query = strings.TrimPrefix(query, "?")
	if query == "" || query == "-" || strings.Contains(path, "?") {
		return path
	}
	return path + "?" + query
}

// unquoted undoes how a path was decoded before it was logged: as gunicorn's U.
func unquoted(path string) string {
	if strings.ContainsAny(path, " \"<>") {
		return (&url.URL{Path: path}).EscapedPath()
	}
	return path
}

package importer

import (
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// readJSONLine reads a line of an access log in JSON: Caddy's own form; the names that people give the variables of nginx and the atoms of gunicorn;
// uvicorn's line inside a message; a line of text inside docker's log. known says whether it is one of them.
func readJSONLine(line []byte) (x exchange, known bool) {
	return readObject(line, 0)
}

func readObject(line []byte, depth int) (x exchange, known bool) {
	var o object
	if json.Unmarshal(line, &o) != nil || o == nil || depth > 2 {
		return x, false
	}
	if text := o.text("log"); text != "" { // docker: the line, and when it was written
		text = strings.TrimSpace(text)
		if strings.HasPrefix(text, "{") {
			x, known = readObject([]byte(text), depth+1)
		} else {
			x, known = readTextLine(text)
		}
		if x.at == 0 {
			x.at, x.end = o.time()
		}
		return x, known
	}
	if request, ok := o.object("request"); ok && request.text("uri") != "" {
		return o.caddy(request), true
	}
	if x, known = o.named(); known {
		return x, true
	}
	for _, name := range []string{"message", "msg", "event"} {
		if text := o.text(name); text != "" {
			if x, known = readTextLine(bareMessage(text)); known {
				if x.at == 0 {
					x.at, x.end = o.time()
				}
				return x, true
			}
		}
	}
	return x, false
}

// bareMessage is uvicorn's message, as a line of its log.
func bareMessage(text string) string { return strings.TrimSpace(text) }

// object is a JSON object, a member of which is looked for by several names.
type object map[string]json.RawMessage

// text returns the first of the members that is a text, a number or true; "" where none is.
func (o object) text(names ...string) string {
	for _, name := range names {
		raw, ok := o[name]
		if !ok || len(raw) == 0 {
			continue
		}
		switch raw[0] {
		case '"':
			var s string
			if json.Unmarshal(raw, &s) == nil && s != "" && s != "-" {
				return s
			}
		case '{', '[', 'n', 'f':
		default:
			return string(raw)
		}
	}
	return ""
}

func (o object) object(name string) (object, bool) {
	var inner object
	raw, ok := o[name]
	return inner, ok && json.Unmarshal(raw, &inner) == nil && inner != nil
}

// time returns when a line was written: a text, or seconds or milliseconds since 1970. Logs are written when a request has ended.
func (o object) time() (at int64, end bool) {
	for _, name := range []string{"msec", "time_iso8601", "ts", "timestamp", "@timestamp", "time", "asctime", "time_local", "date", "datetime", "t"} {
		text := strings.Trim(o.text(name), "[]")
		if text == "" {
			continue
		}
		if at, ok := bracketTime(text); ok {
			return at, true
		}
		if v, err := strconv.ParseFloat(text, 64); err == nil && v > 0 {
			unit := time.Second
			for v > 1e11 && unit > time.Nanosecond { // after the year 5000: milliseconds, and so on
				v /= 1000
				unit /= 1000
			}
			return exactTime(text, unit), true
		}
	}
	return 0, false
}

// exactTime reads a decimal number of a unit since 1970 without the rounding of floating point, as far as it is written plainly.
func exactTime(text string, unit time.Duration) int64 {
	whole, fraction, _ := strings.Cut(text, ".")
	v, err := strconv.ParseInt(whole, 10, 64)
	f := 0.0
	if err == nil && fraction != "" {
		f, err = strconv.ParseFloat("0."+fraction, 64)
	}
	if err != nil || v > (1<<62)/int64(unit) {
		if seconds := seconds(text, unit); seconds.Known {
			return seconds.V
		}
		return 0
	}
	return v*int64(unit) + int64(f*float64(unit)+0.5)
}

// caddy reads Caddy's own form. Its durations are seconds, unless its encoder is told otherwise; a text says its unit.
func (o object) caddy(request object) exchange {
	x := exchange{method: request.text("method"), target: request.text("uri"), host: request.text("host"), user: o.text("user_id"),
		bytes: size(o.text("size")), sent: size(o.text("bytes_read"))}
	x.at, x.end = o.time()
	x.status, _ = strconv.ParseInt(o.text("status"), 10, 64)
	duration := o.text("duration")
	if x.dur = seconds(duration, time.Second); !x.dur.Known {
		if d, err := time.ParseDuration(duration); err == nil && d >= 0 {
			x.dur = event.Some(int64(d))
		}
	}
	x.asked, x.answered = request.headers("headers"), o.headers("resp_headers")
	return x
}

// headers reads an object whose members are lists of texts.
func (o object) headers(name string) []event.Pair {
	inner, _ := o.object(name)
	var list []event.Pair
	for name, raw := range inner {
		var values []string
		if json.Unmarshal(raw, &values) != nil {
			continue
		}
		for _, v := range values {
			list = append(list, event.Pair{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(list, func(a, b event.Pair) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// named reads the forms that people make themselves, by the names that nginx and gunicorn give what they log.
func (o object) named() (x exchange, known bool) {
	x.method = o.text("request_method", "method", "http_method", "verb", "m")
	x.target = pathAndQuery(o.text("request_uri", "uri", "url", "path", "request_path"), o.text("args", "query_string", "query", "request_querystring"))
	if x.target == "" {
		x.target = pathAndQuery(unquoted(o.text("U")), o.text("q"))
	}
	if x.method == "" || x.target == "" {
		line := o.text("request", "request_line", "r")
		if x.requestLine(line); x.noticed != "" {
			return exchange{}, false
		}
	}
	status := o.text("status", "status_code", "response_code", "response_status", "s")
	if v, err := strconv.ParseInt(status, 10, 64); err == nil {
		x.status = v
	} else if !o.has("status", "status_code", "response_code", "response_status", "s", "request_time", "body_bytes_sent") {
		return exchange{}, false
	}
	x.at, x.end = o.time()
	x.host = o.text("host", "http_host", "server_name")
	x.user = o.text("remote_user", "u")
	x.bytes = size(o.text("body_bytes_sent", "response_length", "B", "b"))
	x.cacheState = o.text("upstream_cache_status")
	for _, d := range []struct {
		names string
		unit  time.Duration
	}{{"request_time", time.Second}, {"L", time.Second}, {"D", time.Microsecond}, {"request_time_us", time.Microsecond}, {"M", time.Millisecond},
		{"duration_ms", time.Millisecond}, {"request_time_ms", time.Millisecond}, {"T", time.Second}} {
		if v := seconds(o.text(d.names), d.unit); v.Known {
			x.dur = v
			break
		}
	}
	for name := range o {
		if header, ok := strings.CutPrefix(name, "sent_http_"); ok {
			x.answered = append(x.answered, event.Pair{Name: strings.ReplaceAll(header, "_", "-"), Value: o.text(name)})
		} else if header, ok := strings.CutPrefix(name, "http_"); ok && header != "host" && header != "method" {
			x.asked = append(x.asked, event.Pair{Name: strings.ReplaceAll(header, "_", "-"), Value: o.text(name)})
		}
	}
	if agent := o.text("user_agent", "a"); agent != "" {
		x.asked = append(x.asked, event.Pair{Name: "user-agent", Value: agent})
	}
	for _, list := range [][]event.Pair{x.asked, x.answered} {
		slices.SortStableFunc(list, func(a, b event.Pair) int { return strings.Compare(a.Name, b.Name) })
	}
	return x, true
}

func (o object) has(names ...string) bool {
	return slices.ContainsFunc(names, func(name string) bool { _, ok := o[name]; return ok })
}

package importer

import (
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// readTextLine reads a line of an access log: common or combined (nginx, Apache, gunicorn), or uvicorn's. known says whether the line
// has one of these forms; what is wrong with it is in exchange.noticed. Columns behind those of the combined form have no
// fixed meaning and are passed over.
func readTextLine(line string) (x exchange, known bool) {
	line = strings.TrimRight(plainText(line), "\r\n ")
	before, after, ok := strings.Cut(line, `"`)
	if !ok {
		return x, false
	}
	request, rest, ok := quoted(after)
	if !ok {
		return x, false
	}
	status, rest, _ := strings.Cut(strings.TrimLeft(rest, " "), " ")
	code, err := strconv.ParseInt(status, 10, 64)
	if err != nil || len(status) != 3 {
		return x, false
	}
	x.status = code
	// The time stands in brackets, or before the rest of the line.
	if open := strings.IndexByte(before, '['); open >= 0 && strings.IndexByte(before[open:], ']') > 0 {
		text := before[open+1 : open+strings.IndexByte(before[open:], ']')]
		if x.at, ok = bracketTime(text); ok {
			x.end = true
			x.user = remoteUser(before[:open])
		}
	}
	if x.at == 0 {
		if !strings.HasSuffix(strings.TrimSpace(before), " -") { // as uvicorn puts it between client and request
			return x, false
		}
		x.at, _ = leadingTime(before)
		x.end = true
	} else {
		var bytes string
		bytes, rest, _ = strings.Cut(strings.TrimLeft(rest, " "), " ")
		x.bytes = size(bytes)
		x.combined(rest)
	}
	x.requestLine(request)
	return x, true
}

// combined takes referer and user agent, where they follow. The referer is not used.
func (x *exchange) combined(rest string) {
	for i := range 2 {
		after, ok := strings.CutPrefix(strings.TrimLeft(rest, " "), `"`)
		if !ok {
			return
		}
		var text string
		if text, rest, ok = quoted(after); !ok {
			return
		}
		if i == 1 && text != "" && text != "-" {
			x.asked = append(x.asked, event.Pair{Name: "user-agent", Value: text})
		}
	}
}

// requestLine takes "GET /a HTTP/1.1".
func (x *exchange) requestLine(text string) {
	method, rest, ok := strings.Cut(text, " ")
	target := rest
	if i := strings.LastIndex(rest, " HTTP/"); i >= 0 {
		target = rest[:i]
	} else if strings.HasPrefix(rest, "HTTP/") {
		ok = false
	}
	if !ok || target == "" {
		x.noticed = "the request line " + strconv.Quote(clip(text)) + " is not one of HTTP"
		return
	}
	x.method, x.target = method, target
}

// quoted returns what stands before the next double quote, with the escapes of nginx and Apache undone, and what follows.
func quoted(s string) (text, rest string, ok bool) {
	i := strings.IndexAny(s, `"\`)
	if i < 0 {
		return "", "", false
	}
	if s[i] == '"' {
		return s[:i], s[i+1:], true
	}
	out := []byte(s[:i])
	for ; i < len(s); i++ {
		switch c := s[i]; {
		case c == '"':
			return strings.ToValidUTF8(string(out), "\ufffd"), s[i+1:], true
		case c != '\\' || i+1 == len(s):
			out = append(out, c)
		case s[i+1] == 'x' && i+3 < len(s):
			if v, err := strconv.ParseUint(s[i+2:i+4], 16, 8); err == nil {
				out = append(out, byte(v))
				i += 3
				continue
			}
			out = append(out, c)
		default:
			i++
			switch s[i] {
			case 'n':
				out = append(out, '\n')
			case 't':
				out = append(out, '\t')
			case 'r':
				out = append(out, '\r')
			default:
				out = append(out, s[i])
			}
		}
	}
	return "", "", false
}

// plainText leaves out what colours a terminal.
func plainText(s string) string {
	if !strings.Contains(s, "\x1b[") {
		return s
	}
	var out strings.Builder
	for {
		before, after, ok := strings.Cut(s, "\x1b[")
		out.WriteString(before)
		if !ok {
			return out.String()
		}
		end := strings.IndexFunc(after, func(c rune) bool { return c != ';' && (c < '0' || c > '9') })
		if end < 0 {
			return out.String()
		}
		s = after[end+1:]
	}
}

// remoteUser is the third of the columns before the time.
func remoteUser(columns string) string {
	if list := strings.Fields(columns); len(list) >= 3 && list[len(list)-1] != "-" {
		return list[len(list)-1]
	}
	return ""
}

// bracketTime reads 10/Oct/2000:13:55:36 -0700, as nginx, Apache and gunicorn write it, or an ISO time.
func bracketTime(text string) (int64, bool) {
	for _, layout := range []string{"02/Jan/2006:15:04:05 -0700", "02/Jan/2006:15:04:05.999999999 -0700", "2006-01-02 15:04:05 -0700"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixNano(), t.Year() > 1970 && t.Year() < 2200
		}
	}
	return isoTime(text)
}

// isoTime reads an ISO 8601 time, with a T or a blank, a point or a comma. One without a zone is taken as UTC.
func isoTime(text string) (int64, bool) {
	text = strings.Replace(text, ",", ".", 1)
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02T15:04:05.999999999-0700", "2006-01-02T15:04:05.999999999",
		"2006-01-02 15:04:05.999999999", "2006-01-02 15:04:05.999999999 -0700", "2006-01-02 15:04:05 -0700 MST", "2006/01/02 15:04:05.999999999"} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UnixNano(), t.Year() > 1970 && t.Year() < 2200
		}
	}
	return 0, false
}

// leadingTime reads the time that docker, journalctl or a formatter of one's own put before a line.
func leadingTime(line string) (int64, bool) {
	list := strings.Fields(line)
	for i := 0; i < len(list) && i < 3; i++ {
		word := strings.Trim(list[i], "[]|")
		if at, ok := isoTime(word); ok {
			return at, true
		}
		if i+1 < len(list) {
			if at, ok := isoTime(word + " " + strings.Trim(list[i+1], "[]|")); ok {
				return at, true
			}
		}
	}
	return 0, false
}

package auditscan

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/audit"
)

// Limits of a probe.
const (
	ProbeBody    = 16 << 20 // bytes of an oversized body
	ProbeRoutes  = 8        // routes that take a body, each asked twice
	ProbePlain   = 10       // routes asked with bad input, and those asked for a path that looks like a file
	probeInputs  = 8        // bad inputs for one route
	probeTimeout = 15 * time.Second
)

// Target is an address that may be probed.
type Target struct {
	URL      *url.URL
	Loopback bool
}

// ParseTarget reads the address of --probe.
func ParseTarget(ctx context.Context, text string) (Target, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return Target{}, errors.New("an address such as http://127.0.0.1:8000 was expected")
	}
	u.RawQuery, u.Fragment = "", ""
	u.Path = strings.TrimRight(u.Path, "/")
	ips, err := net.DefaultResolver.LookupIP(ctx, "ip", u.Hostname())
	if err != nil {
		return Target{}, errors.New("its name is not known here")
	}
	t := Target{URL: u, Loopback: true}
	for _, ip := range ips {
		t.Loopback = t.Loopback && ip.IsLoopback()
	}
	return t, nil
}

// Plan says what a probe sends, for people, before it is sent.
func Plan(t *audit.Traffic) string {
	bodies, plain, personal := t.BodyRoutes(ProbeRoutes), t.PlainRoutes(ProbePlain), t.PersonalRoutes(ProbePlain)
	return fmt.Sprintf("%d oversized requests (%d MiB each, %d routes, with and without a declared length), at most %d GET with bad input (%d routes), "+
		"%d GET for paths that look like files; no identity, nothing twice, redirects are not followed",
		2*len(bodies), ProbeBody>>20, len(bodies), probeInputs*len(plain), len(plain), 2*len(personal))
}

// Probe sends to the service what Plan says, one request after the other.
func Probe(ctx context.Context, to Target, t *audit.Traffic) *audit.Probe {
	p := &audit.Probe{URL: to.URL.String()}
	client := &http.Client{
		Timeout:       probeTimeout,
		Transport:     &http.Transport{Proxy: nil, DisableKeepAlives: true, MaxResponseHeaderBytes: 64 << 10},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	if _, err := get(ctx, client, to, "/"); err != nil {
		p.Failed = reason(err)
		return p
	}
	for _, r := range t.PersonalRoutes(ProbePlain) {
		path, _, _ := strings.Cut(r.Target, "?")
		plain, err := get(ctx, client, to, path)
		if err != nil {
			continue
		}
		file := strings.TrimRight(path, "/") + "/demarc-probe.css"
		if a, err := get(ctx, client, to, file); err == nil {
			a.What, a.Route, a.Plain = "path", r.Method+" "+r.Route, plain.Status
			p.Inputs = append(p.Inputs, *a)
		}
	}
	for _, r := range t.PlainRoutes(ProbePlain) {
		for _, target := range badInputs(r) {
			if a, err := get(ctx, client, to, target); err == nil {
				a.What, a.Route = "input", r.Method+" "+r.Route
				p.Inputs = append(p.Inputs, *a)
			}
		}
	}
	for _, r := range t.BodyRoutes(ProbeRoutes) {
		for _, declared := range []bool{true, false} {
			if ctx.Err() != nil {
				return p
			}
			u := upload(ctx, to, r.Method, filled(r.Route, "demarc-probe"), declared)
			u.Route, u.Declared = r.Method+" "+r.Route, declared
			p.Uploads = append(p.Uploads, u)
		}
	}
	return p
}

// variable is a part of a route's template: {slug}, <int:pk>, :id.
var variable = regexp.MustCompile(`\{[^{}/]*\}|<[^<>/]*>|:[A-Za-z_]\w*`)

// filled puts a word in place of the variables of a template, 0 where it wants a number.
func filled(template, word string) string {
	return variable.ReplaceAllStringFunc(template, func(v string) string {
		if strings.Contains(v, "int") || strings.Contains(v, "float") {
			return "0"
		}
		return word
	})
}

// badInputs are addresses that no honest client asks for: the route's variables and known parameters with what cannot be read.
func badInputs(r audit.ProbeRoute) []string {
	var list []string
	add := func(target string) {
		if len(list) < probeInputs {
			list = append(list, target)
		}
	}
	path, query, _ := strings.Cut(r.Target, "?")
	known, _ := url.ParseQuery(query)
	names := map[string]bool{}
	for _, name := range append(r.Params, keys(known)...) {
		if names[name] || len(names) >= 4 {
			continue
		}
		names[name] = true
		for _, bad := range []string{"demarc%00probe", "-99999999999999999999"} {
			add(path + "?" + url.QueryEscape(name) + "=" + bad)
		}
	}
	if variable.MatchString(r.Route) {
		for _, bad := range []string{"demarc%00probe", "%FF%FE", "-99999999999999999999"} {
			add(variable.ReplaceAllLiteralString(r.Route, bad))
		}
	}
	return list
}

func keys(v url.Values) []string {
	var list []string
	for k := range v {
		list = append(list, k)
	}
	return list
}

func get(ctx context.Context, client *http.Client, to Target, target string) (*audit.Asked, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, to.URL.Scheme+"://"+to.URL.Host+to.URL.Path+target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", "demarc-audit")
	resp, err := client.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 1<<20)) // so that the service is not left writing
	return &audit.Asked{
		Target: target, Status: resp.StatusCode, Type: resp.Header.Get("Content-Type"), RetryAfter: resp.Header.Get("Retry-After") != "",
	}, nil
}

// upload sends an oversized body and counts how much of it was taken before the answer. The send buffer is kept small, so that
// what was written is what the service has taken, but for what its kernel holds for it (a few MB at most).
func upload(ctx context.Context, to Target, method, target string, declared bool) audit.Upload {
	u := audit.Upload{Size: ProbeBody}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	address := to.URL.Host
	if to.URL.Port() == "" {
		address = net.JoinHostPort(to.URL.Hostname(), map[string]string{"http": "80", "https": "443"}[to.URL.Scheme])
	}
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return u
	}
	defer raw.Close()
	if t, ok := raw.(*net.TCPConn); ok {
		_ = t.SetWriteBuffer(64 << 10) // where it cannot be set, a little more counts as taken
	}
	conn := raw
	if to.URL.Scheme == "https" {
		conn = tls.Client(raw, &tls.Config{ServerName: to.URL.Hostname(), MinVersion: tls.VersionTLS12})
	}
	deadline, _ := ctx.Deadline()
	_ = conn.SetDeadline(deadline) // fails on a closed connection only, which the next write says
	head := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: demarc-audit\r\nContent-Type: application/json\r\nConnection: close\r\n",
		method, to.URL.Path+target, to.URL.Host)
	if declared {
		head += fmt.Sprintf("Content-Length: %d\r\n\r\n", ProbeBody)
	} else {
		head += "Transfer-Encoding: chunked\r\n\r\n"
	}
	sent := make(chan int64)
	go func() { // ends when the body is out, or the deadline passes
		if _, err := io.WriteString(conn, head); err != nil {
			sent <- 0
			return
		}
		sent <- writeBody(conn, declared)
	}()
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	_ = conn.SetWriteDeadline(time.Now()) // as above; what was written is counted first, the answer may have come before that
	u.Sent = <-sent
	if err == nil {
		u.Status = resp.StatusCode
		resp.Body.Close()
	}
	return u
}

// writeBody writes one JSON text of ProbeBody bytes, and returns how many of them went out.
func writeBody(w io.Writer, declared bool) (sent int64) {
	const piece = 32 << 10
	text := []byte(strings.Repeat("x", piece))
	for at := 0; at < ProbeBody; at += piece {
		data := text
		switch {
		case at == 0:
			data = append([]byte(`{"demarc":"`), text[11:]...)
		case at+piece == ProbeBody:
			data = append(append([]byte{}, text[2:]...), `"}`...)
		}
		var err error
		if declared {
			_, err = w.Write(data)
		} else {
			_, err = fmt.Fprintf(w, "%x\r\n%s\r\n", len(data), data)
		}
		if err != nil {
			return sent
		}
		sent += piece
	}
	if !declared {
		_, _ = io.WriteString(w, "0\r\n\r\n") // what fails here shows in the answer
	}
	return sent
}

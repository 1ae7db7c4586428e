package engine

import (
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/netutil"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// Limits of the HTTP server.
const (
	maxHTTPConns = 64
	maxBody      = 8 << 10 // of a mark or a switch
	maxMarkName  = 200
	maxMarkText  = 2000
)

// Server answers over HTTP: /health, /metrics and /report, and /control/mark and /control/recording for demarc's own
// commands. Control wants the token. On a loopback address everything else is open to the machine, but only under a
// loopback name, so that no web page can reach it by pointing a name of its own here; on any other address everything
// but /health wants the token.
type Server struct {
	URL      string // of its root, "http://127.0.0.1:7171"
	engine   *Engine
	token    [32]byte
	loopback bool
	http     *http.Server
	done     chan struct{}
}

// Serve begins to answer on l.
func Serve(l net.Listener, e *Engine, token string) *Server {
	s := &Server{engine: e, token: sha256.Sum256([]byte(token)), done: make(chan struct{})}
	addr, _ := l.Addr().(*net.TCPAddr)
	s.loopback = addr != nil && addr.IP.IsLoopback()
	host := "127.0.0.1"
	if addr != nil && !addr.IP.IsUnspecified() {
		host = addr.IP.String()
	}
	port := 0
	if addr != nil {
		port = addr.Port
	}
	s.URL = "http://" + net.JoinHostPort(host, strconv.Itoa(port))
	mux := http.NewServeMux()
	mux.HandleFunc("GET /health", s.health)
	mux.HandleFunc("GET /metrics", s.guard(s.metrics))
	mux.HandleFunc("GET /report", s.guard(s.report))
	mux.HandleFunc("GET /{$}", s.guard(s.index))
	mux.HandleFunc("POST /control/mark", s.control(s.mark))
	mux.HandleFunc("POST /control/recording", s.control(s.recording))
	s.http = &http.Server{
		Handler: s.secure(mux), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second,
		WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10,
	}
	go func() {
		defer close(s.done)
		_ = s.http.Serve(netutil.LimitListener(l, maxHTTPConns))
	}()
	return s
}

// Close ends the server at once.
func (s *Server) Close() {
	_ = s.http.Close()
	<-s.done
}

// secure sets the headers of every answer and turns away requests under a foreign name.
func (s *Server) secure(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("Referrer-Policy", "no-referrer")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if s.loopback && !loopbackName(r.Host) {
			refuse(w, http.StatusForbidden, "this address answers to localhost, 127.0.0.1 and [::1] only")
			return
		}
		next.ServeHTTP(w, r)
	})
}

func loopbackName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.Trim(host, "[]")
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}

func (s *Server) authorized(r *http.Request) bool {
	given, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	sum := sha256.Sum256([]byte(given))
	return ok && subtle.ConstantTimeCompare(sum[:], s.token[:]) == 1
}

func (s *Server) guard(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.loopback && !s.authorized(r) {
			refuse(w, http.StatusUnauthorized, "this address is not loopback: the header Authorization: Bearer TOKEN is needed; "+
				"the token is in the run file")
			return
		}
		next(w, r)
	}
}

func (s *Server) control(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !s.authorized(r) {
			refuse(w, http.StatusUnauthorized, "wrong token: the one in the run file is needed")
			return
		}
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next(w, r)
	}
}

func refuse(w http.ResponseWriter, status int, why string) {
	answer(w, status, map[string]any{"ok": false, "error": why})
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v)
}

func (s *Server) index(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, "demarc\n\n/health   counts of what is received and dropped\n/report   the baseline as JSON\n"+
		"/metrics  the same for Prometheus\n")
}

func (s *Server) health(w http.ResponseWriter, _ *http.Request) {
	h := s.engine.Health()
	status := http.StatusOK
	if !h.OK {
		status = http.StatusServiceUnavailable
	}
	answer(w, status, h)
}

func (s *Server) report(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, s.engine.Report())
}

func (s *Server) mark(w http.ResponseWriter, r *http.Request) {
	var m struct{ Name, Text string }
	if err := json.NewDecoder(r.Body).Decode(&m); err != nil {
		refuse(w, http.StatusBadRequest, `{"name": …, "text": …} was expected: `+err.Error())
		return
	}
	if m.Name == "" || len(m.Name) > maxMarkName || len(m.Text) > maxMarkText {
		refuse(w, http.StatusBadRequest, fmt.Sprintf("a name of 1 to %d bytes and a text of at most %d were expected", maxMarkName, maxMarkText))
		return
	}
	at, err := s.engine.Mark(m.Name, m.Text)
	if err != nil {
		refuse(w, http.StatusServiceUnavailable, err.Error())
		return
	}
	answer(w, http.StatusOK, Done{OK: true, At: at.UTC().Format(time.RFC3339Nano), Capture: s.engine.opt.Capture.Dir()})
}

func (s *Server) recording(w http.ResponseWriter, r *http.Request) {
	var o struct{ On *bool }
	if err := json.NewDecoder(r.Body).Decode(&o); err != nil || o.On == nil {
		refuse(w, http.StatusBadRequest, `{"on": true} or {"on": false} was expected`)
		return
	}
	answer(w, http.StatusOK, Done{OK: true, Processes: s.engine.Record(*o.On), Capture: s.engine.opt.Capture.Dir()})
}

// metrics writes Prometheus' text format, version 0.0.4. Routes are those of the report, so their number is bounded.
func (s *Server) metrics(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
	rep := s.engine.Report()
	_, _ = io.WriteString(w, metricsText(s.engine.Health(), &rep))
}

func metricsText(h Health, rep *baseline.Report) string {
	var b strings.Builder
	head := func(name, kind, help string) { fmt.Fprintf(&b, "# HELP %s %s\n# TYPE %s %s\n", name, help, name, kind) }
	one := func(name, kind, help string, v any) {
		head(name, kind, help)
		fmt.Fprintf(&b, "%s %v\n", name, v)
	}
	truth := map[bool]int{true: 1}
	one("demarc_up", "gauge", "1 while the capture is being written.", truth[h.OK])
	one("demarc_recording", "gauge", "1 while recording is switched on.", truth[h.Recording])
	one("demarc_events_received_total", "counter", "Events taken from all sources.", h.Received)
	head("demarc_events_dropped_total", "counter", "Events that are not in the capture, by where they were lost.")
	fmt.Fprintf(&b, "demarc_events_dropped_total{where=\"recorders\"} %d\n", h.DroppedBy.Recorders)
	fmt.Fprintf(&b, "demarc_events_dropped_total{where=\"collector\"} %d\n", h.DroppedBy.Collector)
	fmt.Fprintf(&b, "demarc_events_dropped_total{where=\"disk\"} %d\n", h.DroppedBy.Disk)
	one("demarc_bad_frames_total", "counter", "Frames of recorders that could not be read.", h.BadFrames)
	one("demarc_processes_total", "counter", "Processes of the service seen.", h.Processes)
	one("demarc_connections", "gauge", "Recorders connected.", h.Connections)
	if o := h.OTLP; o != nil {
		one("demarc_otlp_messages_total", "counter", "Messages of OpenTelemetry taken.", o.Messages)
		head("demarc_otlp_messages_refused_total", "counter", "Messages refused: bad is lost, later is to be sent again.")
		fmt.Fprintf(&b, "demarc_otlp_messages_refused_total{why=\"bad\"} %d\n", o.Bad)
		fmt.Fprintf(&b, "demarc_otlp_messages_refused_total{why=\"later\"} %d\n", o.Later)
		one("demarc_otlp_spans_total", "counter", "Spans read.", o.Spans)
		one("demarc_otlp_spans_unmapped_total", "counter", "Spans that no event can tell, such as internal steps.", o.Unmapped)
		one("demarc_otlp_spans_refused_total", "counter", "Spans without an identity or a start.", o.Refused)
		one("demarc_otlp_spans_detached_total", "counter", "Spans whose parent was not in their message.", o.Detached)
	}
	one("demarc_capture_bytes", "gauge", "Size of the capture on disk.", h.Bytes)

	routes := func(name, kind, help string, value func(*baseline.Route) any) {
		head(name, kind, help)
		for i := range rep.Routes {
			fmt.Fprintf(&b, "%s{route=%s} %v\n", name, label(rep.Routes[i].Route), value(&rep.Routes[i]))
		}
	}
	routes("demarc_requests_total", "counter", "Requests.", func(r *baseline.Route) any { return r.Requests })
	routes("demarc_request_errors_total", "counter", "Requests with status 500 or more, or an exception.", func(r *baseline.Route) any { return r.Errors })
	routes("demarc_cache_hits_total", "counter", "Cache lookups that hit.", func(r *baseline.Route) any { return r.Cache.Hits })
	routes("demarc_cache_misses_total", "counter", "Cache lookups that missed.", func(r *baseline.Route) any { return r.Cache.Misses })
	head("demarc_request_duration_seconds", "histogram", "Time to the end of the response.")
	for i := range rep.Routes {
		r := &rep.Routes[i]
		var sum int64
		for _, bucket := range r.Latency {
			sum += bucket.Count
			if bucket.LeMs != nil {
				fmt.Fprintf(&b, "demarc_request_duration_seconds_bucket{route=%s,le=\"%g\"} %d\n", label(r.Route), *bucket.LeMs/1e3, sum)
			}
		}
		fmt.Fprintf(&b, "demarc_request_duration_seconds_bucket{route=%s,le=\"+Inf\"} %d\n", label(r.Route), sum)
		fmt.Fprintf(&b, "demarc_request_duration_seconds_sum{route=%s} %g\n", label(r.Route), r.TotalMs/1e3)
		fmt.Fprintf(&b, "demarc_request_duration_seconds_count{route=%s} %d\n", label(r.Route), sum)
	}
	return b.String()
}

// label quotes a label's value as the format wants it: only backslash, quote and line end are escaped.
func label(v string) string {
	return `"` + strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`).Replace(v) + `"`
}

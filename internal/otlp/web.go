package otlp

import (
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"sync"
)

func appendUvarint(dst []byte, v uint64) []byte { return binary.AppendUvarint(dst, v) }

// retryAfter is how many seconds a sender is asked to wait while the sink takes nothing.
const retryAfter = "5"

// Handler answers POST /v1/traces, in protobuf and JSON, plain or with gzip.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("POST /v1/traces", s.receive)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		what := "only POST /v1/traces is answered"
		if r.URL.Path == "/v1/metrics" || r.URL.Path == "/v1/logs" {
			what += ": only traces are received; OTEL_METRICS_EXPORTER=none and OTEL_LOGS_EXPORTER=none keep a service from sending the rest"
		}
		http.Error(w, what, http.StatusNotFound)
	})
	return mux
}

// bodies holds buffers for messages, thrown away beyond 1 MiB so that one large message does not stay.
var bodies = sync.Pool{New: func() any { return new(bytes.Buffer) }}

const keptBody = 1 << 20

func (s *Server) receive(w http.ResponseWriter, r *http.Request) {
	if !s.allowed(r.Header.Get("Authorization")) {
		w.Header().Set("WWW-Authenticate", "Bearer")
		http.Error(w, "the token is missing or wrong: send the header authorization: Bearer TOKEN", http.StatusUnauthorized)
		return
	}
	kind, _, _ := mime.ParseMediaType(r.Header.Get("Content-Type"))
	how := decode(decodeProto)
	switch kind {
	case "application/x-protobuf":
	case "application/json":
		how = decodeJSON
	default:
		http.Error(w, "Content-Type must be application/x-protobuf or application/json", http.StatusUnsupportedMediaType)
		return
	}
	body := bodies.Get().(*bytes.Buffer)
	defer func() {
		if body.Cap() <= keptBody {
			body.Reset()
			bodies.Put(body)
		}
	}()
	if code, err := read(body, w, r); err != nil {
		s.bad.Add(1)
		s.answer(w, kind, code, err.Error())
		return
	}
	counts, err := s.take(r.Context(), how, body.Bytes())
	var data *DataError
	switch {
	case errors.As(err, &data):
		s.answer(w, kind, http.StatusBadRequest, data.Error())
	case err != nil:
		w.Header().Set("Retry-After", retryAfter)
		s.answer(w, kind, http.StatusServiceUnavailable, err.Error())
	default:
		w.Header().Set("Content-Type", kind)
		_, _ = w.Write(success(kind, counts)) // a sender that is gone sends again
	}
}

// read takes the body as it was before compression, at most MaxMessage bytes of it.
func read(to *bytes.Buffer, w http.ResponseWriter, r *http.Request) (int, error) {
	var from io.Reader = http.MaxBytesReader(w, r.Body, MaxMessage)
	switch encoding := r.Header.Get("Content-Encoding"); encoding {
	case "", "identity":
	case "gzip":
		unzip, err := gzip.NewReader(from)
		if err != nil {
			return http.StatusBadRequest, fmt.Errorf("not gzip: %w", err)
		}
		from = unzip
	default:
		return http.StatusUnsupportedMediaType, fmt.Errorf("content-encoding %q: gzip or none was expected", encoding)
	}
	n, err := to.ReadFrom(io.LimitReader(from, MaxMessage+1))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge), err == nil && n > MaxMessage:
		return http.StatusRequestEntityTooLarge, fmt.Errorf("the message is longer than %d bytes", MaxMessage)
	case err != nil:
		return http.StatusBadRequest, fmt.Errorf("byte %d: cannot read the message: %w", n, err)
	}
	return 0, nil
}

// answer writes an error as OTLP wants it: a google.rpc.Status in the request's own form. Its code is gRPC's.
func (s *Server) answer(w http.ResponseWriter, kind string, code int, text string) {
	const invalidArgument, unavailable = 3, 14
	number := invalidArgument
	if code == http.StatusServiceUnavailable {
		number = unavailable
	}
	w.Header().Set("Content-Type", kind)
	w.WriteHeader(code)
	if kind == "application/json" {
		_ = json.NewEncoder(w).Encode(struct {
			Code    int    `json:"code"`
			Message string `json:"message"`
		}{number, text})
		return
	}
	out := []byte{1<<3 | wireVarint, byte(number), 2<<3 | wireLen}
	out = append(appendUvarint(out, uint64(len(text))), text...)
	_, _ = w.Write(out)
}

func success(kind string, c Counts) []byte {
	if kind != "application/json" {
		return appendAnswer(nil, c)
	}
	text := refusal(c)
	if text == "" {
		return []byte("{}")
	}
	return fmt.Appendf(nil, `{"partialSuccess":{"rejectedSpans":"%d","errorMessage":%q}}`, c.Refused, text)
}

package otlp

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/net/netutil"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	_ "google.golang.org/grpc/encoding/gzip" // senders may compress
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Server receives OTLP over gRPC and HTTP and gives what arrives to one sink.
type Server struct {
	dec   *decoder
	sink  Sink
	token string

	grpc *grpc.Server
	http *http.Server
	busy chan struct{} // a place for each message that is being decoded

	mu         sync.Mutex
	counts     Counts
	messages   atomic.Int64
	bad, later atomic.Int64
}

// Stats are the counts of a Server since its start.
type Stats struct {
	Counts
	Messages int64 `json:"messages"` // taken
	Bad      int64 `json:"bad"`      // refused because of what they hold; lost unless the sender keeps them
	Later    int64 `json:"later"`    // refused because the sink could not take them; the sender was told to try again
}

// NewServer makes a server that listens nowhere yet.
func NewServer(o Options, sink Sink) (*Server, error) {
	dec, err := newDecoder(o)
	if err != nil {
		return nil, err
	}
	s := &Server{dec: dec, sink: sink, token: o.Token, busy: make(chan struct{}, MaxDecoding)}
	s.grpc = grpc.NewServer(
		grpc.ForceServerCodecV2(rawCodec{}),
		grpc.MaxRecvMsgSize(MaxMessage),
		grpc.MaxConcurrentStreams(MaxStreams),
		grpc.MaxHeaderListSize(16<<10),
		grpc.ConnectionTimeout(10*time.Second),
		grpc.InitialWindowSize(1<<20),
		grpc.InitialConnWindowSize(1<<20),
		grpc.ReadBufferSize(128<<10),
		grpc.KeepaliveParams(keepalive.ServerParameters{MaxConnectionIdle: 10 * time.Minute, Time: time.Minute, Timeout: 20 * time.Second}),
		grpc.KeepaliveEnforcementPolicy(keepalive.EnforcementPolicy{MinTime: 10 * time.Second, PermitWithoutStream: true}),
		grpc.UnknownServiceHandler(unknownService),
	)
	s.grpc.RegisterService(&traceService, s)
	s.http = &http.Server{
		Handler:           s.Handler(),
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}
	return s, nil
}

// Listen opens a TCP address for ServeGRPC or ServeHTTP. An address that other machines can reach is refused where there
// is no token, because anybody there could write into the capture.
func Listen(address, token string) (net.Listener, error) {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("address %q: host:port was expected, such as 127.0.0.1:4317", address)
	}
	if ip := net.ParseIP(host); token == "" && host != "localhost" && (ip == nil || !ip.IsLoopback()) {
		return nil, fmt.Errorf("address %q can be reached from other machines: a token is needed", address)
	}
	return net.Listen("tcp", address)
}

// ServeGRPC serves the trace service of OTLP until Close; it then returns nil.
func (s *Server) ServeGRPC(l net.Listener) error {
	err := s.grpc.Serve(netutil.LimitListener(l, MaxConnections))
	if errors.Is(err, grpc.ErrServerStopped) {
		return nil
	}
	return err
}

// ServeWeb serves Handler until Close; it then returns nil.
func (s *Server) ServeWeb(l net.Listener) error {
	err := s.http.Serve(netutil.LimitListener(l, MaxConnections))
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}

// Close stops both servers. Messages in flight have until the context ends to be answered.
func (s *Server) Close(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		s.grpc.GracefulStop()
		close(done)
	}()
	err := s.http.Shutdown(ctx)
	select {
	case <-done:
	case <-ctx.Done():
		s.grpc.Stop()
		<-done
	}
	return err
}

// Stats returns the counts so far.
func (s *Server) Stats() Stats {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Stats{Counts: s.counts, Messages: s.messages.Load(), Bad: s.bad.Load(), Later: s.later.Load()}
}

// errLater says that the sink could not take a message.
type errLater struct{ cause error }

func (e errLater) Error() string { return "cannot take spans now: " + e.cause.Error() }

// take decodes one message and hands it on. The error is a *DataError, an errLater or the context's.
func (s *Server) take(ctx context.Context, how decode, msg []byte) (Counts, error) {
	select {
	case s.busy <- struct{}{}:
		defer func() { <-s.busy }()
	case <-ctx.Done():
		return Counts{}, ctx.Err()
	}
	counts, err := s.dec.run(how, msg, s.sink)
	var data *DataError
	switch {
	case errors.As(err, &data):
		s.bad.Add(1)
		return Counts{}, data
	case err != nil:
		s.later.Add(1)
		return Counts{}, errLater{err}
	}
	s.messages.Add(1)
	s.mu.Lock()
	s.counts.add(counts)
	s.mu.Unlock()
	return counts, nil
}

// allowed compares the token in constant time.
func (s *Server) allowed(authorization string) bool {
	if s.token == "" {
		return true
	}
	kind, token, _ := strings.Cut(authorization, " ")
	return strings.EqualFold(kind, "bearer") && subtle.ConstantTimeCompare([]byte(token), []byte(s.token)) == 1
}

// refusal is the text of a partial success; "" where every span was taken.
func refusal(c Counts) string {
	if c.Refused == 0 {
		return ""
	}
	return fmt.Sprintf("%d of %d spans have no trace id, span id or start time", c.Refused, c.Spans)
}

const traceServiceName = "opentelemetry.proto.collector.trace.v1.TraceService"

// traceService is the service as gRPC knows it. Requests and answers are bytes: the message goes to our reader as it
// came, and the answer is written by hand.
var traceService = grpc.ServiceDesc{
	ServiceName: traceServiceName,
	HandlerType: (*any)(nil),
	Methods:     []grpc.MethodDesc{{MethodName: "Export", Handler: export}},
	Metadata:    "opentelemetry/proto/collector/trace/v1/trace_service.proto",
}

func export(server any, ctx context.Context, receive func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
	s := server.(*Server)
	if s.token != "" {
		md, _ := metadata.FromIncomingContext(ctx)
		if got := md.Get("authorization"); len(got) != 1 || !s.allowed(got[0]) {
			return nil, status.Error(codes.Unauthenticated, "the token is missing or wrong: send the header authorization: Bearer TOKEN")
		}
	}
	var msg mem.Buffer
	if err := receive(&msg); err != nil {
		return nil, err
	}
	defer msg.Free()
	counts, err := s.take(ctx, decodeProto, msg.ReadOnlyData())
	var data *DataError
	var later errLater
	switch {
	case errors.As(err, &data):
		return nil, status.Error(codes.InvalidArgument, data.Error())
	case errors.As(err, &later):
		return nil, status.Error(codes.Unavailable, later.Error())
	case err != nil:
		return nil, status.FromContextError(err).Err()
	}
	return appendAnswer(nil, counts), nil
}

// unknownService answers calls of the services that send metrics and logs.
func unknownService(_ any, stream grpc.ServerStream) error {
	method, _ := grpc.MethodFromServerStream(stream)
	return status.Errorf(codes.Unimplemented, "%s: only traces are received; OTEL_METRICS_EXPORTER=none and "+
		"OTEL_LOGS_EXPORTER=none keep a service from sending the rest", method)
}

// appendAnswer writes an ExportTraceServiceResponse: empty, or with the spans that were refused.
func appendAnswer(dst []byte, c Counts) []byte {
	text := refusal(c)
	if text == "" {
		return dst
	}
	var partial []byte
	partial = append(partial, 1<<3|wireVarint)
	partial = appendUvarint(partial, uint64(c.Refused))
	partial = append(partial, 2<<3|wireLen)
	partial = appendUvarint(partial, uint64(len(text)))
	partial = append(partial, text...)
	dst = append(dst, 1<<3|wireLen)
	dst = appendUvarint(dst, uint64(len(partial)))
	return append(dst, partial...)
}

// rawCodec leaves messages as bytes: *mem.Buffer in, []byte out.
type rawCodec struct{}

func (rawCodec) Name() string { return "proto" }

func (rawCodec) Marshal(v any) (mem.BufferSlice, error) {
	b, ok := v.([]byte)
	if !ok {
		return nil, fmt.Errorf("cannot write a %T", v)
	}
	return mem.BufferSlice{mem.SliceBuffer(b)}, nil
}

func (rawCodec) Unmarshal(data mem.BufferSlice, v any) error {
	to, ok := v.(*mem.Buffer)
	if !ok {
		return fmt.Errorf("cannot read into a %T", v)
	}
	*to = data.MaterializeToBuffer(messagePool)
	return nil
}

// messagePool keeps whole messages; its steps are the sizes of usual batches, so that little is wasted.
var messagePool = mem.NewTieredBufferPool(16<<10, 64<<10, 256<<10, 512<<10, 1<<20, 2<<20, 4<<20, MaxMessage)

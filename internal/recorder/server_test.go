package recorder

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
)

// keep is a sink that writes down what it is given.
type keep struct {
	mu    sync.Mutex
	lines []string
}

func (k *keep) Events(events []event.Event) error {
	k.mu.Lock()
	for i := range events {
		k.lines = append(k.lines, string(event.AppendJSON(nil, &events[i])))
	}
	k.mu.Unlock()
	return nil
}

func (k *keep) wait(t *testing.T, n int) []string {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); {
		k.mu.Lock()
		lines := append([]string{}, k.lines...)
		k.mu.Unlock()
		if len(lines) >= n {
			return lines
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("fewer than %d events came: %v", n, k.lines)
	return nil
}

// client is a recorder written for tests.
type client struct {
	t  *testing.T
	nc net.Conn
	in *bufio.Reader
}

func start(t *testing.T) (*Server, *keep, func() *client) {
	t.Helper()
	sink := &keep{}
	s := NewServer(Options{Token: "sesame"}, sink)
	l, err := Listen("unix:" + filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = s.Serve(l) }()
	t.Cleanup(func() { s.Close(0) })
	return s, sink, func() *client {
		nc, err := net.Dial("unix", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(time.Minute))
		return &client{t, nc, bufio.NewReader(nc)}
	}
}

func (c *client) send(kind byte, payload string) {
	c.t.Helper()
	if _, err := c.nc.Write(frame(kind, []byte(payload))); err != nil {
		c.t.Fatal(err)
	}
}

// read returns the next frame from the collector; kind is 0 at the end of the connection.
func (c *client) read() (byte, map[string]any) {
	c.t.Helper()
	kind, n, err := readHead(c.in)
	if err != nil {
		return 0, nil
	}
	payload := make([]byte, n)
	if _, err := io.ReadFull(c.in, payload); err != nil {
		c.t.Fatal(err)
	}
	var m map[string]any
	if err := json.Unmarshal(payload, &m); err != nil {
		c.t.Fatal(err)
	}
	return kind, m
}

func helloText(op, token string, wire int) string {
	return fmt.Sprintf(`{"wire":%d,"token":%q,"proc":"p1abcdef","op":%q,"at":%d,"service":"shop","pid":7,"ppid":6,`+
		`"runtime":"CPython 3.11.7","program":"uvicorn"}`, wire, token, op, testAt)
}

func (c *client) hello(op string) {
	c.t.Helper()
	c.send('H', helloText(op, "sesame", 1))
	kind, a := c.read()
	if kind != 'A' || a["ok"] != true || a["recording"] != true {
		c.t.Fatalf("answer %c %v", kind, a)
	}
}

func TestConversation(t *testing.T) {
	s, sink, dial := start(t)
	c := dial()
	c.hello("start")
	c.send('B', string(marshal(1, []string{"a"}, tup{6, testAt, nil, nil, nil, nil, nil, ref(0)})))
	c.send('Q', "a kind from a later version")
	c.send('B', "not a batch")
	c.send('S', fmt.Sprintf(`{"at":%d,"recording":true,"dropped":3,"hooks":{"redis":"on","asgi":"on"},"failures":{}}`, testAt))
	c.send('S', fmt.Sprintf(`{"at":%d,"dropped":5}`, testAt))
	c.send('S', `{"dropped":9}`)
	c.send('X', fmt.Sprintf(`{"at":%d}`, testAt+9))
	got := strings.Join(sink.wait(t, 5), "\n")
	want := strings.ReplaceAll(strings.TrimSpace(`
{"type":"process","at":1790000000000000000,"service":"shop","pid":7,"op":"start","ppid":6,"runtime":"CPython 3.11.7","program":"uvicorn"}
{"type":"task","at":1790000000000000000,"service":"shop","pid":7,"op":"a"}
{"type":"recorder","at":1790000000000000000,"service":"shop","pid":7,"recording":true,"dropped":3,"hooks":{"asgi":"on","redis":"on"}}
{"type":"recorder","at":1790000000000000000,"service":"shop","pid":7,"dropped":5}
{"type":"process","at":1790000000000000009,"service":"shop","pid":7,"op":"exit"}`), "\t", "")
	if got != want {
		t.Errorf("events:\n%s\nwant:\n%s", got, want)
	}
	st := s.Stats()
	if st.Events != 1 || st.BadFrames != 2 || st.UnknownFrames != 1 || st.Processes != 1 || st.RecorderDropped != 5 || st.Connections != 1 {
		t.Errorf("stats %+v", st)
	}
}

func TestReconnectIsNoNewProcess(t *testing.T) {
	s, sink, dial := start(t)
	dial().hello("start")
	c := dial()
	c.hello("reconnect")
	c.send('S', fmt.Sprintf(`{"at":%d,"dropped":5}`, testAt))
	dial().hello("start") // it did not hear the answer
	dial().hello("fork")
	lines := sink.wait(t, 3)
	if n := strings.Count(strings.Join(lines, "\n"), `"process"`); n != 2 || s.Stats().Processes != 2 {
		t.Errorf("%d process events, stats %+v:\n%s", n, s.Stats(), strings.Join(lines, "\n"))
	}
}

func TestOrders(t *testing.T) {
	s, _, dial := start(t)
	c := dial()
	c.hello("start")
	if n := s.Record(false); n != 1 {
		t.Errorf("%d processes were told", n)
	}
	if kind, o := c.read(); kind != 'O' || o["recording"] != false {
		t.Errorf("order %c %v", kind, o)
	}
	s.SetRate(0.25)
	if kind, o := c.read(); kind != 'O' || o["rate"] != 0.25 {
		t.Errorf("order %c %v", kind, o)
	}
	late := dial()
	late.send('H', helloText("start", "sesame", 1))
	if _, a := late.read(); a["recording"] != false || a["rate"] != 0.25 {
		t.Errorf("a process that came later was answered %v", a)
	}
}

func TestRefusals(t *testing.T) {
	for name, tc := range map[string]struct {
		kind       byte
		hello, why string
	}{
		"wrong token":   {'H', helloText("start", "simsim", 1), "wrong token"},
		"newer wire":    {'H', helloText("start", "sesame", 2), "known: 1"},
		"no hello":      {'B', "x", "must be a hello"},
		"not JSON":      {'H', "hello", "not a JSON object"},
		"unknown op":    {'H', helloText("dance", "sesame", 1), "op start, fork or reconnect"},
		"long hello":    {'H', strings.Repeat("x", MaxHello+1), "must be a hello"},
		"no proc":       {'H', `{"wire":1,"token":"sesame","op":"start"}`, "proc must be"},
		"a text as pid": {'H', `{"wire":1,"token":"sesame","pid":"x"}`, "docs/wire.md"},
	} {
		t.Run(name, func(t *testing.T) {
			s, sink, dial := start(t)
			c := dial()
			c.send(tc.kind, tc.hello)
			kind, a := c.read()
			if text, _ := a["error"].(string); kind != 'A' || a["ok"] != false || !strings.Contains(text, tc.why) {
				t.Errorf("answer %c %v", kind, a)
			}
			if kind, _ := c.read(); kind != 0 {
				t.Error("the connection stays open")
			}
			if s.Stats().Refused != 1 || len(sink.lines) != 0 {
				t.Errorf("stats %+v, events %v", s.Stats(), sink.lines)
			}
		})
	}
}

func TestKeysInClearAreRefused(t *testing.T) {
	said := make(chan string, 4)
	s := NewServer(Options{Token: "sesame", Hashed: true, Refused: func(why string) { said <- why }}, &keep{})
	for keys, ok := range map[string]bool{"hashed": true, "clear": false, "": false} {
		there, here := net.Pipe()
		go (&conn{s: s, nc: there}).serve()
		c := &client{t, here, bufio.NewReader(here)}
		c.send('H', strings.Replace(helloText("start", "sesame", 1), "{", fmt.Sprintf(`{"keys":%q,`, keys), 1))
		if _, a := c.read(); a["ok"] != ok {
			t.Errorf("keys %q: %v", keys, a)
		}
		_ = here.Close()
		if !ok {
			if why := <-said; !strings.Contains(why, "DEMARC_KEYS=hashed") {
				t.Errorf("keys %q: %s", keys, why)
			}
		}
	}
}

func TestFrameTooLarge(t *testing.T) {
	_, _, dial := start(t)
	c := dial()
	c.hello("start")
	if _, err := c.nc.Write([]byte{1, 0, 64, 0, 'B'}); err != nil {
		t.Fatal(err)
	}
	if kind, a := c.read(); kind != 'A' || !strings.Contains(fmt.Sprint(a["error"]), "4194304") {
		t.Errorf("answer %c %v", kind, a)
	}
	if kind, _ := c.read(); kind != 0 {
		t.Error("the connection stays open")
	}
}

func TestLargestFrame(t *testing.T) {
	_, sink, dial := start(t)
	c := dial()
	c.hello("start")
	events := make([]any, 16000)
	for i := range events {
		events[i] = tup{2, testAt, nil, nil, nil, nil, nil, nil, strings.Repeat("x", 200)}
	}
	c.send('B', string(marshal(1, nil, events...)))
	sink.wait(t, 16001)
}

func TestTooManyConnections(t *testing.T) {
	s, _, dial := start(t)
	for range MaxConns {
		dial()
	}
	c := dial()
	if kind, a := c.read(); kind != 'A' || !strings.Contains(fmt.Sprint(a["error"]), "no more are accepted") {
		t.Errorf("answer %c %v", kind, a)
	}
	if s.Stats().Connections != MaxConns {
		t.Errorf("stats %+v", s.Stats())
	}
}

func TestListenReplacesDeadSocket(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Listen("unix:" + path); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Errorf("a living socket was taken: %v", err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	_ = l.Close()
	l, err = Listen("unix:" + path)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
	if _, err := Listen("carrier pigeon"); err == nil {
		t.Error("an address that is none was accepted")
	}
}

// FuzzFrame: whatever comes over a connection after the hello, the server neither panics nor hangs.
func FuzzFrame(f *testing.F) {
	f.Add(frame('B', marshal(1, []string{"a"}, tup{6, testAt, nil, nil, nil, nil, nil, ref(0)})))
	f.Add(frame('S', []byte(`{"at":5,"hooks":{"a":"on"}}`)))
	f.Add(append(frame('X', []byte(`{"at":5}`)), frame('?', []byte("later"))...))
	f.Add([]byte{255, 255, 255, 255, 'B'})
	f.Fuzz(func(t *testing.T, data []byte) {
		s := NewServer(Options{Token: "sesame"}, &keep{})
		there, here := net.Pipe()
		c := &conn{s: s, nc: there}
		go func() {
			go func() { _, _ = io.Copy(io.Discard, here) }()
			_, _ = here.Write(append(frame('H', []byte(helloText("start", "sesame", 1))), data...))
			_ = here.Close()
		}()
		c.serve()
		_ = there.Close()
	})
}

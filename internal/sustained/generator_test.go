package sustained

import (
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// With this variable the test binary, started again, is a service of two processes that sends events for so many
// seconds: from settings as demarc run gives them to a recorder, or from DEMARC_ADDRESS and DEMARC_TOKEN.
const asGenerator = "SUSTAINED_SECONDS"

func TestMain(m *testing.M) {
	if s := os.Getenv(asGenerator); s != "" {
		if err := generate(s); err != nil {
			fmt.Fprintln(os.Stderr, "generator:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	code := m.Run()
	removeBinary()
	os.Exit(code)
}

// rate is how many events a second the generator sends.
const rate = 20_000

func generate(seconds string) error {
	n, err := strconv.Atoi(seconds)
	if err != nil {
		return err
	}
	settings := struct{ Address, Token string }{os.Getenv("DEMARC_ADDRESS"), os.Getenv("DEMARC_TOKEN")}
	if path := os.Getenv("DEMARC_CONFIG"); path != "" {
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := json.Unmarshal(data, &settings); err != nil {
			return err
		}
	}
	var ended atomic.Bool
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGTERM, os.Interrupt)
	go func() { <-signals; ended.Store(true) }()
	sender, err := dial(settings.Address, settings.Token)
	if err != nil {
		return err
	}
	sent, start := 0, time.Now()
	for time.Since(start) < time.Duration(n)*time.Second && !ended.Load() {
		if due := start.Add(time.Duration(sent) * time.Second / rate); time.Until(due) > 0 {
			time.Sleep(time.Until(due))
		}
		n, err := sender.send(recordertest.BatchEvents)
		if err != nil {
			return err
		}
		sent += n
	}
	fmt.Printf("%d events in %.3f seconds\n", sent, time.Since(start).Seconds())
	return sender.close()
}

// processes is how many recorders a sender speaks for.
const processes = 2

// sender sends traffic as it would come now, a connection for each process.
type sender struct {
	traffic *recordertest.Traffic
	frames  [processes]recordertest.Frames
	conns   [processes]net.Conn
	events  []event.Event
	parts   [processes][]event.Event
}

func dial(address, token string) (*sender, error) {
	s := &sender{traffic: recordertest.NewTrafficOf(uint64(time.Now().UnixNano()), processes)}
	kind, where, _ := strings.Cut(address, ":")
	for i := range processes {
		s.frames[i].Proc = recordertest.Proc(i)
		var err error
		if s.conns[i], err = net.Dial(kind, where); err != nil {
			return nil, err
		}
		if _, err = s.conns[i].Write(s.frames[i].Hello(token, "start")); err != nil {
			return nil, err
		}
	}
	return s, nil
}

// send sends the next requests, of n events or a few more, and returns how many events that were.
func (s *sender) send(n int) (int, error) {
	s.traffic.SetNow(time.Now().UnixNano())
	s.events = s.events[:0]
	for len(s.events) < n {
		s.events = s.traffic.Request(s.events)
	}
	for i := range s.parts {
		s.parts[i] = s.parts[i][:0]
	}
	for i := range s.events {
		p := int(s.events[i].Source.Pid) % processes
		s.parts[p] = append(s.parts[p], s.events[i])
	}
	for i, part := range s.parts {
		if len(part) == 0 {
			continue
		}
		if _, err := s.conns[i].Write(s.frames[i].Batch(part)); err != nil {
			return 0, err
		}
	}
	return len(s.events), nil
}

// close ends the connections in order: the collector reads to the end.
func (s *sender) close() error {
	for _, c := range s.conns {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

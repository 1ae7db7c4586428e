package main

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"strconv"

	"github.com/demarc-dev/demarc/bench/measure"
	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/recorder/recordertest"
)

// processes is how many recorders send at the same time.
const processes = 2

// sender is this program again, with its frames made and waiting for the word.
type sender struct {
	cmd *exec.Cmd
	in  io.WriteCloser
}

func startSender(socket string, size int) (*sender, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	s := &sender{cmd: exec.Command(self, "-send", socket, "-events", strconv.Itoa(size))}
	s.cmd.Stderr = os.Stderr
	if s.in, err = s.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	if _, err := bufio.NewReader(out).ReadString('\n'); err != nil {
		return nil, fmt.Errorf("the sender was not ready: %w", s.cmd.Wait())
	}
	return s, nil
}

// send lets the sender go and waits for its end.
func (s *sender) send() error {
	if err := s.in.Close(); err != nil {
		return err
	}
	if err := s.cmd.Wait(); err != nil {
		return fmt.Errorf("the sender: %w", err)
	}
	return nil
}

// sendAll is the sender's side.
func sendAll(socket string, size int) error {
	measure.Pin(1)
	traffic := recordertest.NewTrafficOf(1, processes)
	var frames [processes]recordertest.Frames
	var waiting [processes][]event.Event
	var conns [processes]net.Conn
	for i := range processes {
		frames[i].Proc = recordertest.Proc(i)
		var err error
		if conns[i], err = net.Dial("unix", socket); err != nil {
			return err
		}
		if _, err := conns[i].Write(frames[i].Hello(token, "start")); err != nil {
			return err
		}
	}
	type part struct {
		to   net.Conn
		data []byte
	}
	var parts []part
	flush := func(i int) {
		if len(waiting[i]) > 0 {
			parts = append(parts, part{conns[i], frames[i].Batch(waiting[i])})
			waiting[i] = waiting[i][:0]
		}
	}
	made := 0
	var events []event.Event
	for made < size {
		events = traffic.Request(events[:0])
		events = events[:min(len(events), size-made)]
		made += len(events)
		for i := range events {
			w := int(events[i].Source.Pid) % processes
			if waiting[w] = append(waiting[w], events[i]); len(waiting[w]) == recordertest.BatchEvents {
				flush(w)
			}
		}
	}
	for i := range processes {
		flush(i)
	}
	fmt.Println("ready")
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil { // until the word comes
		return err
	}
	for _, p := range parts {
		if _, err := p.to.Write(p.data); err != nil {
			return err
		}
	}
	for _, c := range conns {
		if err := c.Close(); err != nil {
			return err
		}
	}
	return nil
}

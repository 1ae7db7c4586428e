package main

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strconv"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/mem"

	"github.com/demarc-dev/demarc/bench/measure"
)

// startSender runs this program again as the sender and waits for its end.
func startSender(address string, size int) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.Command(self, "-send", address, "-batches", strconv.Itoa(size))
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("the sender: %w: %s", err, out)
	}
	return nil
}

// sendAll sends size batches, one after the other: the next goes out when the last was answered.
func sendAll(address string, msgs [][]byte, size int) error {
	measure.Pin(1)
	protocol, address, _ := strings.Cut(address, ":")
	send := overHTTP(address)
	if protocol == "grpc" {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()),
			grpc.WithDefaultCallOptions(grpc.ForceCodecV2(bytesCodec{})))
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		send = func(msg []byte) error {
			var answer []byte
			return conn.Invoke(context.Background(), "/opentelemetry.proto.collector.trace.v1.TraceService/Export", msg, &answer)
		}
	}
	for i := range size {
		if err := send(msgs[i%batches]); err != nil {
			return err
		}
	}
	return nil
}

func overHTTP(address string) func([]byte) error {
	return func(msg []byte) error {
		answer, err := http.Post("http://"+address+"/v1/traces", "application/x-protobuf", bytes.NewReader(msg))
		if err != nil {
			return err
		}
		defer func() { _ = answer.Body.Close() }()
		if _, err := io.Copy(io.Discard, answer.Body); err != nil {
			return err
		}
		if answer.StatusCode != http.StatusOK {
			return fmt.Errorf("answered %s", answer.Status)
		}
		return nil
	}
}

// bytesCodec sends messages that are bytes already, so that the sender takes as little of the machine as it can.
type bytesCodec struct{}

func (bytesCodec) Name() string { return "proto" }

func (bytesCodec) Marshal(v any) (mem.BufferSlice, error) {
	return mem.BufferSlice{mem.SliceBuffer(v.([]byte))}, nil
}

func (bytesCodec) Unmarshal(data mem.BufferSlice, v any) error {
	*v.(*[]byte) = data.Materialize()
	return nil
}

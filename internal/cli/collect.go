package cli

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/spf13/cobra"

	"github.com/demarc-dev/demarc/internal/engine"
	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/otlp"
	"github.com/demarc-dev/demarc/internal/recorder"
)

func newCollectCommand() *cobra.Command {
	flags := &observeFlags{}
	var c collecting
	cmd := &cobra.Command{
		Use:     "collect",
		Short:   "Receive from services that are started elsewhere",
		GroupID: groupMore,
		Long: "Receives what recorders send, and spans of OpenTelemetry, from services that demarc has not started itself: in\n" +
			"containers (demarc inject writes what they need) or under another supervisor. It runs until Ctrl-C or SIGTERM.\n" +
			"Everything that comes must bring the token: the one of --token-file, else of the configuration, else one that is\n" +
			"drawn once and kept in the folder of the captures. docs/run.md tells more.",
		Example: "  demarc collect --listen-recorder unix:/run/demarc/s\n" +
			"  demarc collect --listen-recorder tcp:0.0.0.0:7172 --otlp-grpc 127.0.0.1:4317 --otlp-http 127.0.0.1:4318",
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c.flags = flags
			return c.run(cmd)
		},
	}
	flags.add(cmd)
	f := cmd.Flags()
	f.StringArrayVar(&c.recorders, "listen-recorder", []string{"tcp:127.0.0.1:7172"}, "address for recorders, unix:/path or tcp:host:port; may be given again")
	f.StringVar(&c.tokenFile, "token-file", "", "file with the token that recorders and OTLP senders must bring")
	f.StringVar(&c.grpc, "otlp-grpc", "", "address for OTLP over gRPC, such as 127.0.0.1:4317")
	f.StringVar(&c.http, "otlp-http", "", "address for OTLP over HTTP, such as 127.0.0.1:4318")
	return cmd
}

// collecting is one run of demarc collect.
type collecting struct {
	flags     *observeFlags
	recorders []string
	tokenFile string
	grpc      string
	http      string
}

// opened is an address that is listened on.
type opened struct {
	listener net.Listener
	kind     string // recorder, OTLP gRPC, OTLP HTTP
	address  string
}

func (c *collecting) run(cmd *cobra.Command) error {
	o, err := observe(cmd, c.flags, "hashed", "demarc collect --listen 127.0.0.1:0")
	if err != nil {
		return err
	}
	token, where, err := c.token(o)
	if err == nil {
		err = c.serve(cmd.Context(), o, token, where)
	}
	if err != nil {
		o.abandon()
	}
	return err
}

// token returns what senders must bring, and where a person finds it.
func (c *collecting) token(o *observation) (token, where string, err error) {
	path := c.tokenFile
	if path == "" {
		if o.cfg.Security.Token != "auto" {
			return o.token, "as security.token says", nil
		}
		path = filepath.Join(o.flags.dir, "token")
		token, err = recorder.TokenFile(o.op, path, true)
	} else {
		token, err = recorder.TokenFile(o.op, path, false)
	}
	return token, "in " + path, err
}

// listen opens every address; when one cannot be had, it closes the others.
func (c *collecting) listen(o *observation) (list []opened, err error) {
	add := func(l net.Listener, kind, address string, err error) error {
		if err != nil {
			return cannotListen(o.op, address, "a free address for the "+kind, err, o.op+" with another address")
		}
		list = append(list, opened{l, kind, address})
		return nil
	}
	for _, address := range c.recorders {
		l, lerr := recorder.Listen(address)
		err = add(l, "recorder", address, lerr)
		if err != nil {
			break
		}
	}
	for _, a := range []struct{ kind, address string }{{"OTLP gRPC", c.grpc}, {"OTLP HTTP", c.http}} {
		if err == nil && a.address != "" {
			// Every address of this command wants the token.
			l, lerr := otlp.Listen(a.address, "set")
			err = add(l, a.kind, a.address, lerr)
		}
	}
	if err != nil {
		for _, l := range list {
			_ = l.listener.Close()
		}
		return nil, err
	}
	return list, nil
}

func (c *collecting) serve(ctx context.Context, o *observation, token, where string) error {
	hash, err := recorder.Hasher(o.keyFile)
	if err != nil {
		return &fault.Error{Op: o.op, What: "cannot use the hashing key " + o.keyFile, Cause: err, Retry: fault.RetryUseless}
	}
	var sink engine.Sink = o.engine
	spans, err := otlp.NewServer(otlp.Options{Hashed: o.cfg.Privacy.Keys == "hashed", Hash: hash, Token: token}, sink)
	if err != nil {
		return err
	}
	list, err := c.listen(o)
	if err != nil {
		return err
	}
	server := recorder.NewServer(recorder.Options{Token: token, Hashed: o.cfg.Privacy.Keys == "hashed", Refused: o.refused}, sink)
	o.engine.Recorders(server)
	if c.grpc != "" || c.http != "" {
		o.engine.Spans(spans)
	}
	var serving sync.WaitGroup
	for _, l := range list {
		serving.Go(func() {
			var err error
			switch l.kind {
			case "OTLP gRPC":
				err = spans.ServeGRPC(l.listener)
			case "OTLP HTTP":
				err = spans.ServeWeb(l.listener)
			default:
				err = server.Serve(l.listener)
			}
			if err != nil {
				fmt.Fprintf(o.stderr, "%s: %s on %s ended: %v\n", o.op, l.kind, l.address, err)
			}
		})
	}
	var at []string
	for _, l := range list {
		at = append(at, l.kind+" on "+l.address)
	}
	o.announce(" ("+strings.Join(at, ", ")+"; token "+where+")", "sampling as the recorders are told")
	o.startLive()
	<-ctx.Done()
	ending, cancel := context.WithTimeout(context.Background(), grace)
	defer cancel()
	_ = spans.Close(ending)
	server.Close(grace)
	serving.Wait()
	o.finish()
	return nil
}

// absolute returns the path from the root, or as it is where that is not known.
func absolute(path string) string {
	if filepath.IsAbs(path) {
		return path
	}
	wd, err := os.Getwd()
	if err != nil {
		return path
	}
	return filepath.Join(wd, path)
}

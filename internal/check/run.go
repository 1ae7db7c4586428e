package check

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/command"
)

// Of a question to an address.
const (
	DefaultHealthTimeout = 10 * time.Second // for all attempts together
	healthPause          = 500 * time.Millisecond
	maxHealthBody        = 64 << 10 // bytes of an answer that are read
)

// Runner runs checks that ask the world: commands and addresses.
type Runner struct {
	Dir     string                      // where commands run that name no folder, and what relative folders are relative to; empty: demarc's own
	Env     map[string]string           // more variables for every command
	LogDir  string                      // folder for the output of commands, which must be there; empty: only its end is kept
	Output  io.Writer                   // gets the output of commands as it comes; nil: nobody
	Started func(command.Process) error // is called before each command runs; its error fails the check
}

// Run runs one check. The error is that of the context: whatever else goes wrong fails the check. number tells logs of one
// list apart.
func (r Runner) Run(ctx context.Context, c Check, number int) (Result, error) {
	if c.Kind == Health && c.Run == "" {
		return r.health(ctx, c, true)
	}
	return r.command(ctx, c, number)
}

// Ask asks once what a health check names: its command, where it has one, else its address. A command's output is not
// kept, because it may be asked for hours.
func (r Runner) Ask(ctx context.Context, c Check) (Result, error) {
	if c.Run == "" {
		return r.health(ctx, c, false)
	}
	r.LogDir, r.Output = "", nil
	c.Timeout = cmp.Or(c.Timeout, DefaultHealthTimeout)
	return r.command(ctx, c, 0)
}

func (r Runner) command(ctx context.Context, c Check, number int) (Result, error) {
	out := c.result("")
	s := command.Spec{
		Line: c.Run, Dir: r.Dir, Pass: c.Pass, Env: map[string]string{}, Secrets: c.Secrets, Timeout: c.Timeout, Output: r.Output,
		Started: r.Started,
	}
	if c.Dir != "" {
		if s.Dir = c.Dir; !filepath.IsAbs(c.Dir) {
			s.Dir = filepath.Join(r.Dir, c.Dir)
		}
	}
	for _, env := range []map[string]string{r.Env, c.Env} {
		for name, v := range env {
			s.Env[name] = v
		}
	}
	if r.LogDir != "" {
		s.Log = filepath.Join(r.LogDir, fmt.Sprintf("check-%d.log", number))
	}
	res, err := command.Run(ctx, s)
	if err != nil && ctx.Err() != nil {
		return out, ctx.Err()
	}
	out.Verdict = Fail
	if err != nil {
		out.Reason = "it was not run: " + err.Error()
		return out, nil
	}
	if res.OK() {
		out.Verdict = Pass
	}
	out.Exit, out.DurationMS, out.Tail, out.Log = &res.Exit, &res.DurationMS, res.Tail, res.Log
	out.Reason = fmt.Sprintf("%s after %s", res.Outcome(), length(res.DurationMS))
	if res.TimedOut {
		out.Reason = res.Outcome()
	}
	if res.Outlived {
		out.Reason += "; what it left running was ended"
	}
	return out, nil
}

func length(ms int64) string {
	d := time.Duration(ms) * time.Millisecond
	if d >= 10*time.Second {
		return d.Round(time.Second).String()
	}
	return d.Round(10 * time.Millisecond).String()
}

// health asks an address until it answers as expected or the time is over; without retry, once.
func (r Runner) health(ctx context.Context, c Check, retry bool) (Result, error) {
	out := c.result("")
	out.Verdict = Fail
	limited, cancel := context.WithTimeout(ctx, cmp.Or(c.Timeout, DefaultHealthTimeout))
	defer cancel()
	client := &http.Client{
		Transport: &http.Transport{
			Proxy: http.ProxyFromEnvironment, DisableKeepAlives: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12},
			MaxResponseHeaderBytes: 64 << 10,
		},
		// An answer that sends elsewhere, to a login page say, is not what was asked for.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	start := time.Now()
	attempts := 0
	for {
		attempts++
		ok, heard, tail := ask(limited, client, c)
		if err := ctx.Err(); err != nil {
			return out, err
		}
		ms := time.Since(start).Milliseconds()
		// The last attempt may have been cut by the end of the time: what was heard before tells more.
		if ok || limited.Err() == nil || attempts == 1 {
			out.Reason, out.Tail = heard, tail
		}
		out.DurationMS = &ms
		if ok {
			out.Verdict = Pass
		}
		if ok || !retry {
			return out, nil
		}
		select {
		case <-limited.Done():
			if ctx.Err() != nil {
				return out, ctx.Err()
			}
			out.Reason += fmt.Sprintf(" (asked %d times in %s)", attempts, length(time.Since(start).Milliseconds()))
			return out, nil
		case <-time.After(healthPause):
		}
	}
}

// ask asks once, and says what was heard.
func ask(ctx context.Context, client *http.Client, c Check) (ok bool, heard, tail string) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.URL, nil)
	if err != nil {
		return false, err.Error(), ""
	}
	req.Header.Set("User-Agent", "demarc")
	resp, err := client.Do(req)
	if err != nil {
		var ue *url.Error
		if errors.As(err, &ue) {
			err = ue.Err
		}
		if errors.Is(err, context.DeadlineExceeded) {
			return false, "no answer in time", ""
		}
		return false, err.Error(), ""
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxHealthBody))
	heard = "status " + fmt.Sprint(resp.StatusCode)
	ok = c.Status == resp.StatusCode || c.Status == 0 && resp.StatusCode >= 200 && resp.StatusCode < 300
	if err != nil {
		return false, heard + ", but its body broke off", ""
	}
	if !ok {
		if c.Status != 0 {
			heard += fmt.Sprintf(", %d was expected", c.Status)
		}
		if to := resp.Header.Get("Location"); to != "" {
			to, _, _ = strings.Cut(to, "?") // what follows may be a secret
			heard += " to " + plainText(to[:min(len(to), 200)])
		}
		tail = plainText(strings.ToValidUTF8(string(body[:min(len(body), 300)]), "�"))
	}
	return ok, heard, tail
}

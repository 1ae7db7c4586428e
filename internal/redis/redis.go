// Package redis asks a Redis questions: one connection, one command at a time, and no more of the protocol (RESP2) than
// that takes. It is for looking at the caches of a service, not for being one.
//
// Memory: an answer of at most MaxAnswer bytes and MaxElements elements.
package redis

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// Limits of an answer, and of the time that one question takes.
const (
	MaxAnswer   = 4 << 20 // bytes of one answer
	MaxElements = 100_000 // of the arrays in one answer
	maxDepth    = 8       // of arrays in arrays
	Timeout     = 5 * time.Second
)

// Error is an answer that begins with "-": the server understood and refused.
type Error string

func (e Error) Error() string { return string(e) }

// Client is one connection. It must not be used from several goroutines. After an error that is no Error it is of no use.
type Client struct {
	conn net.Conn
	r    *bufio.Reader
	left int // bytes that the answer being read may still take
	many int // elements
}

// Dial connects to redis://[[USER]:PASSWORD@]HOST[:PORT][/DB], rediss://… (TLS) or unix://PATH. No error holds the password.
func Dial(ctx context.Context, address string) (*Client, error) {
	u, err := url.Parse(address)
	if err != nil {
		return nil, errors.New("the address is no URL such as redis://127.0.0.1:6379/0") // the cause would show the password
	}
	network, where := "tcp", u.Host
	switch {
	case u.Scheme == "unix" && u.Path != "":
		network, where = "unix", u.Path
	case (u.Scheme == "redis" || u.Scheme == "rediss") && u.Hostname() != "":
		if u.Port() == "" {
			where = net.JoinHostPort(u.Hostname(), "6379")
		}
	default:
		return nil, errors.New("an address such as redis://127.0.0.1:6379/0, rediss://HOST or unix:///PATH was expected")
	}
	dialer := &net.Dialer{Timeout: Timeout}
	var conn net.Conn
	if u.Scheme == "rediss" {
		conn, err = (&tls.Dialer{NetDialer: dialer, Config: &tls.Config{ServerName: u.Hostname(), MinVersion: tls.VersionTLS12}}).DialContext(ctx, network, where)
	} else {
		conn, err = dialer.DialContext(ctx, network, where)
	}
	if err != nil {
		return nil, err
	}
	c := &Client{conn: conn, r: bufio.NewReader(conn)}
	if password, ok := u.User.Password(); ok {
		auth := []string{"AUTH", u.User.Username(), password}
		if auth[1] == "" {
			auth = []string{"AUTH", password}
		}
		if _, err := c.Do(auth...); err != nil {
			return nil, errors.Join(fmt.Errorf("the server refuses the password: %w", err), c.Close())
		}
	}
	if db := strings.Trim(u.Path, "/"); db != "" && u.Scheme != "unix" {
		if _, err := c.Do("SELECT", db); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// Close closes the connection.
func (c *Client) Close() error { return c.conn.Close() }

// Do sends one command and returns the answer: a string, an int64, nil, or a []any of these.
func (c *Client) Do(args ...string) (any, error) {
	var b strings.Builder
	fmt.Fprintf(&b, "*%d\r\n", len(args))
	for _, a := range args {
		fmt.Fprintf(&b, "$%d\r\n%s\r\n", len(a), a)
	}
	if err := c.conn.SetDeadline(time.Now().Add(Timeout)); err != nil {
		return nil, err
	}
	if _, err := io.WriteString(c.conn, b.String()); err != nil {
		return nil, err
	}
	c.left, c.many = MaxAnswer, MaxElements
	return c.answer(0)
}

var errForm = errors.New("the server does not speak Redis's protocol")

func (c *Client) answer(depth int) (any, error) {
	line, err := c.line()
	if err != nil {
		return nil, err
	}
	if line == "" {
		return nil, errForm
	}
	kind, rest := line[0], line[1:]
	switch kind {
	case '+':
		return rest, nil
	case '-':
		return nil, Error(rest)
	}
	n, err := strconv.ParseInt(rest, 10, 64)
	if err != nil {
		return nil, errForm
	}
	switch {
	case kind == ':':
		return n, nil
	case (kind == '$' || kind == '*') && n == -1:
		return nil, nil
	case kind == '$' && n >= 0:
		if n > int64(c.left) {
			return nil, fmt.Errorf("the answer is longer than %d bytes", MaxAnswer)
		}
		c.left -= int(n)
		data := make([]byte, n+2)
		if _, err := io.ReadFull(c.r, data); err != nil {
			return nil, err
		}
		if data[n] != '\r' || data[n+1] != '\n' {
			return nil, errForm
		}
		return string(data[:n]), nil
	case kind == '*' && n >= 0:
		if c.many -= int(min(n, MaxElements+1)); c.many < 0 || depth >= maxDepth {
			return nil, fmt.Errorf("the answer has more than %d elements", MaxElements)
		}
		list := []any{}
		for range n {
			v, err := c.answer(depth + 1)
			var refused Error
			if errors.As(err, &refused) {
				v, err = refused, nil
			}
			if err != nil {
				return nil, err
			}
			list = append(list, v)
		}
		return list, nil
	}
	return nil, errForm
}

// line reads a line of at most 64 KiB, without its end.
func (c *Client) line() (string, error) {
	var line []byte
	for {
		part, err := c.r.ReadSlice('\n')
		line = append(line, part...)
		if len(line) > 64<<10 {
			return "", errForm
		}
		if errors.Is(err, bufio.ErrBufferFull) {
			continue
		}
		if err != nil {
			return "", err
		}
		text, ok := strings.CutSuffix(string(line), "\r\n")
		if !ok {
			return "", errForm
		}
		return text, nil
	}
}

// Setting returns a setting of the server, such as maxmemory-policy.
func (c *Client) Setting(name string) (string, error) {
	if strings.ContainsAny(name, "*?[]\\ ") || name == "" {
		return "", fmt.Errorf("%q is not the name of one setting", name)
	}
	v, err := c.Do("CONFIG", "GET", name)
	if err != nil {
		return "", err
	}
	pair, ok := v.([]any)
	if !ok {
		return "", errForm
	}
	if len(pair) < 2 {
		return "", fmt.Errorf("the server knows no setting %s", name)
	}
	value, ok := pair[1].(string)
	if !ok {
		return "", errForm
	}
	return value, nil
}

// Keys calls each for at most most keys that match a pattern, each at least once, without holding the server up (SCAN). It
// looks at no more than a million places.
func (c *Client) Keys(pattern string, most int, each func(key string) error) error {
	const batch, places = 1000, 1_000_000
	cursor := "0"
	for round := 0; round < places/batch; round++ {
		v, err := c.Do("SCAN", cursor, "MATCH", pattern, "COUNT", strconv.Itoa(batch))
		if err != nil {
			return err
		}
		pair, ok := v.([]any)
		if !ok || len(pair) != 2 {
			return errForm
		}
		next, ok1 := pair[0].(string)
		keys, ok2 := pair[1].([]any)
		if !ok1 || !ok2 {
			return errForm
		}
		for _, k := range keys {
			key, ok := k.(string)
			if !ok {
				return errForm
			}
			if most--; most < 0 {
				return nil
			}
			if err := each(key); err != nil {
				return err
			}
		}
		if cursor = next; cursor == "0" {
			return nil
		}
	}
	return nil
}

// TTL returns how long a key has still to live. forever: it has no end. gone: there is no such key.
func (c *Client) TTL(key string) (left time.Duration, forever, gone bool, err error) {
	v, err := c.Do("PTTL", key)
	if err != nil {
		return 0, false, false, err
	}
	ms, ok := v.(int64)
	if !ok {
		return 0, false, false, errForm
	}
	return time.Duration(max(ms, 0)) * time.Millisecond, ms == -1, ms == -2, nil
}

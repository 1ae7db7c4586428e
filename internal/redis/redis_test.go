package redis

import (
	"bufio"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"
)

func dial(t *testing.T) *Client {
	t.Helper()
	address := os.Getenv("DEMARC_TEST_REDIS")
	if address == "" {
		t.Fatal("DEMARC_TEST_REDIS is not set: run make test, or scripts/with-servers")
	}
	c, err := Dial(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func TestLive(t *testing.T) {
	c := dial(t)
	t.Cleanup(func() { // only its own: other packages' tests use the database at the same time
		for i := range 2500 {
			if _, err := c.Do("DEL", "redis-test:"+strconv.Itoa(i)); err != nil {
				t.Error(err)
			}
		}
	})
	for i := range 2500 {
		if v, err := c.Do("SET", "redis-test:"+strconv.Itoa(i), "x\r\ny", "EX", "60"); v != "OK" || err != nil {
			t.Fatal(v, err)
		}
	}
	if v, err := c.Do("GET", "redis-test:7"); v != "x\r\ny" || err != nil {
		t.Errorf("GET: %q %v", v, err)
	}
	if v, err := c.Do("GET", "absent"); v != nil || err != nil {
		t.Errorf("GET of nothing: %v %v", v, err)
	}
	if _, err := c.Do("INCR", "redis-test:7"); err == nil || !strings.Contains(err.Error(), "not an integer") {
		t.Errorf("INCR: %v", err)
	}
	if policy, err := c.Setting("maxmemory-policy"); err != nil || policy == "" {
		t.Errorf("policy %q %v", policy, err)
	}
	if _, err := c.Setting("no-such-setting"); err == nil || !strings.Contains(err.Error(), "knows no setting") {
		t.Error(err)
	}
	if _, err := c.Setting("*"); err == nil {
		t.Error("a pattern is no setting")
	}
	seen := map[string]bool{}
	if err := c.Keys("redis-test:*", 5000, func(k string) error { seen[k] = true; return nil }); err != nil || len(seen) != 2500 {
		t.Errorf("%d keys, %v", len(seen), err)
	}
	n := 0
	if err := c.Keys("redis-test:*", 10, func(string) error { n++; return nil }); err != nil || n != 10 {
		t.Errorf("%d keys, %v", n, err)
	}
	if left, forever, gone, err := c.TTL("redis-test:7"); err != nil || forever || gone || left < 50*time.Second || left > time.Minute {
		t.Error(left, forever, gone, err)
	}
	if _, _, gone, err := c.TTL("absent"); err != nil || !gone {
		t.Error(gone, err)
	}
	if _, err := c.Do("PERSIST", "redis-test:7"); err != nil {
		t.Error(err)
	}
	if _, forever, _, err := c.TTL("redis-test:7"); err != nil || !forever {
		t.Error(forever, err)
	}
}

func TestAddresses(t *testing.T) {
	for _, address := range []string{"", "http://127.0.0.1", "redis://", "127.0.0.1:6379", "redis://u:geheim@[::1", "redis://:geheim@127.0.0.1:1/0"} {
		c, err := Dial(t.Context(), address)
		if err == nil {
			c.Close()
			t.Errorf("%q was dialled", address)
		} else if strings.Contains(err.Error(), "geheim") {
			t.Errorf("the error shows the password: %v", err)
		}
	}
}

// FuzzAnswer feeds a client whatever a server may send: no panic, no endless loop, no memory beyond the limits.
func FuzzAnswer(f *testing.F) {
	for _, s := range []string{"+OK\r\n", "-ERR no\r\n", ":12\r\n", "$3\r\na\nb\r\n", "$-1\r\n", "*2\r\n$1\r\n0\r\n*1\r\n:1\r\n", "*-1\r\n",
		"$999999999999\r\n", "*999999999\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n:1\r\n", "", "\r\n", "x\r\n", "$1\r\nabc"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		ours, theirs := net.Pipe()
		defer ours.Close()
		go func() {
			_, _ = bufio.NewReader(theirs).ReadString('\n')
			go func() { _, _ = io.Copy(io.Discard, theirs) }()
			_, _ = theirs.Write(data)
			_ = theirs.Close()
		}()
		c := &Client{conn: ours, r: bufio.NewReader(ours)}
		_, _ = c.Do("PING")
	})
}

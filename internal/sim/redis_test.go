package sim_test

import (
	"bufio"
	"bytes"
	"fmt"
	"math"
	"math/rand/v2"
	"net"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/demarc-dev/demarc/internal/sim"
)

// redisServer is a real Redis under allkeys-lru, on a socket of its own.
type redisServer struct {
	t    *testing.T
	conn net.Conn
	in   *bufio.Reader
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	path, err := exec.LookPath("redis-server")
	if err != nil {
		t.Fatalf("redis-lru is held against a real Redis 7 or later, which is not here: %v", err)
	}
	dir := t.TempDir()
	socket := filepath.Join(dir, "s")
	cmd := exec.Command(path, "--port", "0", "--unixsocket", socket, "--save", "", "--appendonly", "no", "--dir", dir,
		"--maxmemory-policy", "allkeys-lru", "--maxmemory-samples", "5", "--activerehashing", "no")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		_ = cmd.Wait() // killed
	})
	for began := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		conn, err := net.Dial("unix", socket)
		if err == nil {
			t.Cleanup(func() { conn.Close() })
			return &redisServer{t, conn, bufio.NewReader(conn)}
		}
		if time.Since(began) > 30*time.Second {
			t.Fatalf("%v\n%s", err, said.String())
		}
	}
}

// reply reads one: the text of a status, number or string; ok is false for nil.
func (r *redisServer) reply() (text string, ok bool) {
	line, err := r.in.ReadString('\n')
	if err != nil {
		r.t.Fatal(err)
	}
	line = strings.TrimSuffix(line, "\r\n")
	switch line[0] {
	case '-':
		r.t.Fatal(line)
	case '$':
		n, err := strconv.Atoi(line[1:])
		if err != nil || n < 0 {
			return "", false
		}
		data := make([]byte, n+2)
		for read := 0; read < len(data); {
			m, err := r.in.Read(data[read:])
			if err != nil {
				r.t.Fatal(err)
			}
			read += m
		}
		return string(data[:n]), true
	case '_':
		return "", false
	}
	return line[1:], true
}

func command(b *bytes.Buffer, words ...string) {
	fmt.Fprintf(b, "*%d\r\n", len(words))
	for _, w := range words {
		fmt.Fprintf(b, "$%d\r\n%s\r\n", len(w), w)
	}
}

func (r *redisServer) do(words ...string) string {
	var b bytes.Buffer
	command(&b, words...)
	if _, err := r.conn.Write(b.Bytes()); err != nil {
		r.t.Fatal(err)
	}
	text, _ := r.reply()
	return text
}

func (r *redisServer) number(words ...string) int {
	n, err := strconv.Atoi(r.do(words...))
	if err != nil {
		r.t.Fatal(err)
	}
	return n
}

// replay asks for keys, and sets those that are not there, at an even pace over the given time. It returns the misses, when each
// request was answered, and how many keys the server held in the second half.
func (r *redisServer) replay(keys []uint32, takes time.Duration) (misses int64, at []int64, held int) {
	const together = 8 // small, since what the server has received and not worked off counts as its memory
	value := strings.Repeat("v", 900)
	began := time.Now()
	sum, counted := 0, 0
	for i := 0; i < len(keys); i += together {
		part := keys[i:min(i+together, len(keys))]
		time.Sleep(time.Until(began.Add(takes * time.Duration(i) / time.Duration(len(keys)))))
		var b bytes.Buffer
		for _, key := range part {
			// One command that reads, and sets where nothing is: NX with GET.
			command(&b, "SET", fmt.Sprintf("key:%08d", key), value, "NX", "GET")
		}
		if _, err := r.conn.Write(b.Bytes()); err != nil {
			r.t.Fatal(err)
		}
		for range part {
			if _, hit := r.reply(); !hit {
				misses++
			}
			at = append(at, time.Now().UnixNano())
		}
		if i > len(keys)/2 && i/together%50 == 0 {
			sum += r.number("DBSIZE")
			counted++
		}
	}
	return misses, at, sum / counted
}

// TestRedisLRU replays traces through real Redis servers with little memory, and through the policy with as many objects as the
// server held and at the times at which it was asked.
func TestRedisLRU(t *testing.T) {
	const requests = 60_000
	random := rand.New(rand.NewPCG(37, 41))
	zipf := rand.NewZipf(random, 1.02, 20, 39_999)
	traces := map[string][]uint32{}
	for i := range requests {
		traces["zipf"] = append(traces["zipf"], uint32(zipf.Uint64()))
		key := i/4 + random.IntN(6000) // a working set that moves
		if random.IntN(5) == 0 {
			key = 100_000 + random.IntN(30_000)
		}
		traces["moving"] = append(traces["moving"], uint32(key))
	}
	for kind, keys := range traces {
		keys, known := dense(keys)
		for _, megabytes := range []float64{1.5, 3, 6} { // beyond what the empty server takes
			t.Run(fmt.Sprintf("%s in %v MB", kind, megabytes), func(t *testing.T) {
				t.Parallel()
				r := startRedis(t)
				var used int
				for _, line := range strings.Split(r.do("INFO", "memory"), "\r\n") {
					if text, ok := strings.CutPrefix(line, "used_memory:"); ok {
						used, _ = strconv.Atoi(text)
					}
				}
				r.do("CONFIG", "SET", "maxmemory", strconv.Itoa(used+int(megabytes*1e6)))
				misses, at, held := r.replay(keys, 8*time.Second)
				def, err := sim.Find("redis-lru")
				if err != nil {
					t.Fatal(err)
				}
				p := def.New(held, sim.Options{})
				p.Add(sim.Block{Keys: keys, At: at, Known: known})
				real, simulated := float64(misses)/requests, float64(p.Misses())/requests
				lru, err := sim.Find("lru")
				if err != nil {
					t.Fatal(err)
				}
				exact := lru.New(held, sim.Options{})
				exact.Add(sim.Block{Keys: keys, Known: known})
				t.Logf("%d keys held: Redis misses %.4f, redis-lru %.4f, exact LRU %.4f", held, real, simulated, float64(exact.Misses())/requests)
				if math.Abs(real-simulated) > 0.005 {
					t.Errorf("Redis misses %.4f of the requests with %d keys held, redis-lru %.4f", real, held, simulated)
				}
				if held < 500 || held > known*3/4 {
					t.Errorf("%d keys held of %d: this compares nothing", held, known)
				}
			})
		}
	}
}

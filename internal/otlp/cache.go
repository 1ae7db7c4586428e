package otlp

import (
	"strconv"
	"strings"

	"github.com/demarc-dev/demarc/event"
)

// command says what a command of Redis does to keys.
type command struct {
	op    string
	keys  keyShape
	scale int64 // milliseconds in one unit of the lifetime that stands after the key, 0 for none
}

type keyShape uint8

const (
	oneKey   keyShape = iota
	allKeys           // every argument is a key
	pairKeys          // every second argument is a key, the others are values
	noKeys            // the whole store
)

// commands are those that say something of a cache; all others (scripts, subscriptions, EXISTS and TTL, which read no
// value) become no event. A change of a part of a value (HSET, SADD, INCR) is a set of its key, reading a part a get.
func commandNamed(name string) (command, bool) {
	switch name {
	case "GET", "GETRANGE", "STRLEN", "HGET", "HMGET", "HGETALL", "HVALS", "HKEYS", "HLEN", "HEXISTS", "LRANGE", "LINDEX",
		"LLEN", "SMEMBERS", "SISMEMBER", "SMISMEMBER", "SCARD", "ZRANGE", "ZREVRANGE", "ZRANGEBYSCORE", "ZREVRANGEBYSCORE",
		"ZSCORE", "ZCARD", "ZRANK", "GETBIT", "BITCOUNT", "GETS":
		return command{op: "get"}, true
	case "MGET", "GET_MANY", "GET_MULTI", "GETS_MANY":
		return command{op: "get", keys: allKeys}, true
	case "SET", "SETNX", "GETSET", "APPEND", "SETRANGE", "INCR", "INCRBY", "INCRBYFLOAT", "DECR", "DECRBY", "HSET", "HMSET",
		"HSETNX", "HDEL", "HINCRBY", "HINCRBYFLOAT", "LPUSH", "RPUSH", "LPUSHX", "RPUSHX", "LPOP", "RPOP", "LSET", "LTRIM",
		"LREM", "SADD", "SREM", "SPOP", "ZADD", "ZREM", "ZINCRBY", "SETBIT", "RESTORE", "ADD", "REPLACE", "PREPEND", "CAS":
		return command{op: "set"}, true
	case "SETEX":
		return command{op: "set", scale: 1000}, true
	case "PSETEX":
		return command{op: "set", scale: 1}, true
	case "MSET", "MSETNX":
		return command{op: "set", keys: pairKeys}, true
	case "DEL", "UNLINK", "DELETE", "DELETE_MANY", "DELETE_MULTI":
		return command{op: "delete", keys: allKeys}, true
	case "GETDEL":
		return command{op: "delete"}, true
	case "EXPIRE", "GETEX", "TOUCH":
		if name == "GETEX" {
			return command{op: "get"}, true
		}
		return command{op: "expire", scale: 1000}, true
	case "PEXPIRE":
		return command{op: "expire", scale: 1}, true
	case "EXPIREAT", "PEXPIREAT", "PERSIST":
		return command{op: "expire"}, true
	case "FLUSHDB", "FLUSHALL", "FLUSH_ALL":
		return command{op: "clear", keys: noKeys}, true
	}
	return command{}, false
}

// maxCommands is how many commands of one pipeline, and keys of one command, become events; what lies beyond is counted
// in Counts.Cut.
const maxCommands = 256

// cache makes the events of a span to Redis or Memcached. Their instrumentations write the command with "?" for its
// arguments, or, where they are told to, as it was: then the key is known, never a value.
func (b *batch) cache(n *node, system string) {
	s := &b.span
	a := &s.attrs
	text := a.text(dbText)
	if text == "" {
		text = a.text(dbOperation)
	}
	store := system
	if index := a.label(dbIndex); index != "" {
		store = b.seen.get(system, index, func(system, index string) string { return system + "/" + index })
	}
	failure, place := s.failure(false), b.code()
	// A line end may also lie inside a value: only the span's own count says that lines are commands.
	lines := 1
	if length, ok := a.number(pipelineLength); ok && length > 1 && int64(strings.Count(text, "\n")) == length-1 {
		lines = int(length)
	}
	if lines == 1 {
		b.command(n, store, text, failure, place)
		return
	}
	for i := range lines {
		line, rest, _ := strings.Cut(text, "\n")
		if text = rest; i >= maxCommands {
			b.counts.Cut++
			continue
		}
		b.command(n, store, line, failure, place)
	}
}

func (b *batch) command(n *node, store, text, failure, place string) {
	name, args, _ := strings.Cut(text, " ")
	cmd, ok := commandNamed(name)
	if !ok {
		if cmd, ok = commandNamed(strings.ToUpper(name)); !ok {
			return
		}
	}
	args = strings.TrimSpace(args)
	first, after, _ := strings.Cut(args, " ")
	one := func(key string, count int64) *event.Cache {
		e := b.event(n, event.TypeCache)
		c := b.caches.next()
		e.Cache = c
		c.Op, c.Layer, c.Store, c.Error, c.Code = cmd.op, "shared", store, failure, place
		if key != "" && key != "?" {
			c.Key = b.seen.get("key", key, b.key)
		}
		if count > 1 {
			c.Count = event.Some(count)
		}
		return c
	}
	switch {
	case cmd.keys == noKeys:
		one("", 0)
	case args == "" || first == "?":
		count := int64(1)
		switch cmd.keys {
		case allKeys:
			count = int64(strings.Count(args, " ")) + 1
		case pairKeys:
			count = (int64(strings.Count(args, " ")) + 1) / 2
		}
		one("", count)
	case cmd.keys == allKeys:
		for i := 0; args != ""; i++ {
			if first, args, _ = strings.Cut(args, " "); first == "" {
				continue
			}
			if i >= maxCommands {
				b.counts.Cut++
				continue
			}
			one(first, 0)
		}
	case cmd.keys == pairKeys:
		// A value may hold blanks, so that only the first argument is surely a key.
		one(first, 0)
		if strings.Count(args, " ") > 1 {
			one("", 0)
		}
	default:
		c := one(first, 0)
		if cmd.scale > 0 {
			number, _, _ := strings.Cut(after, " ")
			if ttl, err := strconv.ParseInt(number, 10, 64); err == nil && ttl >= 0 && ttl < 1<<40 {
				c.TTLMs = event.Some(ttl * cmd.scale)
			}
		} else if cmd.op == "set" && (name == "SET" || name == "set") {
			c.TTLMs = setTTL(after)
		}
	}
}

// setTTL reads the lifetime of "SET key value EX 60", from what follows the key: only where value, EX and the number are
// all that there is, because a value may hold blanks.
func setTTL(args string) event.Opt[int64] {
	words := strings.Fields(args)
	if len(words) != 3 {
		return event.Opt[int64]{}
	}
	ttl, err := strconv.ParseInt(words[2], 10, 64)
	if err != nil || ttl < 0 || ttl >= 1<<40 {
		return event.Opt[int64]{}
	}
	switch strings.ToUpper(words[1]) {
	case "EX":
		return event.Some(ttl * 1000)
	case "PX":
		return event.Some(ttl)
	}
	return event.Opt[int64]{}
}

package change

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/command"
	"github.com/demarc-dev/demarc/internal/redis"
)

// ttlOf begins a setting of Redis that is about the lifetimes of the keys which match a pattern: "ttl article:*".
const ttlOf = "ttl "

// Of the lifetimes of keys.
const (
	sampledKeys = 1000 // keys of a pattern whose lifetime is asked
	fewKeys     = 20   // with fewer, the longest rest of a lifetime says little of the lifetime
	tolerance   = 0.1  // share by which the longest rests may differ
)

// redisOf asks the live Redis of an environment.
func redisOf(ctx context.Context, e *Environment, setting string) side {
	c, err := dialRedis(ctx, e)
	if err != nil {
		return side{err: err}
	}
	defer c.Close()
	pattern, ok := strings.CutPrefix(setting, ttlOf)
	if ok {
		return lifetimes(c, strings.TrimSpace(pattern))
	}
	v, err := c.Setting(setting)
	return side{value: v, err: err}
}

func dialRedis(ctx context.Context, e *Environment) (*redis.Client, error) {
	address := e.Redis
	switch {
	case address == "":
		return nil, errors.New("the record names no redis: of this environment")
	case strings.HasPrefix(address, "env:"), strings.HasPrefix(address, "file:"):
		var err error
		if address, err = command.ReadSecret("", address); err != nil {
			return nil, err
		}
	}
	return redis.Dial(ctx, address)
}

// lifetimes tells the longest rest of a lifetime among the keys of a pattern, which comes near to the lifetime itself once
// there are enough of them, and how many live forever.
func lifetimes(c *redis.Client, pattern string) side {
	var longest time.Duration
	keys, forever := 0, 0
	err := c.Keys(pattern, sampledKeys, func(key string) error {
		left, always, gone, err := c.TTL(key)
		if err != nil || gone {
			return err
		}
		keys++
		if always {
			forever++
		}
		longest = max(longest, left)
		return nil
	})
	if err != nil {
		return side{err: err}
	}
	a := side{longest: longest, forever: share(forever, keys)}
	a.value = fmt.Sprintf("%d keys, longest rest %s, %s without a lifetime", keys, longest.Round(time.Second), a.forever)
	if keys < fewKeys {
		a.doubt = fmt.Sprintf("%d keys match %s, fewer than %d", keys, pattern, fewKeys)
	}
	return a
}

// share is none, some or all: what a count of keys says of how they are written.
func share(n, of int) string {
	switch n {
	case 0:
		return "none"
	case of:
		return "all"
	}
	return "some"
}

// alike compares two answers of lifetimes, which are never the same to the second.
func alike(a, b side) bool {
	far := float64(max(a.longest, b.longest) - min(a.longest, b.longest))
	return a.forever == b.forever && far <= tolerance*float64(max(a.longest, b.longest))
}

// setRedis changes a setting of the live Redis. It lasts until that server starts anew with its own configuration.
func setRedis(ctx context.Context, e *Environment, name, value string) error {
	c, err := dialRedis(ctx, e)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = c.Do("CONFIG", "SET", name, value)
	return err
}

package forecast

import (
	"fmt"
	"strings"
	"time"
)

// reuseTTLs are the lifetimes that are spoken of where there is no forecast.
var reuseTTLs = [...]struct {
	ttl  time.Duration
	text string
}{{10 * time.Second, "10 s"}, {time.Minute, "1 min"}, {time.Hour, "1 h"}}

// reuse says of a response for which there is no forecast what requests alone tell: how often one address, with all its parameters,
// was asked for again within a lifetime, and how large the answers to all of them were. It says nothing of whether a stored answer would have been right.
// "" where nothing can be said.
func (l *log) reuse(c *candidate) string {
	if c.level != response || len(c.units) < 2 || l.apart != "" {
		return ""
	}
	type entry struct {
		until [len(reuseTTLs)]int64
		bytes int32
	}
	entries := map[uint64]*entry{}
	var hits [len(reuseTTLs)]int64
	for _, i := range c.units {
		u := &l.units[i]
		key := uint64(0)
		for _, in := range l.inputs[u.own.from:u.own.to] {
			key = mix(mix(key, uint64(in.name)), in.hash)
		}
		e := entries[key]
		if e == nil {
			e = &entry{}
			entries[key] = e
		}
		e.bytes = max(e.bytes, u.bytes)
		for t := range reuseTTLs {
			if u.at < e.until[t] {
				hits[t]++
			} else {
				e.until[t] = u.end + int64(reuseTTLs[t].ttl)
			}
		}
	}
	var bytes int64
	for _, e := range entries {
		bytes += int64(e.bytes)
	}
	var shares []string
	for t := range reuseTTLs {
		shares = append(shares, share(hits[t], int64(len(c.units)))+" at "+reuseTTLs[t].text)
	}
	text := fmt.Sprintf("; reuse by address, right or not: %s (%d requests, %d addresses", strings.Join(shares, ", "), len(c.units), len(entries))
	if bytes > 0 {
		text += fmt.Sprintf(", %d bytes", bytes)
	}
	return text + ")"
}

package event

import (
	"encoding/json"
	"math"
	"strconv"
	"unicode/utf8"
)

// AppendJSON appends the event as one JSON object without a line end. Fields come in a fixed order: type, common
// fields, the type's fields, then what was not known to this version.
//
// It is written out field by field, because an export and a generator of traffic spend most of their time here; a test
// holds it against the tags of the structs, for every field of every type.
func AppendJSON(dst []byte, e *Event) []byte {
	name := e.Type.String()
	if e.Type == Other {
		name = e.TypeName
	}
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, name)
	dst = putNumber(dst, `,"at":`, e.At)
	dst = putCount(dst, `,"dur":`, e.Dur)
	dst = putText(dst, `,"trace":`, e.Trace)
	dst = putText(dst, `,"span":`, e.Span)
	dst = putText(dst, `,"parent":`, e.Parent)
	dst = putUnsigned(dst, `,"seq":`, e.Seq)
	if s := e.Source; s != nil {
		dst = putText(dst, `,"service":`, s.Service)
		dst = putText(dst, `,"version":`, s.Version)
		dst = putText(dst, `,"version_from":`, s.VersionFrom)
		dst = putText(dst, `,"host":`, s.Host)
		dst = putNumber(dst, `,"pid":`, s.Pid)
	}
	dst = appendBody(dst, e)
	if e.Extra != "" {
		dst = append(dst, ',')
		dst = append(dst, e.Extra...)
	}
	return append(dst, '}')
}

// appendBody appends the fields of the event's own type.
func appendBody(dst []byte, e *Event) []byte {
	switch {
	case e.Type == TypeRequest && e.Request != nil:
		r := e.Request
		dst = putText(dst, `,"kind":`, r.Kind)
		dst = putText(dst, `,"method":`, r.Method)
		dst = putText(dst, `,"route":`, r.Route)
		dst = putText(dst, `,"target":`, r.Target)
		dst = putNumber(dst, `,"status":`, r.Status)
		dst = putText(dst, `,"error":`, r.Error)
		dst = putText(dst, `,"principal":`, r.Principal)
		dst = putNamed(dst, `,"vary":`, r.Vary)
		dst = putHash(dst, `,"body_hash":`, r.BodyHash)
		dst = putText(dst, `,"body_hash_none":`, r.BodyHashNone)
		dst = putCount(dst, `,"body_bytes":`, r.BodyBytes)
		dst = putCount(dst, `,"request_bytes":`, r.RequestBytes)
		dst = putPairs(dst, `,"headers":`, r.Headers)
		dst = putText(dst, `,"test":`, r.Test)
		dst = putCount(dst, `,"first_byte_dur":`, r.FirstByteDur)
		dst = putYes(dst, `,"disconnected":`, r.Disconnected)
		dst = putYes(dst, `,"request_cookie":`, r.RequestCookie)
	case e.Type == TypeQuery && e.Query != nil:
		q := e.Query
		dst = putText(dst, `,"db":`, q.DB)
		dst = putText(dst, `,"text":`, q.Text)
		dst = putHashes(dst, `,"params":`, q.Params)
		dst = putTexts(dst, `,"param_names":`, q.ParamNames)
		dst = putCount(dst, `,"rows":`, q.Rows)
		dst = putHashes(dst, `,"pks":`, q.PKs)
		dst = putHash(dst, `,"result_hash":`, q.ResultHash)
		dst = putText(dst, `,"txn":`, q.Txn)
		dst = putText(dst, `,"role":`, q.Role)
		dst = putCount(dst, `,"many":`, q.Many)
		dst = putText(dst, `,"error":`, q.Error)
		dst = putText(dst, `,"code":`, q.Code)
	case e.Type == TypeTxn && e.Txn != nil:
		t := e.Txn
		dst = putText(dst, `,"op":`, t.Op)
		dst = putText(dst, `,"db":`, t.DB)
		dst = putText(dst, `,"txn":`, t.Txn)
		dst = putUnsigned(dst, `,"xid":`, t.Xid)
		dst = putUnsigned(dst, `,"lsn":`, t.Lsn)
		dst = putText(dst, `,"isolation":`, t.Isolation)
		dst = putText(dst, `,"error":`, t.Error)
	case e.Type == TypeCache && e.Cache != nil:
		c := e.Cache
		dst = putText(dst, `,"op":`, c.Op)
		dst = putText(dst, `,"layer":`, c.Layer)
		dst = putText(dst, `,"store":`, c.Store)
		dst = putText(dst, `,"key":`, c.Key)
		dst = putPairs(dst, `,"key_parts":`, c.KeyParts)
		dst = putYes(dst, `,"hit":`, c.Hit)
		dst = putHash(dst, `,"value_hash":`, c.ValueHash)
		dst = putText(dst, `,"value_form":`, c.ValueForm)
		dst = putText(dst, `,"value_kind":`, c.ValueKind)
		dst = putCount(dst, `,"bytes":`, c.Bytes)
		dst = putCount(dst, `,"ttl_ms":`, c.TTLMs)
		dst = putCount(dst, `,"ttl_effective_ms":`, c.TTLEffectiveMs)
		dst = putTexts(dst, `,"tags":`, c.Tags)
		dst = putText(dst, `,"tag":`, c.Tag)
		dst = putText(dst, `,"pattern":`, c.Pattern)
		dst = putCount(dst, `,"removed":`, c.Removed)
		dst = putCount(dst, `,"count":`, c.Count)
		dst = putText(dst, `,"error":`, c.Error)
		dst = putText(dst, `,"txn":`, c.Txn)
		dst = putNumber(dst, `,"fill_start":`, c.FillStart)
		dst = putText(dst, `,"code":`, c.Code)
	case e.Type == TypeCall && e.Call != nil:
		c := e.Call
		dst = putText(dst, `,"code":`, c.Code)
		dst = putHash(dst, `,"args_hash":`, c.ArgsHash)
		dst = putNamed(dst, `,"args":`, c.Args)
		dst = putText(dst, `,"principal":`, c.Principal)
		dst = putHash(dst, `,"result_hash":`, c.ResultHash)
		dst = putCount(dst, `,"bytes":`, c.Bytes)
		dst = putText(dst, `,"error":`, c.Error)
	case e.Type == TypeTask && e.Task != nil:
		t := e.Task
		dst = putText(dst, `,"op":`, t.Op)
		dst = putText(dst, `,"id":`, t.ID)
		dst = putText(dst, `,"name":`, t.Name)
		dst = putText(dst, `,"queue":`, t.Queue)
		dst = putText(dst, `,"error":`, t.Error)
	case e.Type == TypeProcess && e.Process != nil:
		p := e.Process
		dst = putText(dst, `,"op":`, p.Op)
		dst = putNumber(dst, `,"ppid":`, p.Ppid)
		dst = putText(dst, `,"runtime":`, p.Runtime)
		dst = putText(dst, `,"program":`, p.Program)
	case e.Type == TypeChange && e.Change != nil:
		c := e.Change
		dst = putText(dst, `,"db":`, c.DB)
		dst = putUnsigned(dst, `,"lsn":`, c.Lsn)
		dst = putUnsigned(dst, `,"xid":`, c.Xid)
		dst = putText(dst, `,"table":`, c.Table)
		dst = putText(dst, `,"op":`, c.Op)
		dst = putHashes(dst, `,"pk":`, c.PK)
		dst = putTexts(dst, `,"columns":`, c.Columns)
		dst = putText(dst, `,"origin":`, c.Origin)
	case e.Type == TypeMark && e.Mark != nil:
		dst = putText(dst, `,"name":`, e.Mark.Name)
		dst = putText(dst, `,"text":`, e.Mark.Text)
	case e.Type == TypeRecorder && e.Recorder != nil:
		r := e.Recorder
		dst = putYes(dst, `,"recording":`, r.Recording)
		dst = putCount(dst, `,"dropped":`, r.Dropped)
		dst = putCount(dst, `,"sampled":`, r.Sampled)
		dst = putFloat(dst, `,"rate":`, r.Rate)
		dst = putPairs(dst, `,"hooks":`, r.Hooks)
		dst = putCounts(dst, `,"failures":`, r.Failures)
		dst = putCount(dst, `,"cost_ns":`, r.CostNs)
	}
	return dst
}

// The functions below append one member, name first, unless its value says nothing.

func putText(dst []byte, name, v string) []byte {
	if v == "" {
		return dst
	}
	return appendString(append(dst, name...), v)
}

func putNumber(dst []byte, name string, v int64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendInt(append(dst, name...), v, 10)
}

func putUnsigned(dst []byte, name string, v uint64) []byte {
	if v == 0 {
		return dst
	}
	return strconv.AppendUint(append(dst, name...), v, 10)
}

// An Opt that is not known may hold a value all the same; it is then told as one that is, as it always was.
func putCount(dst []byte, name string, v Opt[int64]) []byte {
	if v == (Opt[int64]{}) {
		return dst
	}
	return strconv.AppendInt(append(dst, name...), v.V, 10)
}

func putYes(dst []byte, name string, v Opt[bool]) []byte {
	if v == (Opt[bool]{}) {
		return dst
	}
	return strconv.AppendBool(append(dst, name...), v.V)
}

func putFloat(dst []byte, name string, v Opt[float64]) []byte {
	if v == (Opt[float64]{}) {
		return dst
	}
	dst = append(dst, name...)
	if math.IsNaN(v.V) || math.IsInf(v.V, 0) {
		return append(dst, "null"...)
	}
	return strconv.AppendFloat(dst, v.V, 'g', -1, 64)
}

func putHash(dst []byte, name string, h Hash) []byte {
	if h == 0 {
		return dst
	}
	return appendHash(append(dst, name...), h)
}

func putHashes(dst []byte, name string, list []Hash) []byte {
	if list == nil {
		return dst
	}
	dst = append(append(dst, name...), '[')
	for i, h := range list {
		dst = appendHash(comma(dst, i), h)
	}
	return append(dst, ']')
}

func putTexts(dst []byte, name string, list []string) []byte {
	if list == nil {
		return dst
	}
	dst = append(append(dst, name...), '[')
	for i, s := range list {
		dst = appendString(comma(dst, i), s)
	}
	return append(dst, ']')
}

func putNamed(dst []byte, name string, list []NamedHash) []byte {
	if list == nil {
		return dst
	}
	dst = append(append(dst, name...), '{')
	for i := range list {
		dst = append(appendString(comma(dst, i), list[i].Name), ':')
		dst = appendHash(dst, list[i].Hash)
	}
	return append(dst, '}')
}

func putPairs(dst []byte, name string, list []Pair) []byte {
	if list == nil {
		return dst
	}
	dst = append(append(dst, name...), '{')
	for i := range list {
		p := &list[i]
		dst = append(appendString(comma(dst, i), p.Name), ':')
		if p.Name == "set-cookie" && p.Value == "true" {
			dst = append(dst, "true"...)
		} else {
			dst = appendString(dst, p.Value)
		}
	}
	return append(dst, '}')
}

func putCounts(dst []byte, name string, list []Count) []byte {
	if list == nil {
		return dst
	}
	dst = append(append(dst, name...), '{')
	for i := range list {
		dst = append(appendString(comma(dst, i), list[i].Name), ':')
		dst = strconv.AppendInt(dst, list[i].N, 10)
	}
	return append(dst, '}')
}

func comma(dst []byte, i int) []byte {
	if i > 0 {
		return append(dst, ',')
	}
	return dst
}

func appendHash(dst []byte, h Hash) []byte {
	if h == 0 {
		return append(dst, "null"...)
	}
	var b [18]byte
	b[0], b[17] = '"', '"'
	for i := 8; i > 0; i-- {
		b[2*i-1], b[2*i] = hexDigits[h>>4&15], hexDigits[h&15]
		h >>= 8
	}
	return append(dst, b[:]...)
}

func appendString(dst []byte, s string) []byte {
	if asIs(s) {
		dst = append(dst, '"')
		dst = append(dst, s...)
		return append(dst, '"')
	}
	b, err := json.Marshal(s)
	if err != nil { // a string always marshals
		panic(err)
	}
	return append(dst, b...)
}

// asIs says whether a text stands in JSON as it is: without control characters, quotes, backslashes and bytes beyond ASCII.
// It looks at eight bytes at a time: a byte of v - ones*n has its highest bit set, and had it not before, only where the byte
// was below n or a lower one was.
func asIs(s string) bool {
	const ones, highs = 0x0101010101010101, 0x8080808080808080
	for ; len(s) >= 8; s = s[8:] {
		v := uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 |
			uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
		quote, slash := v^ones*'"', v^ones*'\\'
		if (v|(v-ones*0x20)&^v|(quote-ones)&^quote|(slash-ones)&^slash)&highs != 0 {
			return false
		}
	}
	for i := range len(s) {
		if c := s[i]; c < 0x20 || c == '"' || c == '\\' || c >= utf8.RuneSelf {
			return false
		}
	}
	return true
}

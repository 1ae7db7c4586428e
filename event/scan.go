package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
)

// The functions here take JSON apart without building a tree. encoding/json says first whether a line is valid, so that
// they only need to find where its parts end.

// member is a name with its value as written.
type member struct {
	name string
	raw  json.RawMessage
}

// members splits a JSON object into its names and raw values, in order; a name that comes twice keeps its last value.
func members(line []byte) ([]member, error) {
	trimmed := bytes.TrimSpace(line)
	if len(trimmed) == 0 || trimmed[0] != '{' {
		return nil, errors.New("not a JSON object")
	}
	if !json.Valid(trimmed) {
		var all json.RawMessage
		return nil, fmt.Errorf("not a JSON object: %w", json.Unmarshal(trimmed, &all))
	}
	return splitObject(trimmed), nil
}

// splitObject returns the members of an object that is known to be valid JSON.
func splitObject(b []byte) []member {
	list := make([]member, 0, 16)
	i := skipSpace(b, 1)
	for b[i] != '}' {
		nameEnd := skipValue(b, i)
		name := text(b[i:nameEnd])
		i = skipSpace(b, nameEnd)
		i = skipSpace(b, i+1) // the colon
		end := skipValue(b, i)
		list = append(list, member{name, b[i:end:end]})
		if i = skipSpace(b, end); b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	return lastOfEach(list)
}

// splitArray returns the elements of an array that is known to be valid JSON.
func splitArray(b []byte) []json.RawMessage {
	var list []json.RawMessage
	i := skipSpace(b, 1)
	for b[i] != ']' {
		end := skipValue(b, i)
		list = append(list, b[i:end:end])
		if i = skipSpace(b, end); b[i] == ',' {
			i = skipSpace(b, i+1)
		}
	}
	return list
}

// lastOfEach leaves out members whose name comes again.
func lastOfEach(list []member) []member {
	if len(list) > 32 {
		last := make(map[string]int, len(list))
		for i, m := range list {
			last[m.name] = i
		}
		if len(last) == len(list) {
			return list
		}
		kept := list[:0]
		for i, m := range list {
			if last[m.name] == i {
				kept = append(kept, m)
			}
		}
		return kept
	}
	kept := list[:0]
next:
	for i, m := range list {
		for _, later := range list[i+1:] {
			if later.name == m.name {
				continue next
			}
		}
		kept = append(kept, m)
	}
	return kept
}

func skipSpace(b []byte, i int) int {
	for b[i] == ' ' || b[i] == '\t' || b[i] == '\n' || b[i] == '\r' {
		i++
	}
	return i
}

// skipValue returns where the value that begins at i ends.
func skipValue(b []byte, i int) int {
	depth := 0
	for {
		switch b[i] {
		case '"':
			i = skipString(b, i)
		case '{', '[':
			depth++
			i++
			continue
		case '}', ']':
			depth--
			i++
		case ',', ':', ' ', '\t', '\n', '\r': // inside an object or array
			i++
			continue
		default:
			for i < len(b) && !delimiter[b[i]] {
				i++
			}
		}
		if depth == 0 {
			return i
		}
	}
}

// delimiter holds the bytes that end a number or a literal.
var delimiter = [256]bool{',': true, ':': true, '}': true, ']': true, ' ': true, '\t': true, '\n': true, '\r': true}

func skipString(b []byte, i int) int {
	for i++; b[i] != '"'; i++ {
		if b[i] == '\\' {
			i++
		}
	}
	return i + 1
}

// text returns the value of a string that is known to be valid JSON.
func text(raw []byte) string {
	if bytes.IndexByte(raw, '\\') < 0 {
		return string(raw[1 : len(raw)-1])
	}
	var s string
	if err := json.Unmarshal(raw, &s); err != nil { // a valid one always unmarshals
		panic(err)
	}
	return s
}

func parseText(p *string, raw []byte) error {
	if raw[0] == '"' {
		*p = text(raw)
		return nil
	}
	return json.Unmarshal(raw, p)
}

func parseTexts(p *[]string, raw []byte) error {
	if raw[0] != '[' {
		return json.Unmarshal(raw, p)
	}
	list := splitArray(raw)
	*p = make([]string, len(list))
	for i, r := range list {
		if string(r) == "null" {
			continue
		}
		if err := parseText(&(*p)[i], r); err != nil {
			return err
		}
	}
	return nil
}

package event

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

// Limits of one event in JSON.
const (
	// MaxLine is the greatest length of one JSON line, in bytes.
	MaxLine = 8 << 20
	// MaxID is the greatest length of trace, span, parent and txn, in bytes.
	MaxID = 64
)

// A field of the vocabulary: where it lies in Event (index path through the typed pointer) and what it is called.
type field struct {
	name  string
	index []int
}

// eventFields are the fields that every type has; bodyFields those of one type; bodyIndex is the typed pointer of the
// type in Event. Built once from the struct tags, so that a field is declared in one place.
var (
	eventFields  []field
	sourceFields []field
	bodyFields   [numTypes]map[string]field
	bodyOrder    [numTypes][]field
	bodyIndex    [numTypes]int
	commonByName map[string]field
	sourceByName map[string]field
)

func init() {
	et := reflect.TypeFor[Event]()
	commonByName, eventFields = taggedFields(et)
	sourceByName, sourceFields = taggedFields(reflect.TypeFor[Source]())
	for t := TypeRequest; t < numTypes; t++ {
		name := typeNames[t]
		f, ok := et.FieldByName(strings.ToUpper(name[:1]) + name[1:])
		if !ok {
			panic("event: no field for type " + name)
		}
		bodyIndex[t] = f.Index[0]
		bodyFields[t], bodyOrder[t] = taggedFields(f.Type.Elem())
	}
}

func taggedFields(t reflect.Type) (map[string]field, []field) {
	byName := map[string]field{}
	var order []field
	for i := range t.NumField() {
		sf := t.Field(i)
		if name := sf.Tag.Get("event"); name != "" {
			f := field{name, sf.Index}
			byName[name] = f
			order = append(order, f)
		}
	}
	return byName, order
}

// FieldNames returns the JSON names of the fields that events of a type have beside the common ones, in their order
// of declaration. For Other it returns the common ones.
func FieldNames(t Type) []string {
	list := append(append([]field{}, eventFields...), sourceFields...)
	if t != Other {
		list = bodyOrder[t]
	}
	names := make([]string, len(list))
	for i, f := range list {
		names[i] = f.name
	}
	return names
}

// ParseJSON reads one event from one JSON object. Unknown fields and types are kept in the event, a known field that
// has another type than it should is an error that names the field. The line is not retained.
func ParseJSON(line []byte) (Event, error) {
	var e Event
	if len(line) > MaxLine {
		return e, fmt.Errorf("line of %d bytes, at most %d are read", len(line), MaxLine)
	}
	if !utf8.Valid(line) {
		return e, errors.New("not valid UTF-8")
	}
	all, err := members(line)
	if err != nil {
		return e, err
	}
	var typeName string
	sawAt := false
	for _, m := range all {
		switch m.name {
		case "type":
			if err := parseText(&typeName, m.raw); err != nil || typeName == "" {
				return e, errors.New(`field "type": a non-empty string was expected`)
			}
		case "at":
			sawAt = true
		}
	}
	if typeName == "" {
		return e, errors.New(`no field "type"`)
	}
	if !sawAt {
		return e, errors.New(`no field "at" (start, Unix nanoseconds)`)
	}
	e.Type = TypeNamed(typeName)
	ev := reflect.ValueOf(&e).Elem()
	var body, source reflect.Value
	if e.Type == Other {
		e.TypeName = typeName
	} else {
		body = reflect.New(ev.Field(bodyIndex[e.Type]).Type().Elem())
		ev.Field(bodyIndex[e.Type]).Set(body)
		body = body.Elem()
	}
	var unknown []member
	for _, m := range all {
		n := m.name
		if n == "type" {
			continue
		}
		var target reflect.Value
		if f, ok := commonByName[n]; ok {
			target = ev.FieldByIndex(f.index)
		} else if f, ok := sourceByName[n]; ok {
			if e.Source == nil {
				e.Source = &Source{}
				source = reflect.ValueOf(e.Source).Elem()
			}
			target = source.FieldByIndex(f.index)
		} else if e.Type != Other {
			if f, ok := bodyFields[e.Type][n]; ok {
				target = body.FieldByIndex(f.index)
			}
		}
		known := false
		if target.IsValid() {
			if known, err = setField(target, m.raw); err != nil {
				return Event{}, fmt.Errorf("field %q: %w", n, err)
			}
			if n == "at" && !known {
				return Event{}, errors.New(`field "at": a time after 1970 was expected`)
			}
		}
		if !known {
			unknown = append(unknown, m)
		}
	}
	if e.Source != nil && *e.Source == (Source{}) {
		e.Source = nil
	}
	if len(unknown) > 0 { // in one order, so that equal events are equal
		slices.SortFunc(unknown, func(a, b member) int { return strings.Compare(a.name, b.name) })
		var extra []byte
		for _, m := range unknown {
			extra = appendMember(extra, m.name, m.raw)
		}
		e.Extra = string(extra)
	}
	for _, id := range []struct{ name, v string }{{"trace", e.Trace}, {"span", e.Span}, {"parent", e.Parent}} {
		if len(id.v) > MaxID {
			return Event{}, fmt.Errorf("field %q: %d bytes, at most %d are allowed", id.name, len(id.v), MaxID)
		}
	}
	return e, nil
}

func appendMember(dst []byte, name string, raw []byte) []byte {
	if len(dst) > 0 {
		dst = append(dst, ',')
	}
	dst = appendString(dst, name)
	dst = append(dst, ':')
	var b bytes.Buffer
	if json.Compact(&b, raw) == nil {
		return append(dst, b.Bytes()...)
	}
	return append(dst, raw...)
}

// setField stores a raw value in a field and tells whether the field then says something. A null, and a zero in a
// field whose zero means "not known", say nothing.
func setField(v reflect.Value, raw json.RawMessage) (bool, error) {
	if string(raw) == "null" {
		return false, nil
	}
	var err error
	switch p := v.Addr().Interface().(type) {
	case *string:
		err = parseText(p, raw)
	case *int64:
		*p, err = parseInt(raw)
	case *uint64:
		*p, err = strconv.ParseUint(string(raw), 10, 64)
		if err != nil {
			err = errors.New("an unsigned integer was expected")
		}
	case *Opt[int64]:
		p.V, err = parseInt(raw)
		p.Known = err == nil
		return p.Known, err
	case *Opt[bool]:
		err = json.Unmarshal(raw, &p.V)
		p.Known = err == nil
	case *Opt[float64]:
		err = json.Unmarshal(raw, &p.V)
		p.Known = err == nil
	case *Hash:
		*p, err = parseHash(raw)
	case *[]Hash:
		err = parseHashes(p, raw)
	case *[]string:
		err = parseTexts(p, raw)
	case *[]NamedHash:
		err = parseNamed(raw, func(n string, r json.RawMessage) error {
			h, err := parseHash(r)
			*p = append(*p, NamedHash{n, h})
			return err
		})
	case *[]Pair:
		err = parseNamed(raw, func(n string, r json.RawMessage) error {
			s, err := pairValue(r)
			*p = append(*p, Pair{n, s})
			return err
		})
	case *[]Count:
		err = parseNamed(raw, func(n string, r json.RawMessage) error {
			i, err := parseInt(r)
			*p = append(*p, Count{n, i})
			return err
		})
	default:
		panic("event: field of type " + v.Type().String())
	}
	if err != nil {
		v.SetZero()
		return false, plain(err)
	}
	switch v.Kind() {
	case reflect.Slice:
		if v.Len() == 0 {
			v.SetZero()
		}
		return v.Len() > 0, nil
	default:
		return !v.IsZero(), nil
	}
}

// plain rewords encoding/json's type errors, which name Go types that a writer of events has never seen.
func plain(err error) error {
	var te *json.UnmarshalTypeError
	if errors.As(err, &te) {
		return fmt.Errorf("a JSON %s was found where %s was expected", te.Value, jsonName(te.Type))
	}
	return err
}

func jsonName(t reflect.Type) string {
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Slice:
		return "an array"
	case reflect.Map:
		return "an object"
	default:
		return "a number"
	}
}

func parseInt(raw []byte) (int64, error) {
	i, err := strconv.ParseInt(string(raw), 10, 64)
	if err != nil {
		return 0, errors.New("an integer was expected")
	}
	return i, nil
}

func parseHash(raw []byte) (Hash, error) {
	if string(raw) == "null" {
		return 0, nil
	}
	if len(raw) == 18 && raw[0] == '"' && raw[17] == '"' {
		if h, ok := ParseHash(string(raw[1:17])); ok {
			return h, nil
		}
	}
	return 0, errors.New("16 lower-case hex digits were expected")
}

// ParseHash reads 16 lower-case hex digits.
func ParseHash(s string) (Hash, bool) {
	if len(s) != 16 || strings.ToLower(s) != s {
		return 0, false
	}
	u, err := strconv.ParseUint(s, 16, 64)
	return Hash(u), err == nil && s[0] != '+'
}

const hexDigits = "0123456789abcdef"

// String returns the hash as 16 lower-case hex digits.
func (h Hash) String() string {
	var b [16]byte
	for i := 15; i >= 0; i-- {
		b[i] = hexDigits[h&15]
		h >>= 4
	}
	return string(b[:])
}

func parseHashes(p *[]Hash, raw []byte) error {
	if raw[0] != '[' {
		return json.Unmarshal(raw, p)
	}
	list := splitArray(raw)
	*p = make([]Hash, 0, len(list))
	for i, r := range list {
		h, err := parseHash(r)
		if err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
		*p = append(*p, h)
	}
	return nil
}

func parseNamed(raw []byte, add func(string, json.RawMessage) error) error {
	if raw[0] != '{' {
		var m map[string]json.RawMessage
		return json.Unmarshal(raw, &m)
	}
	list := splitObject(raw)
	slices.SortFunc(list, func(a, b member) int { return strings.Compare(a.name, b.name) })
	for _, m := range list {
		if err := add(m.name, m.raw); err != nil {
			return fmt.Errorf("member %q: %w", m.name, plain(err))
		}
	}
	return nil
}

// pairValue accepts a string, and the literal true that set-cookie is written as.
func pairValue(raw json.RawMessage) (string, error) {
	if string(raw) == "true" {
		return "true", nil
	}
	var s string
	err := parseText(&s, raw)
	return s, err
}

package event

import (
	"fmt"
	"math"
	"math/rand/v2"
	"reflect"
	"strconv"
	"testing"
)

// fillIn gives some of the fields of a struct random values, and one of them, where only is set, that alone.
func fillIn(rng *rand.Rand, v reflect.Value, only int) {
	for i := range v.NumField() {
		f := v.Field(i)
		if only >= 0 && i != only || only < 0 && rng.IntN(3) == 0 || v.Type().Field(i).Tag.Get("event") == "" {
			continue
		}
		word := func() string {
			return []string{"", "a", "with \"quotes\"", "é\x00\n", "set-cookie", "true"}[rng.IntN(6)]
		}
		n := rng.IntN(3)
		switch p := f.Addr().Interface().(type) {
		case *string:
			*p = word()
		case *int64:
			*p = rng.Int64N(3) - 1
		case *uint64:
			*p = rng.Uint64N(2) * rng.Uint64()
		case *Opt[int64]:
			*p = Opt[int64]{rng.Int64N(3) - 1, rng.IntN(2) == 0}
		case *Opt[bool]:
			*p = Opt[bool]{rng.IntN(2) == 0, rng.IntN(2) == 0}
		case *Opt[float64]:
			*p = Opt[float64]{[]float64{0, 0.25, math.NaN(), math.Inf(1), 1e300}[rng.IntN(5)], rng.IntN(2) == 0}
		case *Hash:
			*p = Hash(rng.Uint64N(2) * rng.Uint64())
		case *[]Hash:
			*p = make([]Hash, n)
			for j := range *p {
				(*p)[j] = Hash(rng.Uint64N(2) * rng.Uint64())
			}
		case *[]string:
			*p = make([]string, n)
			for j := range *p {
				(*p)[j] = word()
			}
		case *[]NamedHash:
			*p = make([]NamedHash, n)
			for j := range *p {
				(*p)[j] = NamedHash{word(), Hash(rng.Uint64N(2) * rng.Uint64())}
			}
		case *[]Pair:
			*p = make([]Pair, n)
			for j := range *p {
				(*p)[j] = Pair{word(), word()}
			}
		case *[]Count:
			*p = make([]Count, n)
			for j := range *p {
				(*p)[j] = Count{word(), rng.Int64N(3)}
			}
		default:
			panic(fmt.Sprintf("field of type %T", p))
		}
	}
}

// TestAppendJSONWritesEveryField holds AppendJSON against the tags of the structs, for random events of every type and for
// each field alone.
func TestAppendJSONWritesEveryField(t *testing.T) {
	rng := rand.New(rand.NewPCG(1, 2))
	for typ := Other; typ < numTypes; typ++ {
		for round := range 3000 {
			e := Event{Type: typ}
			if typ == Other {
				e.TypeName = "wormhole"
			}
			only := -1
			if round < 300 { // several times, since some values say nothing
				only = round % 30
			}
			v := reflect.ValueOf(&e).Elem()
			fillIn(rng, v, -1)
			if rng.IntN(2) == 0 {
				e.Source = &Source{}
				fillIn(rng, reflect.ValueOf(e.Source).Elem(), -1)
			}
			if typ != Other && rng.IntN(10) > 0 {
				body := reflect.New(v.Field(bodyIndex[typ]).Type().Elem())
				fillIn(rng, body.Elem(), only)
				v.Field(bodyIndex[typ]).Set(body)
			}
			if rng.IntN(4) == 0 {
				e.Extra = `"later":[1]`
			}
			if got, want := AppendJSON([]byte("x"), &e), byTags([]byte("x"), &e); string(got) != string(want) {
				t.Fatalf("%s\nexpected, by the tags\n%s", got, want)
			}
		}
	}
}

// byTags is AppendJSON by the tags of the structs: slow, and complete by construction.
func byTags(dst []byte, e *Event) []byte {
	name := e.Type.String()
	if e.Type == Other {
		name = e.TypeName
	}
	dst = append(dst, `{"type":`...)
	dst = appendString(dst, name)
	ev := reflect.ValueOf(e).Elem()
	dst = appendFields(dst, ev, eventFields)
	if e.Source != nil {
		dst = appendFields(dst, reflect.ValueOf(e.Source).Elem(), sourceFields)
	}
	if e.Type != Other {
		if p := ev.Field(bodyIndex[e.Type]); !p.IsNil() {
			dst = appendFields(dst, p.Elem(), bodyOrder[e.Type])
		}
	}
	if e.Extra != "" {
		dst = append(dst, ',')
		dst = append(dst, e.Extra...)
	}
	return append(dst, '}')
}

func appendFields(dst []byte, v reflect.Value, fields []field) []byte {
	for _, f := range fields {
		fv := v.FieldByIndex(f.index)
		if fv.IsZero() {
			continue
		}
		dst = append(dst, ',')
		dst = appendString(dst, f.name)
		dst = append(dst, ':')
		dst = appendValue(dst, fv.Addr().Interface())
	}
	return dst
}

func appendValue(dst []byte, p any) []byte {
	switch p := p.(type) {
	case *string:
		return appendString(dst, *p)
	case *int64:
		return strconv.AppendInt(dst, *p, 10)
	case *uint64:
		return strconv.AppendUint(dst, *p, 10)
	case *Opt[int64]:
		return strconv.AppendInt(dst, p.V, 10)
	case *Opt[bool]:
		return strconv.AppendBool(dst, p.V)
	case *Opt[float64]:
		if math.IsNaN(p.V) || math.IsInf(p.V, 0) {
			return append(dst, "null"...)
		}
		return strconv.AppendFloat(dst, p.V, 'g', -1, 64)
	case *Hash:
		return appendHash(dst, *p)
	case *[]Hash:
		return appendList(dst, '[', ']', len(*p), func(dst []byte, i int) []byte { return appendHash(dst, (*p)[i]) })
	case *[]string:
		return appendList(dst, '[', ']', len(*p), func(dst []byte, i int) []byte { return appendString(dst, (*p)[i]) })
	case *[]NamedHash:
		return appendList(dst, '{', '}', len(*p), func(dst []byte, i int) []byte {
			return appendHash(appendName(dst, (*p)[i].Name), (*p)[i].Hash)
		})
	case *[]Pair:
		return appendList(dst, '{', '}', len(*p), func(dst []byte, i int) []byte {
			n := (*p)[i]
			dst = appendName(dst, n.Name)
			if n.Name == "set-cookie" && n.Value == "true" {
				return append(dst, "true"...)
			}
			return appendString(dst, n.Value)
		})
	case *[]Count:
		return appendList(dst, '{', '}', len(*p), func(dst []byte, i int) []byte {
			return strconv.AppendInt(appendName(dst, (*p)[i].Name), (*p)[i].N, 10)
		})
	}
	panic(fmt.Sprintf("event: value of type %T", p))
}

func appendList(dst []byte, open, end byte, n int, one func([]byte, int) []byte) []byte {
	dst = append(dst, open)
	for i := range n {
		if i > 0 {
			dst = append(dst, ',')
		}
		dst = one(dst, i)
	}
	return append(dst, end)
}

func appendName(dst []byte, name string) []byte {
	return append(appendString(dst, name), ':')
}

// TestAsIs holds the look at eight bytes against one at each, for every byte at every place.
func TestAsIs(t *testing.T) {
	for n := range 20 {
		for at := range n {
			for c := range 256 {
				b := []byte("aaaaaaaaaaaaaaaaaaaaaaaa")[:n]
				b[at] = byte(c)
				want := c >= 0x20 && c < 0x80 && c != '"' && c != '\\'
				if asIs(string(b)) != want {
					t.Fatalf("%q: %v", b, !want)
				}
				if at+1 < n {
					b[at+1] = 0x20
					if asIs(string(b)) != want {
						t.Fatalf("%q: %v", b, !want)
					}
				}
			}
		}
	}
}

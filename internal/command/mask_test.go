package command

import (
	"bytes"
	"encoding/base64"
	"strings"
	"testing"
)

// masked writes text in pieces of n bytes.
func masked(text string, n int, secrets ...string) string {
	var out bytes.Buffer
	var list [][]byte
	for _, s := range secrets {
		list = append(list, []byte(s))
	}
	m := NewMasker(&out, list)
	for at := 0; at < len(text); at += n {
		_, _ = m.Write([]byte(text[at:min(at+n, len(text))]))
	}
	_ = m.Flush()
	return out.String()
}

func TestMask(t *testing.T) {
	for name, tc := range map[string]struct {
		text, want string
		secrets    []string
	}{
		"plain":         {"a hunter2 b", "a *** b", []string{"hunter2"}},
		"twice":         {"hunter2hunter2", "***", []string{"hunter2"}},
		"overlapping":   {"xabcdefy", "x***y", []string{"abcd", "cdef"}},
		"in itself":     {"aaaaaaa b", "*** b", []string{"aaaa"}},
		"one in other":  {"hunter2-long hunter2", "*** ***", []string{"hunter2", "hunter2-long"}},
		"a beginning":   {"hunter hunte", "hunter hunte", []string{"hunter2"}},
		"base64":        {base64.StdEncoding.EncodeToString([]byte("hunter22")) + ".", "***=.", []string{"hunter22"}},
		"in an address": {"http://x/?t=p%26ss+w%C3%B6rd http://x/p&ss%20w%C3%B6rd", "http://x/?t=*** http://x/***", []string{"p&ss wörd"}},
		"in JSON":       {`{"a":"line1\nline\"2"}`, `{"a":"***"}`, []string{"line1\nline\"2"}},
		"by lines":      {"MIIEvQIBADAN\nother\nEF456789abcd", "***\nother\n***", []string{"-----BEGIN-----\nMIIEvQIBADAN\nEF456789abcd"}},
		"none":          {"text", "text", nil},
	} {
		for n := 1; n <= len(tc.text)+1; n++ {
			if got := masked(tc.text, n, tc.secrets...); got != tc.want {
				t.Errorf("%s, in pieces of %d: %q, want %q", name, n, got, tc.want)
				break
			}
		}
	}
}

// Nothing of a secret is left, whatever the pieces; what is no secret comes through as it is.
func FuzzMask(f *testing.F) {
	f.Add("say hunter2 and s3cr3t", "hunter2", "s3cr3t", byte(3))
	f.Add("aaaaaaaaaaaa", "aaaa", "aaaaa", byte(1))
	f.Fuzz(func(t *testing.T, text, a, b string, n byte) {
		if len(text) > 4096 || len(a) > 256 || len(b) > 256 || strings.Contains(Masked, a) || strings.Contains(Masked, b) {
			return
		}
		got := masked(text, int(n)+1, a, b)
		if whole := masked(text, len(text)+1, a, b); got != whole {
			t.Fatalf("%q in pieces of %d, %q as a whole", got, n+1, whole)
		}
		kept := ""
		for _, piece := range strings.Split(got, Masked) {
			kept += piece + "\x00"
			for _, s := range []string{a, b} {
				if len(s) >= MinSecret && !strings.Contains(text, Masked) && strings.Contains(piece, s) {
					t.Fatalf("%q holds %q", got, s)
				}
			}
		}
		if len(a) < MinSecret && len(b) < MinSecret && got != text {
			t.Fatalf("%q became %q without a secret", text, got)
		}
	})
}

func BenchmarkMask(b *testing.B) {
	text := []byte(strings.Repeat("INFO 127.0.0.1 GET /articles 200 OK 12.3 ms\n", 800))
	var out bytes.Buffer
	m := NewMasker(&out, [][]byte{[]byte("postgres-password-1"), []byte("api-token-of-the-service")})
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		out.Reset()
		_, _ = m.Write(text)
	}
}

package recorder

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	pyrecorder "github.com/demarc-dev/demarc/python"
)

func TestIsolationFlag(t *testing.T) {
	for command, want := range map[string]string{
		"python3 -I app.py":                                "-I",
		"python -E -m shop":                                "-E",
		"/usr/bin/python3.12 -uS app.py":                   "-S",
		"python3.13t -X dev -I app.py":                     "-I",
		"python3 -Xdev -W ignore -E app.py":                "-E",
		"env A=b python -I app.py":                         "-I",
		"pypy3 -I app.py":                                  "-I",
		"python3 app.py -I":                                "",
		"python3 -m shop -E":                               "",
		"python3 -c print(1) -S":                           "",
		"python3 -W I app.py":                              "",
		"python3 -X E app.py":                              "",
		"python3 --check-hash-based-pycs always -B app.py": "",
		"pythonic -I":                                      "",
		"gunicorn -E":                                      "",
		"uvicorn shop:app -I":                              "",
		"":                                                 "",
	} {
		if got := isolationFlag(strings.Fields(command)); got != want {
			t.Errorf("%q: %q, want %q", command, got, want)
		}
	}
}

// The recorder's hash in Go is the one in Python.
func TestHasherIsPythons(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := KeyFile("demarc test", path); err != nil {
		t.Fatal(err)
	}
	hash, err := Hasher(path)
	if err != nil {
		t.Fatal(err)
	}
	texts := []string{"", "42", "é", strings.Repeat("x", 1000)}
	script := "import sys; sys.path.insert(0, sys.argv[1]); from _demarc import hashing\n" +
		"hashing.set_key(bytes.fromhex(open(sys.argv[2]).read().strip()))\n" +
		"for t in ['', '42', '\\xe9', 'x' * 1000]: print(hashing.hash_text(t).hex())"
	out, err := exec.Command(python(t), "-c", script, "../../python", path).Output()
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range strings.Fields(string(out)) {
		if got := hash(texts[i]).String(); got != want {
			t.Errorf("hash of %.10q is %s here and %s in Python", texts[i], got, want)
		}
	}
}

func TestUnpack(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "r")
	if err := Unpack(dir, 0o700, 0o600); err != nil {
		t.Fatal(err)
	}
	if !same(dir) {
		t.Error("what was unpacked differs from what is embedded")
	}
	n := 0
	err := fs.WalkDir(pyrecorder.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		n++
		want, err := pyrecorder.Files.ReadFile(name)
		if err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s: %v", name, err)
		}
		return nil
	})
	if err != nil || n < 5 {
		t.Errorf("%d files, %v", n, err)
	}
	// Somebody else's hand in the cache is noticed.
	boot := filepath.Join(dir, "boot", "sitecustomize.py")
	if err := os.WriteFile(boot, []byte("import evil\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if same(dir) {
		t.Error("a changed file was not noticed")
	}
	if err := Unpack(dir, 0o700, 0o600); err != nil || !same(dir) {
		t.Errorf("unpacking over it: %v", err)
	}
	if err := os.Chmod(dir, 0o770); err != nil {
		t.Fatal(err)
	}
	if same(dir) {
		t.Error("a folder that others may write to was accepted")
	}
}

// Where the cache folder cannot be had, or was tampered with, the recorder goes into the workspace.
func TestInstalled(t *testing.T) {
	cache := t.TempDir()
	t.Setenv("XDG_CACHE_HOME", cache)
	t.Setenv("HOME", cache)
	fallback := filepath.Join(t.TempDir(), "python")
	first, err := installed(fallback)
	if err != nil || first == fallback {
		t.Fatalf("%s, %v", first, err)
	}
	if again, err := installed(fallback); err != nil || again != first {
		t.Errorf("%s, %v", again, err)
	}
	if err := os.WriteFile(filepath.Join(first, "boot", "sitecustomize.py"), []byte("import evil\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if third, err := installed(fallback); err != nil || third != fallback || !strings.Contains(string(read(t, filepath.Join(third, "boot", "sitecustomize.py"))), "recorder") {
		t.Errorf("%s, %v", third, err)
	}
}

func read(t *testing.T, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

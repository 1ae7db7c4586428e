package pyrecorder

import (
	"bytes"
	"io/fs"
	"os"
	"strings"
	"testing"
)

// Every Python file of the recorder is in the binary, whatever folder it was put into.
func TestEverythingIsEmbedded(t *testing.T) {
	n := 0
	for _, dir := range []string{"boot", "_demarc"} {
		err := fs.WalkDir(os.DirFS("."), dir, func(name string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(name, ".py") {
				return err
			}
			n++
			want, err := os.ReadFile(name)
			if err != nil {
				return err
			}
			if got, err := Files.ReadFile(name); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s is not embedded as it is: %v", name, err)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	if n < 5 {
		t.Errorf("only %d Python files were found", n)
	}
}

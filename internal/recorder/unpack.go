package recorder

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	pyrecorder "github.com/demarc-dev/demarc/python"
)

// Unpack writes the Python side of the recorder into dir, which is made if needed: dir/boot goes onto PYTHONPATH,
// dir/_demarc lies beside it. Folders and files get the modes given.
func Unpack(dir string, dirMode, fileMode fs.FileMode) error {
	return fs.WalkDir(pyrecorder.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		to := filepath.Join(dir, filepath.FromSlash(name))
		if d.IsDir() {
			return os.MkdirAll(to, dirMode)
		}
		data, err := pyrecorder.Files.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(to, data, fileMode)
	})
}

// same says whether every file of the recorder lies in dir as it is in the binary, and dir belongs to this user alone.
func same(dir string) bool {
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm()&0o077 != 0 {
		return false
	}
	if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
		return false
	}
	err = fs.WalkDir(pyrecorder.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		want, err := pyrecorder.Files.ReadFile(name)
		if err != nil {
			return err
		}
		got, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		if err == nil && !bytes.Equal(got, want) {
			err = fmt.Errorf("%s differs", name)
		}
		return err
	})
	return err == nil
}

// installed returns a folder with the unpacked recorder: one in the user's cache, named by its content, so that Python's
// compiled files are there the next time; or, where that cannot be had, fallback.
func installed(fallback string) (string, error) {
	if cache, err := os.UserCacheDir(); err == nil {
		root := filepath.Join(cache, "demarc")
		dir := filepath.Join(root, "recorder-"+contentHash())
		if same(dir) {
			return dir, nil
		}
		// Written beside and renamed, so that two that start at once do not see half of it.
		if os.MkdirAll(root, 0o700) == nil {
			if fresh, err := os.MkdirTemp(root, "new-"); err == nil {
				if Unpack(fresh, 0o700, 0o600) == nil {
					_ = os.Rename(fresh, dir) // fails where dir is there already
				}
				_ = os.RemoveAll(fresh)
			}
		}
		if same(dir) {
			return dir, nil
		}
	}
	return fallback, Unpack(fallback, 0o700, 0o600)
}

func contentHash() string {
	h := sha256.New()
	_ = fs.WalkDir(pyrecorder.Files, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			data, _ := pyrecorder.Files.ReadFile(name)
			fmt.Fprintf(h, "%s %d\n", name, len(data))
			h.Write(data)
		}
		return err
	})
	return hex.EncodeToString(h.Sum(nil))[:16]
}

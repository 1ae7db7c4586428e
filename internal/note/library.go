package note

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Folder is where notes lie that belong to no change record, relative to where demarc is called.
const Folder = "notes"

// Load reads a note's file: its head, and the text below it. Of a file that is no regular one, larger than MaxNote, not UTF-8 or
// without a head it says so.
func Load(path string) (Head, []byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK|syscall.O_NOFOLLOW, 0)
	if err != nil {
		return Head{}, nil, bare(err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Head{}, nil, bare(err)
	}
	if !info.Mode().IsRegular() {
		return Head{}, nil, fmt.Errorf("it is no regular file")
	}
	if info.Size() > MaxNote {
		return Head{}, nil, fmt.Errorf("it has %d bytes, at most %d were expected", info.Size(), MaxNote)
	}
	data, err := readAll(f, info.Size(), MaxNote)
	if err != nil {
		return Head{}, nil, err
	}
	if data, err = decoded(data); err != nil {
		return Head{}, nil, err
	}
	return Split(data)
}

// Save replaces a note's file: at every moment it is the old or the new one.
func Save(path string, h *Head, body []byte) error {
	data := Join(h, body)
	if len(data) > MaxNote {
		return fmt.Errorf("it would have %d bytes, at most %d were expected", len(data), MaxNote)
	}
	if info, err := os.Lstat(path); err == nil && info.Mode()&fs.ModeSymlink != 0 {
		return fmt.Errorf("it is a symbolic link")
	}
	root, err := os.OpenRoot(filepath.Dir(path))
	if err != nil {
		return bare(err)
	}
	defer root.Close()
	if err := writeIn(root, filepath.Base(path), data); err != nil {
		return err
	}
	return SyncAll(filepath.Dir(path))
}

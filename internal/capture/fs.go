package capture

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// fileSystem is what the writer does to the disk, so that tests can make each step fail and can keep only what was
// made durable.
type fileSystem interface {
	MkdirAll(dir string) error
	Create(path string) (file, error) // empties a file that is there
	Rename(from, to string) error
	Remove(path string) error
	SyncDir(dir string) error
	// Lock takes the lock that tells a capture being written, or fails at once where somebody has it.
	Lock(path string) (io.Closer, error)
}

type file interface {
	io.WriteCloser
	Truncate(size int64) error
	Sync() error
}

type osFS struct{}

func (osFS) MkdirAll(dir string) error { return os.MkdirAll(dir, dirMode) }

func (osFS) Create(path string) (file, error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, fileMode)
	if err != nil {
		return nil, err
	}
	return &osFile{f}, nil
}

func (osFS) Rename(from, to string) error { return os.Rename(from, to) }
func (osFS) Remove(path string) error     { return os.Remove(path) }

func (osFS) SyncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

func (osFS) Lock(path string) (io.Closer, error) {
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, fileMode)
	if err != nil {
		return nil, err
	}
	if err := flock(f, syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return f, nil
}

// osFile writes at the end of what is left after a Truncate.
type osFile struct{ *os.File }

func (f *osFile) Truncate(size int64) error {
	if err := f.File.Truncate(size); err != nil {
		return err
	}
	_, err := f.Seek(size, io.SeekStart)
	return err
}

func flock(f *os.File, how int) error {
	for {
		if err := syscall.Flock(int(f.Fd()), how); err != syscall.EINTR {
			return err
		}
	}
}

// locked tells whether a writer has the capture open, in this process or another.
func locked(path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	return errors.Is(flock(f, syscall.LOCK_SH|syscall.LOCK_NB), syscall.EWOULDBLOCK)
}

// WriteFile writes a file of mode 0600 that appears under its name only when it is whole and durable; one that is
// there is replaced.
func WriteFile(path string, content func(io.Writer) error) error {
	return writeFile(osFS{}, path, content)
}

// writeFile makes a file appear under its name only when it is whole and durable.
func writeFile(fs fileSystem, path string, content func(io.Writer) error) error {
	temp := path + ".tmp"
	f, err := fs.Create(temp)
	if err != nil {
		return err
	}
	if err = content(f); err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	if err == nil {
		err = fs.Rename(temp, path)
	}
	if err != nil {
		_ = fs.Remove(temp)
		return err
	}
	return fs.SyncDir(filepath.Dir(path))
}

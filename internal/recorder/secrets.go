package recorder

import (
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/blake2b"

	"github.com/demarc-dev/demarc/event"
	"github.com/demarc-dev/demarc/internal/fault"
)

// KeyFile makes sure that the project's hashing key is in path: 32 bytes as 64 hex digits, readable by its owner only. It
// is drawn once; a file that others may read, or that holds something else, is refused.
func KeyFile(op, path string) error {
	var raw [32]byte
	_, _ = rand.Read(raw[:]) // never fails, as crypto/rand documents
	s := secret{op: op, path: path, what: "the hashing key", why: "who knows the key can test guesses against a capture's hashes",
		again: "a new one is drawn, and captures made before no longer compare"}
	text, err := s.read(hex.EncodeToString(raw[:]))
	if err != nil {
		return err
	}
	if key, err := hex.DecodeString(text); err != nil || len(key) != 32 {
		return &fault.Error{
			Op: op, What: "cannot use the hashing key " + path, Expected: "32 bytes as 64 hex digits", Retry: fault.RetryUseless,
			Try: "restore it; or delete it: " + s.again,
		}
	}
	return nil
}

// TokenFile returns the token in path. With create, one is drawn if the file is not there.
func TokenFile(op, path string, create bool) (string, error) {
	fresh := ""
	if create {
		fresh = NewToken()
	}
	s := secret{op: op, path: path, what: "the token", why: "who knows the token can write into the capture",
		again: "a new one is drawn, and the services need it"}
	token, err := s.read(fresh)
	if err == nil && len(token) < 16 {
		err = &fault.Error{Op: op, What: "cannot use the token in " + path, Expected: "at least 16 characters", Retry: fault.RetryUseless}
	}
	return token, err
}

// secret is a small file that only its owner may read.
type secret struct {
	op, path, what, why, again string
}

// read returns the file's text without white space around it. Where fresh is not empty, a file that is not there is made
// with it.
func (s secret) read(fresh string) (string, error) {
	var err error
	if fresh != "" {
		err = s.create(fresh)
	}
	// An existing secret in a folder that cannot be written is good.
	info, serr := os.Lstat(s.path)
	if serr != nil {
		f := &fault.Error{
			Op: s.op, What: "cannot read " + s.what + " " + s.path, Cause: bare(serr), Expected: "a file of yours with mode 0600", Retry: fault.RetryUseless,
		}
		if fresh != "" {
			f.What, f.Cause, f.Expected = "cannot create "+s.what+" "+s.path, bare(err), "a folder that can be written to"
			f.Try = s.op + " --dir DIR, with a folder of yours"
		}
		return "", f
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
		return "", &fault.Error{
			Op: s.op, What: fmt.Sprintf("will not use %s %s: its mode is %v", s.what, s.path, info.Mode()),
			Expected: "a plain file with mode 0600: " + s.why, Retry: fault.RetryUseless,
			Try: "chmod 600 " + s.path + "\nor, if somebody may have read it, delete it: " + s.again,
		}
	}
	data, err := os.ReadFile(s.path)
	if err != nil {
		return "", &fault.Error{Op: s.op, What: "cannot read " + s.what + " " + s.path, Cause: bare(err), Retry: fault.RetryUseless}
	}
	return strings.TrimSpace(string(data)), nil
}

// create writes the file under another name and links it, so that two that start at once agree on one, and a crash leaves
// no half. A file that is there already stays.
func (s secret) create(text string) error {
	if _, err := os.Lstat(s.path); err == nil {
		return nil
	}
	tmp, err := os.CreateTemp(filepath.Dir(s.path), ".new-") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	_, err = tmp.WriteString(text + "\n")
	err = errors.Join(err, tmp.Sync(), tmp.Close())
	if err != nil {
		return err
	}
	if err := os.Link(tmp.Name(), s.path); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return nil
}

// bare leaves out the path that a message names already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	return err
}

// Hasher returns the project's keyed hash of texts, the one that the recorder uses. It may be called from several
// goroutines.
func Hasher(keyFile string) (func(string) event.Hash, error) {
	data, err := os.ReadFile(keyFile)
	if err != nil {
		return nil, err
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil {
		return nil, errors.New("64 hex digits were expected")
	}
	if _, err := blake2b.New(8, key); err != nil {
		return nil, err
	}
	return func(text string) event.Hash {
		h, _ := blake2b.New(8, key) // fails for a bad key only, which was tried
		_, _ = h.Write([]byte(text))
		sum := binary.BigEndian.Uint64(h.Sum(nil))
		if sum == 0 {
			return 1
		}
		return event.Hash(sum)
	}, nil
}

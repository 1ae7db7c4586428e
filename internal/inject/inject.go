// Package inject writes what puts the recorder into services that something else starts: one override file for Docker
// Compose, variables for a shell or systemd, one patch for a Kubernetes deployment. Each is taken out by deleting it.
//
// No secret stands in a file that is written here: the token and the hashing key are named by path, and lie in files that
// only their owner can reach.
package inject

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/recorder"
)

// Mark begins every file that demarc writes here, and tells it from one that somebody else wrote.
const Mark = "# Written by demarc inject "

// Base is the folder inside a container under which the recorder, the token and the key are mounted.
const Base = "/opt/demarc"

// Paths inside a container.
const (
	bootPath   = Base + "/recorder/boot"
	tokenPath  = Base + "/token"
	keyPath    = Base + "/key"
	configPath = Base + "/recorder/config.json"
)

// MaxFile is the greatest size of a file that is read here (compose file, manifest, Dockerfile, env file), in bytes.
const MaxFile = 1 << 20

// Kit is the folder with everything that a container needs: recorder/ (the recorder, and config.json where the
// configuration says more than variables can), token and key.
//
// The folder has mode 0700, so nobody else on this machine reaches what is in it. The files in it are readable by everyone
// (0444), because inside a container they are read by whatever user the service runs as, which the container's creator
// cannot know; a bind mount does not need the way through the folder.
type Kit struct {
	Dir       string
	HasConfig bool
}

// Extra is what only the settings' file can say; docs/wire.md describes it. It holds no secret.
type Extra struct {
	MaxRate   *float64          `json:"max_rate,omitempty"`
	Functions []string          `json:"functions,omitempty"`
	Principal map[string]string `json:"principal,omitempty"`
}

// Prepare makes the kit in root/inject, from the token and the key in root, which are drawn if they are not there. It
// changes only what differs, so that containers that use the kit are not disturbed.
func Prepare(op, root string, extra Extra) (Kit, error) {
	k := Kit{Dir: filepath.Join(root, "inject")}
	fail := func(err error) (Kit, error) {
		return k, &fault.Error{Op: op, What: "cannot prepare the folder " + k.Dir, Cause: bare(err),
			Expected: "a folder that can be written to", Retry: fault.RetryUseless, Try: op + " --dir DIR, with a folder of yours"}
	}
	for _, dir := range []string{root, k.Dir} {
		if err := os.MkdirAll(dir, 0o700); err != nil {
			return fail(err)
		}
	}
	if err := os.Chmod(k.Dir, 0o700); err != nil {
		return fail(err)
	}
	ignore := filepath.Join(root, ".gitignore")
	if _, err := os.Lstat(ignore); errors.Is(err, fs.ErrNotExist) {
		_ = os.WriteFile(ignore, []byte("*\n"), 0o600) // where it fails, git will ask
	}
	if err := recorder.KeyFile(op, filepath.Join(root, "key")); err != nil {
		return k, err
	}
	if _, err := recorder.TokenFile(op, filepath.Join(root, "token"), true); err != nil {
		return k, err
	}
	for _, name := range []string{"key", "token"} {
		data, err := os.ReadFile(filepath.Join(root, name))
		if err == nil {
			err = settle(filepath.Join(k.Dir, name), data, 0o444)
		}
		if err != nil {
			return fail(err)
		}
	}
	if err := unpack(k.Recorder()); err != nil {
		return fail(err)
	}
	config := filepath.Join(k.Recorder(), "config.json")
	data, err := json.MarshalIndent(extra, "", "  ")
	if err != nil {
		return fail(err)
	}
	if k.HasConfig = string(data) != "{}"; k.HasConfig {
		err = settle(config, append(data, '\n'), 0o644)
	} else if err = os.Remove(config); errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	if err != nil {
		return fail(err)
	}
	return k, nil
}

// Recorder is the folder of the unpacked recorder.
func (k Kit) Recorder() string { return filepath.Join(k.Dir, "recorder") }

// unpack writes the recorder so that every user can read it, whatever the umask.
func unpack(dir string) error {
	if err := recorder.Unpack(dir, 0o755, 0o644); err != nil {
		return err
	}
	return filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		mode := fs.FileMode(0o644)
		if d.IsDir() {
			mode = 0o755
		}
		return os.Chmod(path, mode)
	})
}

// settle makes a file hold data, with this mode, whatever the umask. A file that does already is left as it is.
func settle(path string, data []byte, mode fs.FileMode) error {
	if old, err := os.ReadFile(path); err == nil && bytes.Equal(old, data) {
		return os.Chmod(path, mode)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.WriteFile(path, data, 0o600); err != nil {
		return err
	}
	return os.Chmod(path, mode)
}

// CheckOutput says whether path may be written: it is not there, or demarc has written it, or force.
func CheckOutput(op, path string, force bool) error {
	info, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	f := &fault.Error{Op: op, What: "will not overwrite " + path, Expected: "a new file, or one that demarc inject has written", Retry: fault.RetryUseless}
	switch {
	case err != nil:
		f.Cause = bare(err)
	case !info.Mode().IsRegular():
		f.Cause = errors.New("it is not a plain file")
	case force:
		return nil
	default:
		data, err := read(path)
		if err == nil && bytes.HasPrefix(data, []byte(Mark)) {
			return nil
		}
		f.Cause = errors.New("demarc has not written it")
		f.Try = op + " -o FILE, with another name; or --force"
	}
	return f
}

// Write puts text into path, whole or not at all. CheckOutput has been asked.
func Write(op, path, text string) error {
	fail := func(err error) error {
		return &fault.Error{Op: op, What: "cannot write " + path, Cause: bare(err), Expected: "a folder that can be written to", Retry: fault.RetryUseless}
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), ".demarc-inject-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // fails after the rename
	_, err = tmp.WriteString(text)
	if err = errors.Join(err, tmp.Chmod(0o644), tmp.Sync(), tmp.Close()); err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fail(err)
	}
	return nil
}

// read returns a file of at most MaxFile bytes.
func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	data, err := io.ReadAll(io.LimitReader(f, MaxFile+1))
	if err == nil && len(data) > MaxFile {
		err = errors.New("it is larger than 1 MiB")
	}
	return data, err
}

// bare leaves out the path that a message names already.
func bare(err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err
	}
	var l *os.LinkError
	if errors.As(err, &l) {
		return l.Err
	}
	return err
}

// variables are what every form sets, in this order. pythonPath is the recorder's folder with what was there before.
func variables(pythonPath, address, token, key, service, config string) []Variable {
	list := []Variable{
		{"PYTHONPATH", pythonPath}, {"DEMARC_ADDRESS", address}, {"DEMARC_TOKEN_FILE", token}, {"DEMARC_KEY_FILE", key},
		{"DEMARC_SERVICE", service}, {"DEMARC_KEYS", "hashed"},
	}
	if config != "" {
		list = append(list, Variable{"DEMARC_CONFIG", config})
	}
	return list
}

// Variable of an environment.
type Variable struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// join puts the recorder's folder in front of a PYTHONPATH.
func join(boot, before string) string {
	switch {
	case before == "":
		return boot
	case before == boot || strings.HasPrefix(before, boot+":"):
		return before
	}
	return boot + ":" + before
}

// CheckAddress says whether an address is one that a recorder understands.
func CheckAddress(address string) error {
	kind, where, _ := strings.Cut(address, ":")
	switch {
	case kind == "unix" && strings.HasPrefix(where, "/"):
		return nil
	case kind == "tcp":
		host, port, ok := cutLast(where, ":")
		if ok && host != "" && port != "" && strings.Trim(port, "0123456789") == "" && len(port) <= 5 {
			return nil
		}
	}
	return errors.New("tcp:HOST:PORT or unix:/path was expected")
}

func cutLast(s, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(s, sep)
	if i < 0 {
		return s, "", false
	}
	return s[:i], s[i+len(sep):], true
}

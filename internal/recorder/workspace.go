package recorder

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"syscall"
)

// Settings are what the recorder in a process is told; docs/wire.md describes the file. An empty field leaves the
// recorder its default.
type Settings struct {
	Address   string            `json:"address"`
	Token     string            `json:"token"`
	KeyFile   string            `json:"key_file"`
	Service   string            `json:"service,omitempty"`
	Keys      string            `json:"keys,omitempty"`
	MaxRate   *float64          `json:"max_rate,omitempty"`
	Functions []string          `json:"functions,omitempty"`
	Principal map[string]string `json:"principal,omitempty"`
}

// Workspace is the private folder of one run: the socket, the recorder's settings, the notes that recorders leave which
// could not start. It is removed at the end.
type Workspace struct {
	Dir    string
	python string
}

// NewWorkspace makes the folder, for this user only, under the system's folder for temporary files: the path of a Unix
// socket may not be longer than about a hundred bytes.
//
// Folders that a demarc left which was killed are removed. A service that outlived it does not need them: it reads the
// settings at the start of a process, and does without them if they are gone.
func NewWorkspace() (*Workspace, error) {
	sweep()
	dir, err := os.MkdirTemp("", "demarc-")
	if err != nil {
		return nil, err
	}
	w := &Workspace{Dir: dir}
	if err := os.WriteFile(filepath.Join(dir, pidFile), []byte(strconv.Itoa(os.Getpid())), 0o600); err != nil {
		w.Remove()
		return nil, err
	}
	if err := os.Mkdir(filepath.Join(dir, "notes"), 0o700); err != nil {
		w.Remove()
		return nil, err
	}
	if w.python, err = installed(filepath.Join(dir, "python")); err != nil {
		w.Remove()
		return nil, err
	}
	return w, nil
}

// pidFile names the process that a workspace belongs to.
const pidFile = "demarc.pid"

// sweep removes this user's workspaces whose process is gone.
func sweep() {
	names, err := filepath.Glob(filepath.Join(os.TempDir(), "demarc-*", pidFile))
	if err != nil {
		return
	}
	for _, name := range names {
		info, err := os.Lstat(filepath.Dir(name))
		if err != nil || !info.IsDir() || info.Mode().Perm() != 0o700 {
			continue
		}
		if st, ok := info.Sys().(*syscall.Stat_t); !ok || int(st.Uid) != os.Getuid() {
			continue
		}
		data, err := os.ReadFile(name)
		if err != nil {
			continue
		}
		pid, err := strconv.Atoi(string(data))
		if err == nil && pid > 0 && errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
			_ = os.RemoveAll(filepath.Dir(name))
		}
	}
}

// Address is where the recorder finds the collector.
func (w *Workspace) Address() string { return "unix:" + filepath.Join(w.Dir, "s") }

// Remove deletes the folder.
func (w *Workspace) Remove() { _ = os.RemoveAll(w.Dir) }

// Env writes the settings and returns the environment of the service: environ with the recorder put in front of
// PYTHONPATH.
func (w *Workspace) Env(environ []string, s Settings) ([]string, error) {
	data, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	config := filepath.Join(w.Dir, "config.json")
	if err := os.WriteFile(config, data, 0o600); err != nil {
		return nil, err
	}
	path := filepath.Join(w.python, "boot")
	env := make([]string, 0, len(environ)+2)
	for _, kv := range environ {
		name, value, _ := strings.Cut(kv, "=")
		switch name {
		case "PYTHONPATH":
			if value != "" {
				path += string(os.PathListSeparator) + value
			}
		case "DEMARC_CONFIG", "DEMARC_ADDRESS", "DEMARC_TOKEN", "DEMARC_TOKEN_FILE", "DEMARC_KEY_FILE", "DEMARC_SERVICE", "DEMARC_KEYS",
			"DEMARC_MAX_RATE":
			// The recorder prefers variables to the file. Those of another collector would lead it away from this one, and
			// the others are in the settings already, below the flags.
		default:
			env = append(env, kv)
		}
	}
	return append(env, "PYTHONPATH="+path, "DEMARC_CONFIG="+config), nil
}

// Notes are the problems that recorders left in the workspace, each once, at most 20.
func (w *Workspace) Notes() []string {
	entries, err := os.ReadDir(filepath.Join(w.Dir, "notes"))
	if err != nil {
		return nil
	}
	seen := map[string]bool{}
	var notes []string
	for _, e := range entries {
		data, err := os.ReadFile(filepath.Join(w.Dir, "notes", e.Name()))
		text := strings.ToValidUTF8(strings.TrimSpace(string(data[:min(len(data), 500)])), "")
		if err == nil && text != "" && !seen[text] && len(notes) < 20 {
			seen[text] = true
			notes = append(notes, text)
		}
	}
	sort.Strings(notes)
	return notes
}

// NewToken draws a token at random.
func NewToken() string {
	var b [24]byte
	_, _ = rand.Read(b[:]) // never fails, as crypto/rand documents
	return hex.EncodeToString(b[:])
}

package recorder

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"sort"
	"strings"
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
func NewWorkspace() (*Workspace, error) {
	dir, err := os.MkdirTemp("", "demarc-")
	if err != nil {
		return nil, err
	}
	w := &Workspace{Dir: dir}
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
		case "DEMARC_CONFIG", "DEMARC_ADDRESS", "DEMARC_TOKEN", "DEMARC_TOKEN_FILE", "DEMARC_KEY_FILE":
			// The recorder prefers variables to the file; those of another collector would lead it away from this one.
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

package engine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// RunSchema names the form of the run file.
const RunSchema = "demarc.run/1"

// RunFile tells the other commands where a running demarc is reached. It lies beside the captures, mode 0600 because of
// the token, and is removed at the end; one whose process is gone is stale.
type RunFile struct {
	Schema  string `json:"schema"`
	Pid     int    `json:"pid"`
	Started string `json:"started"` // RFC 3339, UTC
	Command string `json:"command"` // run or collect
	Service string `json:"service"`
	URL     string `json:"url"`
	Token   string `json:"token"`
	Capture string `json:"capture"`

	path string
}

// WriteRunFile writes dir/run.json, or dir/run-<pid>.json where another living demarc has the first, and returns its
// path.
func WriteRunFile(dir string, r RunFile) (string, error) {
	r.Schema, r.Pid = RunSchema, os.Getpid()
	path := filepath.Join(dir, "run.json")
	if other, err := ReadRunFile(path); err == nil && other.alive() && other.Pid != r.Pid {
		path = filepath.Join(dir, "run-"+strconv.Itoa(r.Pid)+".json")
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return "", err
	}
	tmp, err := os.CreateTemp(dir, ".run-") // mode 0600
	if err != nil {
		return "", err
	}
	_, err = tmp.Write(append(data, '\n'))
	if err = errors.Join(err, tmp.Close()); err == nil {
		err = os.Rename(tmp.Name(), path)
	}
	if err != nil {
		_ = os.Remove(tmp.Name())
		return "", err
	}
	return path, nil
}

// ReadRunFile reads one run file, at most 64 KiB.
func ReadRunFile(path string) (RunFile, error) {
	var r RunFile
	f, err := os.Open(path)
	if err != nil {
		return r, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, 64<<10))
	if err != nil {
		return r, err
	}
	if err := json.Unmarshal(data, &r); err != nil || r.Schema != RunSchema || r.Pid <= 0 {
		return r, fmt.Errorf("%s is no run file of this version of demarc", path)
	}
	r.path = path
	return r, nil
}

func (r *RunFile) alive() bool {
	err := syscall.Kill(r.Pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}

// ErrNotRunning says that no demarc runs in a folder.
var ErrNotRunning = errors.New("no demarc is running there")

// FindRun returns the run file of a demarc that is running over dir: run.json, else the newest of the others. Files of
// processes that are gone are removed.
func FindRun(dir string) (RunFile, error) {
	names, err := filepath.Glob(filepath.Join(escapeGlob(dir), "run*.json"))
	if err != nil {
		return RunFile{}, err
	}
	var found RunFile
	for _, name := range names {
		r, err := ReadRunFile(name)
		if err != nil {
			if !errors.Is(err, fs.ErrNotExist) && filepath.Base(name) == "run.json" {
				return r, err
			}
			continue
		}
		if !r.alive() {
			_ = os.Remove(name)
			continue
		}
		if filepath.Base(name) == "run.json" {
			return r, nil
		}
		if found.Pid == 0 || r.Started > found.Started {
			found = r
		}
	}
	if found.Pid == 0 {
		return found, ErrNotRunning
	}
	return found, nil
}

func escapeGlob(dir string) string {
	return strings.NewReplacer(`\`, `\\`, "*", `\*`, "?", `\?`, "[", `\[`).Replace(dir)
}

// Done is the answer to a control request.
type Done struct {
	OK        bool   `json:"ok"`
	Error     string `json:"error,omitempty"`
	At        string `json:"at,omitempty"` // of a mark, RFC 3339
	Processes int    `json:"processes"`    // that were told of a switch
	Capture   string `json:"capture"`
}

// Mark asks the running demarc for a mark.
func (r *RunFile) Mark(name, text string) (Done, error) {
	return r.post("/control/mark", map[string]string{"name": name, "text": text})
}

// Record asks the running demarc to switch recording on or off.
func (r *RunFile) Record(on bool) (Done, error) {
	return r.post("/control/recording", map[string]bool{"on": on})
}

func (r *RunFile) post(path string, v any) (Done, error) {
	var d Done
	body, err := json.Marshal(v)
	if err != nil {
		return d, err
	}
	req, err := http.NewRequest(http.MethodPost, r.URL+path, bytes.NewReader(body))
	if err != nil {
		return d, err
	}
	req.Header.Set("Authorization", "Bearer "+r.Token)
	req.Header.Set("Content-Type", "application/json")
	// No proxy: the address is this machine's, and the token is nobody else's business.
	client := http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{}}
	resp, err := client.Do(req)
	if err != nil {
		return d, err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(&d); err != nil {
		return d, fmt.Errorf("%s answered %s and no JSON", r.URL, resp.Status)
	}
	if !d.OK {
		return d, errors.New(d.Error)
	}
	return d, nil
}

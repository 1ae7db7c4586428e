package doctor

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/demarc-dev/demarc/internal/config"
	"github.com/demarc-dev/demarc/internal/engine"
	"github.com/demarc-dev/demarc/internal/fault"
)

const (
	// probeTimeout is how long Python and a running demarc may take to answer.
	probeTimeout = 5 * time.Second
	// littleSpace is the free space, in bytes, below which a capture is in danger.
	littleSpace = 100e6
	// maxAnswer is the most that is read of an answer, in bytes.
	maxAnswer = 1 << 20
)

func (x *examination) configuration() config.Config {
	cfg, err := config.Load(x.Op, x.Config)
	if err != nil {
		says := err.Error()
		var f *fault.Error
		if errors.As(err, &f) {
			says = f.What
			if f.Cause != nil {
				says += ": " + f.Cause.Error()
			}
		}
		x.add("config", Wrong, says, "correct it as docs/config.md says; demarc run will not start before")
		return config.Defaults()
	}
	path := x.Config
	if path == "" {
		path = config.File
	}
	if _, err := os.Stat(path); err != nil {
		x.add("config", OK, "no "+config.File+": the defaults hold", "")
	} else {
		x.add("config", OK, path+" is valid", "")
	}
	return cfg
}

// folder looks whether a capture can be written. False: the folder is none, and nothing in it can be looked at.
func (x *examination) folder(cfg config.Config) bool {
	dir := x.Dir
	for {
		info, err := os.Stat(dir)
		if err == nil && !info.IsDir() {
			x.add("folder", Wrong, dir+" is no folder", "remove it, or give another folder with --dir")
			return false
		}
		if err == nil {
			break
		}
		up := filepath.Dir(dir)
		if up == dir {
			x.add("folder", Wrong, "cannot look at "+x.Dir+": "+cause(err), "--dir DIR, with a folder of yours")
			return false
		}
		dir = up
	}
	if err := tryWrite(dir); err != nil {
		x.add("folder", Wrong, "cannot write into "+dir+": "+cause(err), "free space or give yourself the permission; or --dir DIR, with a folder of yours")
		return true
	}
	var st unix.Statfs_t
	if err := unix.Statfs(dir, &st); err != nil {
		x.add("folder", Note, "can write into "+dir+"; its free space is not known: "+err.Error(), "")
		return true
	}
	free := float64(st.Bavail) * float64(st.Bsize)
	says := fmt.Sprintf("%s can be written to, %s free, captures keep at most %s", dir, bytesText(free), cfg.Keep.Size)
	keep, err := config.Size(cfg.Keep.Size)
	switch {
	case free < littleSpace:
		x.add("folder", Wrong, says, "free space: what cannot be written is lost, and counted")
	case err == nil && free < float64(keep):
		x.add("folder", Note, says, "free space, or set keep.size below what is free")
	default:
		x.add("folder", OK, says, "")
	}
	return true
}

// tryWrite writes a page into dir and takes it away again: permissions, a read-only file system and a full disk all show.
func tryWrite(dir string) error {
	f, err := os.CreateTemp(dir, ".demarc-doctor-")
	if err != nil {
		return err
	}
	_, err = f.Write(make([]byte, 4096))
	return errors.Join(err, f.Sync(), f.Close(), os.Remove(f.Name()))
}

// secrets looks at the hashing key, the token, and the copies that containers get.
func (x *examination) secrets() {
	seen := 0
	for _, s := range []struct{ id, name, what string }{{"key", "key", "the hashing key"}, {"token", "token", "the token"}} {
		path := filepath.Join(x.Dir, s.name)
		info, err := os.Lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue // drawn when it is needed
		}
		seen++
		if err != nil {
			x.add(s.id, Wrong, "cannot look at "+path+": "+cause(err), "")
			continue
		}
		if !info.Mode().IsRegular() || info.Mode().Perm()&0o077 != 0 {
			x.add(s.id, Wrong, fmt.Sprintf("%s %s has mode %v: others may read it", s.what, path, info.Mode()), "chmod 600 "+path+
				"; if somebody may have read it, delete it, and a new one is drawn")
			continue
		}
		data, err := os.ReadFile(path)
		text := strings.TrimSpace(string(data))
		raw, herr := hex.DecodeString(text)
		switch {
		case err != nil:
			x.add(s.id, Wrong, "cannot read "+s.what+" "+path+": "+cause(err), "run demarc as its owner")
		case s.name == "key" && (herr != nil || len(raw) != 32), s.name == "token" && len(text) < 16:
			x.add(s.id, Wrong, s.what+" in "+path+" is damaged", "restore it; or delete it, and a new one is drawn")
		default:
			x.add(s.id, OK, s.what+" is there, for its owner only", "")
		}
		copied, err := os.ReadFile(filepath.Join(x.Dir, "inject", s.name))
		if err == nil && !bytes.Equal(copied, data) {
			x.add(s.id, Wrong, "containers have another "+s.name+" than "+path+": they are refused, or their hashes do not compare",
				"demarc inject again, and restart the containers")
		}
	}
	if seen == 0 {
		x.add("key", OK, "no hashing key yet: it is drawn at the first run", "")
	}
	if info, err := os.Stat(filepath.Join(x.Dir, "inject")); err == nil && info.Mode().Perm()&0o077 != 0 {
		x.add("inject", Wrong, fmt.Sprintf("%s has mode %v: others may read the token in it", filepath.Join(x.Dir, "inject"), info.Mode().Perm()),
			"chmod 700 "+filepath.Join(x.Dir, "inject"))
	}
}

func (x *examination) variable(name string) string {
	for i := len(x.Environ) - 1; i >= 0; i-- {
		if k, v, _ := strings.Cut(x.Environ[i], "="); k == name {
			return v
		}
	}
	return ""
}

// environment looks at the variables that a service started here would get.
func (x *examination) environment() {
	if v := x.variable("DEMARC"); slices.Contains([]string{"off", "0", "no", "false"}, strings.ToLower(v)) {
		x.add("environment", Wrong, "DEMARC="+v+" is set: the recorder stays out of every process started here", "unset DEMARC")
	}
	if v := x.variable("DEMARC_HOOKS"); v != "" {
		var unknown []string
		for name := range strings.SplitSeq(v, ",") {
			name = strings.TrimPrefix(strings.TrimSpace(name), "-")
			if name != "" && !slices.ContainsFunc(x.Hooks, func(h HookState) bool { return h.Name == name }) {
				unknown = append(unknown, name)
			}
		}
		if len(unknown) > 0 {
			x.add("environment", Wrong, "DEMARC_HOOKS="+v+" names hooks that there are not: "+strings.Join(unknown, ", "), "demarc doctor --hooks lists them")
		} else {
			x.add("environment", Note, "DEMARC_HOOKS="+v+" is set: not every hook is installed in processes started here", "unset DEMARC_HOOKS for all of them")
		}
	}
	for _, dir := range filepath.SplitList(x.variable("PYTHONPATH")) {
		if _, err := os.Stat(filepath.Join(filepath.Dir(dir), "_demarc", "start.py")); err == nil && filepath.Base(dir) == "boot" {
			x.add("pythonpath", Note, "PYTHONPATH loads demarc's recorder from "+dir+" into every Python started here", "demarc run needs none of it: unset PYTHONPATH")
		}
	}
	for _, name := range []string{"DEMARC_TOKEN_FILE", "DEMARC_KEY_FILE", "DEMARC_CONFIG"} {
		if path := x.variable(name); path != "" {
			if f, err := os.Open(path); err != nil {
				x.add("environment", Wrong, name+"="+path+" cannot be read: "+cause(err)+"; a service started here would not be recorded",
					"demarc inject env again, or unset "+name)
			} else {
				_ = f.Close()
			}
		}
	}
	// A token that is set here is what a service started here brings.
	if path := x.variable("DEMARC_TOKEN_FILE"); path != "" {
		mine, err := os.ReadFile(path)
		own, oerr := os.ReadFile(filepath.Join(x.Dir, "token"))
		if err == nil && oerr == nil && !bytes.Equal(bytes.TrimSpace(mine), bytes.TrimSpace(own)) {
			x.add("environment", Wrong, "the token in "+path+" (DEMARC_TOKEN_FILE) is not the one in "+filepath.Join(x.Dir, "token")+
				": the demarc collect of this folder refuses it", "demarc inject env again, in this folder")
		}
	}
}

// probe runs on every Python there is; it names its version and the sitecustomize files on its path.
const probe = `
import json, os, sys
found = [p for p in [os.path.join(d, "sitecustomize.py") for d in sys.path if d] if os.path.exists(p)]
print(json.dumps({"version": list(sys.version_info[:3]), "executable": sys.executable, "found": found}))
`

// python looks at the interpreter that commands here would use.
func (x *examination) python(ctx context.Context) {
	path, err := exec.LookPath("python3")
	if err != nil {
		path, err = exec.LookPath("python")
	}
	if err != nil {
		x.add("python", Note, "no python3 on PATH: demarc run observes commands that bring their own", "activate the service's environment")
		return
	}
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "-c", probe)
	cmd.WaitDelay = time.Second
	cmd.Env = append(slices.Clone(x.Environ), "DEMARC=off") // only looked at, not recorded
	out, err := cmd.Output()
	var p struct {
		Version    []int    `json:"version"`
		Executable string   `json:"executable"`
		Found      []string `json:"found"`
	}
	if err == nil {
		err = json.Unmarshal(out, &p)
	}
	if err != nil || len(p.Version) != 3 {
		x.add("python", Wrong, fmt.Sprintf("%s does not run: %v", path, err), "repair it, or put another one first on PATH")
		return
	}
	version := fmt.Sprintf("%d.%d.%d", p.Version[0], p.Version[1], p.Version[2])
	if p.Version[0] < 3 || p.Version[0] == 3 && p.Version[1] < 9 {
		x.add("python", Wrong, fmt.Sprintf("%s is Python %s: the recorder needs 3.9 or later", path, version), "start the service with Python 3.9 or later")
	} else {
		x.add("python", OK, fmt.Sprintf("%s is Python %s", path, version), "")
	}
	for _, file := range p.Found { // without demarc's own, which takes itself off the path
		x.sitecustomize(file, filepath.SplitList(x.variable("PYTHONPATH")))
	}
}

// sitecustomize says what another one on the path means.
func (x *examination) sitecustomize(file string, pythonPath []string) {
	dir := filepath.Dir(file)
	switch {
	case strings.Contains(file, "opentelemetry"):
		x.add("pythonpath", Note, file+" starts OpenTelemetry's instrumentation; both then record, at the cost of both", "")
	case slices.Contains(pythonPath, dir):
		x.add("pythonpath", Note, file+" is on PYTHONPATH: demarc's own runs first, and then runs it", "")
	default:
		x.add("pythonpath", OK, file+" is the system's: demarc's own runs first, and then runs it", "")
	}
}

// running asks the demarc that runs over the folder.
func (x *examination) running(ctx context.Context) {
	run, err := engine.FindRun(x.Dir)
	if errors.Is(err, engine.ErrNotRunning) {
		x.add("running", OK, "no demarc runs over "+x.Dir+" now", "")
		return
	}
	if err != nil {
		x.add("running", Wrong, "cannot read the run file: "+cause(err), "remove it, if no demarc runs here")
		return
	}
	name := fmt.Sprintf("demarc %s (process %d, since %s)", run.Command, run.Pid, run.Started)
	h, err := health(ctx, run)
	if err != nil {
		x.add("running", Wrong, fmt.Sprintf("%s does not answer at %s: %v", name, run.URL, err), "look at its output; end it and start it again")
		return
	}
	x.Running = &h
	state := OK
	if !h.OK {
		state = Wrong
	}
	remedy := ""
	if state == Wrong {
		remedy = "look at its output: the capture could not be written lately"
	}
	x.add("running", state, fmt.Sprintf("%s: %s received, %d dropped, %s seen, %d connected, capture %s",
		name, many(h.Received, "event", "events"), h.Dropped, many(h.Processes, "process", "processes"), h.Connections, h.Capture), remedy)
	if !h.Recording {
		x.add("recording", Wrong, "recording is switched off", "demarc on")
	}
	if h.Refused > 0 {
		x.refused(h, run)
	}
	if h.Processes == 0 && h.Received == 0 {
		x.add("recorders", Wrong, "no recorder has connected: nothing of the service is seen", "run `python -m _demarc.check` where the service runs "+
			"(docs/containers.md): it says why")
	}
	if d := h.DroppedBy; h.Dropped > 0 {
		x.add("dropped", Wrong, fmt.Sprintf("%d events are not in the capture: %d that processes could not send, %d faster than the disk, %d of failed writes",
			h.Dropped, d.Recorders, d.Collector, d.Disk), "a faster disk, or less traffic; counts are too low by so much")
	}
	if h.BadFrames > 0 {
		x.add("frames", Wrong, fmt.Sprintf("%d frames of recorders could not be read", h.BadFrames), "use the recorder that belongs to this demarc: demarc inject again")
	}
}

// refused says why connections were turned away, and what helps.
func (x *examination) refused(h engine.Health, run engine.RunFile) {
	remedy := "look at the output of demarc " + run.Command
	switch {
	case strings.Contains(h.LastRefusal, "token"):
		remedy = "the service must bring the token of this demarc: demarc inject again in this folder, and restart the service; or give collect its --token-file"
	case strings.Contains(h.LastRefusal, "wire version"):
		remedy = "demarc inject again, and restart the service"
	case strings.Contains(h.LastRefusal, "keys"):
		remedy = "DEMARC_KEYS=hashed for the service, or demarc collect --keys clear"
	}
	says := many(h.Refused, "connection was", "connections were") + " refused"
	if h.LastRefusal != "" {
		says += ", the last one because: " + h.LastRefusal
	}
	x.add("refused", Wrong, says, remedy)
}

func health(ctx context.Context, run engine.RunFile) (engine.Health, error) {
	var h engine.Health
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, run.URL+"/health", nil)
	if err != nil {
		return h, err
	}
	req.Header.Set("Authorization", "Bearer "+run.Token)
	client := http.Client{Transport: &http.Transport{}} // no proxy: the address is this machine's
	resp, err := client.Do(req)
	if err != nil {
		var oe *net.OpError
		if errors.As(err, &oe) {
			err = oe.Err
		}
		return h, err
	}
	defer func() { _ = resp.Body.Close() }()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(&h); err != nil || !strings.HasPrefix(h.Schema, "demarc.health/") {
		return h, fmt.Errorf("its answer (status %d) is not that of a demarc", resp.StatusCode)
	}
	return h, nil
}

// cause is an error without the operation and path that a message names already.
func cause(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

func bytesText(n float64) string {
	for _, u := range []struct {
		size float64
		name string
	}{{1e12, "TB"}, {1e9, "GB"}, {1e6, "MB"}, {1e3, "kB"}} {
		if n >= u.size {
			return fmt.Sprintf("%.1f %s", n/u.size, u.name)
		}
	}
	return fmt.Sprintf("%.0f bytes", n)
}

package audit

import (
	"fmt"
	"io/fs"
	"strings"
)

// Kinds of paths whose modes are judged.
const (
	PathState   = "folder of demarc"
	PathCapture = "capture"
	PathKey     = "hashing key"
	PathSocket  = "socket"
	PathRunFile = "run file with the token"
	PathRecord  = "change record"
	PathSecret  = "file of secrets"
	PathConfig  = "configuration"
)

// Path is a file, folder or socket of the machine with what decides who may read it.
type Path struct {
	Kind string
	Path string
	Mode fs.FileMode
	Mine bool // it belongs to who runs the audit, or to root
	Link bool // it is a symbolic link, which was not followed
}

// item returns the item that judges a kind of path.
func (p *Path) item() string {
	switch p.Kind {
	case PathState, PathCapture:
		return "capture-files"
	case PathKey:
		return "key-file"
	case PathSocket, PathRunFile:
		return "sockets"
	case PathSecret:
		return "secret-files"
	}
	return "change-records"
}

// wrong says what is wrong with the mode of a path, "" if nothing is.
func (p *Path) wrong() string {
	perm := p.Mode.Perm()
	bad, want := perm&0o077, fs.FileMode(0o600)
	if p.Mode.IsDir() {
		want = 0o700
	}
	if p.Kind == PathRecord || p.Kind == PathConfig { // read by all who have the repository
		bad, want = perm&0o002, 0o644
		if p.Mode.IsDir() {
			want = 0o755
		}
	}
	switch {
	case p.Link:
		return fmt.Sprintf("the %s is a symbolic link, which others may point elsewhere", p.Kind)
	case !p.Mine:
		return fmt.Sprintf("the %s belongs to somebody else", p.Kind)
	case bad != 0 && perm&0o007 != 0:
		return fmt.Sprintf("the %s has mode %04o, open to everybody on this machine; %04o was expected", p.Kind, perm, want)
	case bad != 0:
		return fmt.Sprintf("the %s has mode %04o, open to its group; %04o was expected", p.Kind, perm, want)
	}
	return ""
}

// Process is a process of the service that runs on this machine.
type Process struct {
	Pid  int64
	Args []string
	Env  []string // names of variables, never their values
}

// Server is what a cache server answered.
type Server struct {
	Address  string // host:port or path, without user and password
	Named    string // who names it: file:line, the capture, the command line
	Error    string // why it could not be asked; "" if it answered
	Loopback bool   // the address is one of this machine that nobody else can reach
	Public   bool   // the address is one of the Internet
	Open     bool   // it answers without a password
	Bind     string // its setting, "" where it does not tell
	Guarded  string // its setting protected-mode, "" where it does not tell
	Reached  string // an address of this machine in a network under which it answered, "" where none did or none was tried
	Default  string // why its default user needs no password, "" where it does or is not known
}

// networks says how the network can reach a server, "" if it cannot, or known is false.
func (s *Server) networks() (says string, known bool) {
	switch {
	case s.Reached != "":
		return "it answers under " + s.Reached + bound(s), true
	case s.Bind != "" && s.Loopback && !loopbackOnly(s.Bind):
		return "it listens beyond this machine" + bound(s), true
	case s.Guarded == "no" && s.Open && !s.Loopback:
		return "it answers the network without a password" + bound(s), true
	case !s.Loopback && s.Open:
		return "it answers another machine without a password" + bound(s), true
	case s.Public:
		return "its address is one of the Internet", true
	}
	return "", s.Bind != "" || !s.Loopback
}

func bound(s *Server) string {
	var parts []string
	if s.Bind != "" {
		parts = append(parts, "bind "+s.Bind)
	}
	if s.Guarded != "" {
		parts = append(parts, "protected-mode "+s.Guarded)
	}
	if len(parts) == 0 {
		return ""
	}
	return " (" + strings.Join(parts, ", ") + ")"
}

// Probe is what the live service answered to what was sent.
type Probe struct {
	URL     string
	Uploads []Upload
	Inputs  []Asked // bad input, and paths that look like files
	Failed  string  // why nothing could be asked
}

// Upload is one oversized request.
type Upload struct {
	Route    string
	Declared bool  // with Content-Length; else in chunks of unknown number
	Sent     int64 // bytes of the body that were taken before the answer
	Size     int64 // bytes of the whole body
	Status   int   // 0 where the connection was closed
}

// took says whether the service took the whole body.
func (u *Upload) took() bool { return u.Status != 413 && u.Status != 0 && u.Sent >= u.Size }

// Asked is one request of a probe with its answer.
type Asked struct {
	What       string // what was tried: path, input
	Route      string
	Target     string
	Status     int
	Plain      int    // of a path that looks like a file: the status of the same path without it
	Type       string // content type
	RetryAfter bool
}

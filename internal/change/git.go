package change

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/fault"
)

// Limits of what is asked of git.
const (
	gitTimeout = 30 * time.Second
	maxGit     = 16 << 20 // bytes of one answer
)

// Repository is the git repository that a folder belongs to.
type Repository struct {
	top string
}

// OpenRepository returns the repository of a folder; the error says whether git or the repository is missing.
func OpenRepository(ctx context.Context, dir string) (*Repository, error) {
	r := &Repository{top: dir}
	top, err := r.git(ctx, "rev-parse", "--show-toplevel")
	if err != nil {
		f := &fault.Error{What: "cannot read the git repository", Cause: err, Retry: fault.RetryUseless,
			Expected: "a folder inside a git repository, which is where change records live", Try: "git init && git add . && git commit"}
		if errors.Is(err, exec.ErrNotFound) {
			f.Cause, f.Expected, f.Try = errors.New("there is no git in PATH"), "git, to tell which files a change touches", "apt-get install git, or the like"
		}
		return nil, f
	}
	r.top = strings.TrimSuffix(top, "\n")
	return r, nil
}

// git runs one git command that only reads, and returns what it printed.
func (r *Repository) git(ctx context.Context, args ...string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, gitTimeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "git", append([]string{"--no-optional-locks", "-c", "core.quotePath=false"}, args...)...)
	cmd.Dir = r.top
	cmd.Env = append(os.Environ(), "LC_ALL=C", "GIT_TERMINAL_PROMPT=0", "GIT_PAGER=cat", "GIT_EXTERNAL_DIFF=")
	cmd.WaitDelay = time.Second
	var out, talk capped
	out.limit, talk.limit = maxGit, 4<<10
	cmd.Stdout, cmd.Stderr = &out, &talk
	err := cmd.Run()
	switch {
	case ctx.Err() != nil && errors.Is(ctx.Err(), context.DeadlineExceeded):
		return "", fmt.Errorf("git %s did not end within %s", args[0], gitTimeout)
	case err != nil && talk.Len() > 0:
		line, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(talk.String()), "fatal: "), "\n")
		return "", errors.New(line)
	case err != nil:
		return "", err
	case out.cut:
		return "", fmt.Errorf("git %s printed more than %d bytes", args[0], maxGit)
	}
	return out.String(), nil
}

// capped keeps the first bytes of what is written.
type capped struct {
	bytes.Buffer
	limit int
	cut   bool
}

func (c *capped) Write(p []byte) (int, error) {
	room := max(0, c.limit-c.Len())
	if len(p) > room {
		c.cut = true
		c.Buffer.Write(p[:room])
		return len(p), nil
	}
	return c.Buffer.Write(p)
}

// Head returns the revision that is checked out, empty where nothing was committed yet, and whether files of git differ from it
// other than change records.
func (r *Repository) Head(ctx context.Context) (revision string, dirty bool, err error) {
	out, err := r.git(ctx, "rev-parse", "--verify", "-q", "HEAD")
	if err != nil {
		return "", true, ctx.Err()
	}
	state, err := r.git(ctx, "status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude,glob)**/"+Folder+"/**")
	return strings.TrimSpace(out), strings.TrimSpace(state) != "", err
}

// Commit returns the revision that is checked out for Run.Commit: with "+dirty" behind it where files differ, empty where
// git cannot tell.
func (r *Repository) Commit(ctx context.Context) string {
	revision, dirty, err := r.Head(ctx)
	if err != nil || revision == "" {
		return ""
	}
	if dirty {
		revision += "+dirty"
	}
	return revision
}

// User returns who git says is at work: "Ada <ada@example.org>"; empty where it does not say.
func (r *Repository) User(ctx context.Context) string {
	name, _ := r.git(ctx, "config", "user.name")
	mail, _ := r.git(ctx, "config", "user.email")
	name, mail = strings.TrimSpace(name), strings.TrimSpace(mail)
	if mail != "" {
		mail = "<" + mail + ">"
	}
	return strings.TrimSpace(name + " " + mail)
}

// Base returns the revision from which a change begins that is prepared now: where the branch left the main one, or
// HEAD on the main branch itself.
func (r *Repository) Base(ctx context.Context) string {
	for _, main := range []string{"origin/HEAD", "origin/main", "origin/master", "main", "master"} {
		if out, err := r.git(ctx, "merge-base", main, "HEAD"); err == nil {
			return strings.TrimSpace(out)
		}
	}
	head, _, _ := r.Head(ctx)
	return head
}

// Touched returns the files that differ between two revisions, and the security settings in the lines that differ. An
// empty end stands for the files as they lie there. The change records themselves are left out.
func (r *Repository) Touched(ctx context.Context, base, end string) ([]string, []SecuritySetting, error) {
	revisions := base
	if end != "" {
		revisions += ".." + end
	}
	fail := func(err error) error {
		return &fault.Error{What: "cannot read the files touched from git", Cause: err, Retry: fault.RetryUseless,
			Expected: "base: in the record, the revision before the change (a commit, tag or branch)", Try: "git diff --stat " + revisions}
	}
	if !revision.MatchString(base) || end != "" && !revision.MatchString(end) {
		return nil, nil, fail(fmt.Errorf("%q is no revision", revisions))
	}
	names, err := r.git(ctx, "diff", "--name-only", "-z", revisions, "--")
	if err != nil {
		return nil, nil, fail(err)
	}
	var files []string
	for name := range strings.SplitSeq(names, "\x00") {
		if name != "" && !r.recordFile(name) {
			files = append(files, name)
		}
	}
	slices.Sort(files)
	if len(files) > MaxList {
		return nil, nil, fail(fmt.Errorf("%d files differ, a record holds at most %d", len(files), MaxList))
	}
	diff, err := r.git(ctx, "diff", "-U0", "--no-color", "--no-ext-diff", "--no-renames", revisions, "--")
	if err != nil {
		return nil, nil, fail(err)
	}
	settings := slices.DeleteFunc(securitySettings(diff), func(s SecuritySetting) bool { return r.recordFile(s.File) })
	return files, settings[:min(len(settings), MaxList)], nil
}

// revision is what may be given to git as one: nothing that it could take for an option or a range.
var revision = regexp.MustCompile(`^[A-Za-z0-9_@][A-Za-z0-9_@{}^~/.+-]{0,250}$`)

// recordFile says whether a file of the repository is part of a change record.
func (r *Repository) recordFile(name string) bool {
	parts := strings.Split(filepath.ToSlash(name), "/")
	for i := range parts[:len(parts)-1] {
		if parts[i] == Folder && recordStem.MatchString(parts[i+1]) {
			return true
		}
	}
	return false
}

var recordStem = regexp.MustCompile(`^\d{4}-\d{2}-\d{2}-[a-z0-9-]+(\.yaml|\.md|\.svg)?$`)

// securityName finds the settings that decide who may do what, what is kept of a user, and what a cache may store.
var securityName = regexp.MustCompile(`(?i)\b(` +
	`secret_key\w*|allowed_hosts|debug|cors_\w+|allow_(?:origins|credentials|headers|methods)|csrf_\w+|csrf_exempt|` +
	`session_cookie_\w+|secure_\w+|httponly|samesite|set-cookie|www-authenticate|authorization|` +
	`cache[-_]control|vary|s-maxage|` +
	`requirepass|protected-mode|acl\w*|rename-command|sslmode|ssl_\w+|tls\w*|verify_ssl|verify|` +
	`password\w*|passwd|\w*_password|\w*_token|token|api_key|\w*_api_key|private_key|` +
	`permission_classes|authentication_classes|login_required|permission_required|principal|` +
	`max_upload\w*|data_upload_\w+|file_upload_\w+|limit_request_\w+|client_max_body_size|` +
	`x-frame-options|content-security-policy|strict-transport-security|x-forwarded-\w+|trusted_proxies|forwarded_allow_ips` +
	`)(?:["'\]]*\s*[:=(,]|\s*$)`)

// hunk is the head of a hunk: where its lines stand in the new file.
var hunk = regexp.MustCompile(`^@@ -\d+(?:,\d+)? \+(\d+)(?:,(\d+))? @@`)

// securitySettings reads a diff without context and returns the settings named in its lines, by file and line, each once.
// The values are not read.
func securitySettings(diff string) []SecuritySetting {
	var list []SecuritySetting
	at := map[[2]string]int{} // file and setting to its place in the list
	var file string
	line := 0
	lines := bufio.NewScanner(strings.NewReader(diff))
	lines.Buffer(make([]byte, 64<<10), maxGit)
	inHunk := false
	for lines.Scan() {
		text := lines.Text()
		switch {
		case strings.HasPrefix(text, "diff --git "):
			inHunk, file = false, ""
		case !inHunk && strings.HasPrefix(text, "--- a/"):
			file = strings.TrimSuffix(text[len("--- a/"):], "\t")
		case !inHunk && strings.HasPrefix(text, "+++ b/"):
			file = strings.TrimSuffix(text[len("+++ b/"):], "\t")
		case strings.HasPrefix(text, "@@ "):
			inHunk = true
			if m := hunk.FindStringSubmatch(text); m != nil {
				line, _ = strconv.Atoi(m[1])
			}
		case inHunk && file != "" && (strings.HasPrefix(text, "+") || strings.HasPrefix(text, "-")):
			for _, m := range securityName.FindAllStringSubmatch(text[1:], 20) {
				key := [2]string{file, m[1]}
				i, known := at[key]
				if !known && len(list) < MaxList {
					i, at[key] = len(list), len(list)
					list = append(list, SecuritySetting{File: file, Setting: m[1], Note: "taken out"})
					known = true
				}
				if known && text[0] == '+' && list[i].Line == 0 {
					list[i].Line, list[i].Note = line, ""
				}
			}
			if text[0] == '+' {
				line++
			}
		}
	}
	return list
}

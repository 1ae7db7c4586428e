package change

import (
	"context"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/demarc-dev/demarc/internal/note"
)

// Limits of what git is asked about one note.
const (
	maxNoteFiles  = 100
	maxNoteRoutes = 10
)

// ChangedSince returns the files and routes among a note's entities that a commit has touched after a day. A route counts as
// touched when a line of Python that holds its path, or the longest end of it that stands in the code, was added or taken out:
// routers are mounted below prefixes. A zero day stands for nothing to compare with: then nothing is returned.
func (r *Repository) ChangedSince(ctx context.Context, entities []note.Entity, day time.Time) ([]note.Change, error) {
	if day.IsZero() {
		return nil, nil
	}
	// The commits of the day itself are the change that the note tells of.
	since := "--since=" + day.AddDate(0, 0, 1).Format(time.RFC3339)
	var changes []note.Change
	args := []string{"log", since, "--format=%x01%ct", "--name-only", "-z", "--"}
	files := map[string]bool{}
	routes := 0
	for _, e := range entities {
		switch {
		case e.Type == "file" && len(files) < maxNoteFiles && !note.Leads(e.Name) && e.Name != "":
			files[e.Name] = true
			args = append(args, ":(top,literal)"+e.Name)
		case e.Type == "route" && routes < maxNoteRoutes:
			routes++
			at, err := r.routeChanged(ctx, e.Name, since)
			if err != nil {
				return nil, err
			}
			if !at.IsZero() {
				changes = append(changes, note.Change{Name: e.Name, Type: e.Type, At: at})
			}
		}
	}
	if len(files) == 0 {
		return changes, nil
	}
	out, err := r.git(ctx, args...)
	if err != nil {
		return nil, err
	}
	var at time.Time
	for field := range strings.FieldsFuncSeq(out, func(c rune) bool { return c == 0 || c == '\n' }) {
		if stamp, ok := strings.CutPrefix(field, "\x01"); ok {
			at = commitTime(stamp)
		} else if files[field] {
			delete(files, field) // the newest commit comes first
			changes = append(changes, note.Change{Name: field, Type: "file", At: at})
		}
	}
	return changes, nil
}

func commitTime(stamp string) time.Time {
	seconds, err := strconv.ParseInt(strings.TrimSpace(stamp), 10, 64)
	if err != nil {
		return time.Time{}
	}
	return time.Unix(seconds, 0).UTC()
}

// routeChanged returns when the newest commit touched a line that declares a route; zero: none did, or no line does.
func (r *Repository) routeChanged(ctx context.Context, route, since string) (time.Time, error) {
	patterns := routePatterns(route)
	for i, p := range patterns {
		if i < len(patterns)-1 { // the last is asked for in any case: its line may be gone
			if out, err := r.git(ctx, "grep", "-l", "-E", "-e", p, "--", ":(top)*.py"); err != nil || out == "" {
				if ctx.Err() != nil {
					return time.Time{}, ctx.Err()
				}
				continue
			}
		}
		out, err := r.git(ctx, "log", since, "-1", "--format=%ct", "-G"+p, "--", ":(top)*.py")
		if err != nil {
			return time.Time{}, err
		}
		return commitTime(out), nil
	}
	return time.Time{}, nil
}

var routeParameter = regexp.MustCompile(`\{[^}]*\}|<[^>]*>`)

// routePatterns are extended regular expressions for the string that declares a route: its whole path first, then its ends. A
// parameter may be written as any framework writes it. An end without a fixed part says nothing and is left out.
func routePatterns(route string) []string {
	_, path, ok := strings.Cut(route, " ")
	if !ok {
		path = route
	}
	segments := strings.Split(strings.Trim(path, "/"), "/")
	if len(segments) > 20 || len(path) > 500 {
		return nil
	}
	var patterns []string
	for i := range segments {
		fixed := false
		var parts []string
		for _, s := range segments[i:] {
			rest := routeParameter.ReplaceAllString(s, "\x00")
			fixed = fixed || strings.Trim(rest, "\x00") != ""
			parts = append(parts, strings.ReplaceAll(regexp.QuoteMeta(rest), "\x00", `[{<][^}>]*[}>]`))
		}
		if fixed {
			patterns = append(patterns, `["'^]/?`+strings.Join(parts, "/")+`/?[$]?["']`)
		}
	}
	return patterns
}

// Package notesite writes notes as a static site: plain HTML with its style, without a script, that loads nothing from outside.
package notesite

import (
	_ "embed"

	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

//go:embed site.html
var siteHTML string

//go:embed site.css
var siteCSS string

var pages = template.Must(template.New("site").Parse(siteHTML))

// markName is the file by which a folder is known as a site of demarc.
const markName = ".demarc-site"

const markText = "This folder is written by demarc note render, and replaced as a whole each time.\n"

// perPage is how many notes one page of the index lists.
const perPage = 100

// Site is a site that is being written. It lies beside its place until Finish, so that there is either the old one or the whole new
// one.
type Site struct {
	title, dir, tmp string
	style           template.CSS
	styleHash       string
	listed, waiting []entry
	names           map[string]string // page to the note's path
	ready           map[string]bool   // folders that are there
}

// entry is a note in a list.
type entry struct {
	Page, Topic, Brief, Date, State, Difficulty string
	Minutes                                     int
	Tags                                        []string
}

// New begins a site in a folder, which must not be there yet, be empty, or be a site of demarc.
func New(dir, title string) (*Site, error) {
	dir = filepath.Clean(dir)
	if err := ours(dir); err != nil {
		return nil, err
	}
	parent := filepath.Dir(dir)
	if err := os.MkdirAll(parent, 0o755); err != nil {
		return nil, cannot(dir, err)
	}
	tmp, err := os.MkdirTemp(parent, "."+filepath.Base(dir)+".tmp-")
	if err != nil {
		return nil, cannot(dir, err)
	}
	sum := sha256.Sum256([]byte(siteCSS))
	s := &Site{title: title, dir: dir, tmp: tmp, style: template.CSS(siteCSS), styleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		names: map[string]string{}, ready: map[string]bool{}}
	if err := errors.Join(os.Chmod(tmp, 0o755), s.write(markName, []byte(markText))); err != nil {
		s.Abandon()
		return nil, cannot(dir, err)
	}
	return s, nil
}

// ours refuses a folder that demarc has not written.
func ours(dir string) error {
	info, err := os.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	refuse := func(cause error) error {
		return &fault.Error{What: "cannot write a site over " + dir, Cause: cause, Expected: "a folder that is not there yet, is empty, or was written by demarc note render",
			Retry: fault.RetryUseless, Try: "another folder: --site " + dir + "/notes", Code: fault.ExitUsage}
	}
	if err != nil {
		return refuse(err)
	}
	if !info.IsDir() {
		return refuse(errors.New("it is no folder"))
	}
	if base := filepath.Base(dir); base == "." || base == ".." || base == string(filepath.Separator) {
		return refuse(errors.New("the folder that demarc is called in cannot be replaced"))
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return refuse(err)
	}
	if mark, err := os.ReadFile(filepath.Join(dir, markName)); len(entries) > 0 && (err != nil || string(mark) != markText) {
		return refuse(errors.New("it holds files that demarc has not written"))
	}
	return nil
}

func cannot(dir string, err error) error {
	return &fault.Error{What: "cannot write the site " + dir, Cause: err, Expected: "space and permission to write there and in the folder above", Retry: fault.RetrySafe}
}

func (s *Site) write(name string, data []byte) error {
	path := filepath.Join(s.tmp, name)
	if dir := filepath.Dir(path); !s.ready[dir] {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		s.ready[dir] = true
	}
	return os.WriteFile(path, data, 0o644)
}

// pageName is the name of a note's page, which holds nothing that leads elsewhere, whatever the note's file is called.
func pageName(id, path string) string {
	if note.ValidID(id) && id != "index" {
		return id
	}
	return "note-" + shortHash(path)
}

func shortHash(s string) string {
	sum := sha256.Sum256([]byte(s))
	return hex.EncodeToString(sum[:5])
}

// page is what the templates show.
type page struct {
	Title, Site, StyleHash string
	Style                  template.CSS
	Up                     string // to the folder of the site
	NoIndex                bool

	Note    *note.View
	Article template.HTML
	Figures []template.HTML // of the head, that the article does not show
	Fields  []note.Field
	Scores  []score
	Similar []similar

	Entries           []entry
	Total, Waiting    int
	Number, Of        int
	Previous, Next    string
	First, IsWaitPage bool
}

type score struct {
	Name  string
	Met   []note.Item
	Unmet []note.Item
}

type similar struct {
	Page, Topic string
	Reasons     []string
}

// Add writes the page of one note; dir is the folder that its file lies in.
func (s *Site) Add(v *note.View, dir string) error {
	name := pageName(v.ID, v.Path)
	if _, twice := s.names[name]; twice {
		name += "-" + shortHash(v.Path)
	}
	s.names[name] = v.Path
	hidden := v.Head.Hidden()
	local := map[string]string{}
	picture := func(address string) string {
		file, known := local[address]
		if !known {
			if file = s.copyImage(dir, address); file != "" {
				file = "../images/" + file
			}
			local[address] = file
		}
		return file
	}
	text, shown, err := article(v.Head.Topic, v.Head.Summary, []byte(v.Text), v.Head.ImageSources, picture)
	if err != nil {
		return err
	}
	p := s.page(v.Head.Topic, "../")
	p.NoIndex, p.Note, p.Article, p.Fields = hidden, v, template.HTML(text), v.Fields() //nolint:gosec // article escapes
	for _, i := range v.Head.ImageSources {
		if !shown[i.Address] {
			p.Figures = append(p.Figures, template.HTML(figure(i, i.Caption, picture(i.Address), true))) //nolint:gosec // figure escapes
		}
	}
	for _, name := range note.ScoreNames {
		sc := score{Name: name}
		for _, i := range v.Of(name) {
			if i.Met {
				sc.Met = append(sc.Met, i)
			} else {
				sc.Unmet = append(sc.Unmet, i)
			}
		}
		p.Scores = append(p.Scores, sc)
	}
	for _, o := range v.Similar {
		p.Similar = append(p.Similar, similar{pageName(o.ID, o.Path) + ".html", o.Topic, o.Reasons})
	}
	e := entry{Page: "notes/" + name + ".html", Topic: v.Head.Topic, Brief: v.Head.Brief, Date: v.Head.Date, State: v.State, Difficulty: v.Head.Difficulty, Minutes: v.Head.ReadingTime}
	for _, en := range v.Head.Entities {
		if (en.Type == "route" || en.Type == "cause" || en.Type == "boundary") && len(e.Tags) < 4 && !slices.Contains(e.Tags, en.Name) {
			e.Tags = append(e.Tags, en.Name)
		}
	}
	if hidden {
		s.waiting = append(s.waiting, e)
	} else {
		s.listed = append(s.listed, e)
	}
	return s.execute("note", "notes/"+name+".html", p)
}

func (s *Site) page(title, up string) *page {
	return &page{Title: title, Site: s.title, Style: s.style, StyleHash: s.styleHash, Up: up}
}

func (s *Site) execute(name, file string, p *page) error {
	var b bytes.Buffer
	if err := pages.ExecuteTemplate(&b, name, p); err != nil {
		return err
	}
	if err := s.write(file, b.Bytes()); err != nil {
		return cannot(s.dir, err)
	}
	return nil
}

// Finish writes the lists and puts the site in its place.
func (s *Site) Finish() error {
	if err := s.list("index", s.listed, false); err != nil {
		return err
	}
	if err := s.list("waiting", s.waiting, true); err != nil {
		return err
	}
	if err := ours(s.dir); err != nil { // it may have come meanwhile
		return err
	}
	if err := note.SyncAll(s.tmp); err != nil {
		return cannot(s.dir, err)
	}
	if err := s.swap(); err != nil {
		return cannot(s.dir, err)
	}
	return nil
}

// swap exchanges the new site and the old one, and takes the old one away.
func (s *Site) swap() error {
	if _, err := os.Lstat(s.dir); errors.Is(err, fs.ErrNotExist) {
		return os.Rename(s.tmp, s.dir)
	}
	if err := exchange(s.tmp, s.dir); err == nil {
		return os.RemoveAll(s.tmp)
	}
	// Where the system cannot exchange two folders there is a moment without a site.
	old := s.tmp + ".old"
	if err := os.Rename(s.dir, old); err != nil {
		return err
	}
	if err := os.Rename(s.tmp, s.dir); err != nil {
		return errors.Join(err, os.Rename(old, s.dir))
	}
	return os.RemoveAll(old)
}

// Abandon takes away what was written; after Finish it does nothing.
func (s *Site) Abandon() { _ = os.RemoveAll(s.tmp) }

// list writes the pages of one list, newest first. There is always a first one.
func (s *Site) list(name string, entries []entry, waiting bool) error {
	slices.SortStableFunc(entries, func(a, b entry) int { return cmp.Or(strings.Compare(b.Date, a.Date), strings.Compare(a.Page, b.Page)) })
	count := max(1, (len(entries)+perPage-1)/perPage)
	file := func(i int) string {
		if i == 1 {
			return name + ".html"
		}
		return fmt.Sprintf("%s-%d.html", name, i)
	}
	for i := 1; i <= count; i++ {
		p := s.page(s.title, "")
		p.NoIndex, p.IsWaitPage, p.First = waiting, waiting, i == 1
		p.Entries = entries[(i-1)*perPage : min(i*perPage, len(entries))]
		p.Total, p.Waiting, p.Number, p.Of = len(entries), len(s.waiting), i, count
		if waiting {
			p.Title = "Notes that need human review"
		}
		if i > 1 {
			p.Previous = file(i - 1)
		}
		if i < count {
			p.Next = file(i + 1)
		}
		if err := s.execute("list", file(i), p); err != nil {
			return err
		}
	}
	return nil
}

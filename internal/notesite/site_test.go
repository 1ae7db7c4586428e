package notesite

import (
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/demarc-dev/demarc/internal/fault"
	"github.com/demarc-dev/demarc/internal/note"
)

var noon = time.Date(2026, 11, 22, 12, 0, 0, 0, time.UTC)

const pixel = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="

const longWord = "Pneumonoultramicroscopicsilicovolcanoconiosis"

// hostileNote has everything in it that must not come through.
func hostileNote() (note.Head, string) {
	h := note.Head{
		Topic: strings.Repeat(longWord, 6) + ` <script>alert(1)</script>`, Summary: `"><img src=x onerror=alert(2)>`, Date: "2026-11-20", Owner: "<b>Ada</b>",
		Outline: note.Outline{Context: "</dd><script>alert(3)</script>", Problem: "p", Stack: "s", RecommendedAction: "a"},
		Stack:   []string{"fastapi", "<i>redis</i>"}, Tools: []string{"demarc", "curl"}, Difficulty: "intermediate",
		Views:    &note.Views{Count: 12, Kind: note.ViewsSynthetic},
		Entities: []note.Entity{{Name: "GET /articles/{slug}", Type: "route"}, {Name: "forgot", Type: "cause"}},
		ImageSources: []note.ImageSource{
			{Source: "drawn by demarc <u>", Address: "chart.svg", Caption: "Before & after"},
			{Source: "a photographer", Address: "http://OUTSIDE/remote.png", Caption: "A far picture"},
			{Source: "x", Address: "../secret.png", Caption: "outside"},
		},
		Checklist: []string{"done: one", "open: two"}, Notes: []string{"a remark"}, Claims: []note.Claim{{Field: "scores.quality", Value: "97", From: "x.json"}},
	}
	body := "# " + strings.Repeat(longWord, 6) + "\n\nText with <script>alert(4)</script> and <b onclick=alert(5)>bold</b>.\n\n<iframe src=\"http://OUTSIDE/frame\"></iframe>\n\n" +
		"[run](javascript:alert(6)) [file](file:///etc/passwd) [data](data:text/html,x) [web](https://example.org/a?b=1&c=2) [coded](java&#115;cript:alert(7))\n\n" +
		"![Before & after](chart.svg)\n\n![far](http://OUTSIDE/far.png)\n\n![up](../secret.png)\n\n![evil](evil.svg)\n\n![p](pixel.png)\n\n" +
		"| metric | before | after | change | 95 % interval | verdict |\n|---|---|---|---|---|---|\n| p95_ms | 260.5 | 97.9 | −62 % | −73 % to −50 % | better |\n\n" +
		"```html\n<script>alert(8)</script>\n```\n\n" + strings.Repeat("`"+longWord+longWord+"` ", 5) + "\n\n```sql\nselect " + strings.Repeat("column_name, ", 60) + "\n```\n"
	return h, body
}

// build writes a site with the hostile note and some others, and returns its folder.
func build(t *testing.T, outside string) string {
	t.Helper()
	dir := t.TempDir()
	notes := filepath.Join(dir, "notes")
	svg := `<svg xmlns="http://www.w3.org/2000/svg" width="400" height="120"><rect width="400" height="120" fill="#fff"/><rect y="20" width="300" height="30" fill="#9aa4b0"/><rect y="60" width="110" height="30" fill="#0b63b8"/></svg>`
	png, err := base64.StdEncoding.DecodeString(pixel)
	if err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string]string{"notes/chart.svg": svg, "notes/evil.svg": `<svg xmlns="http://www.w3.org/2000/svg"><script>alert(9)</script></svg>`,
		"notes/pixel.png": string(png), "secret.png": string(png)} {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(data), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	s, err := New(filepath.Join(dir, "site"), "Notes of the <shop>")
	if err != nil {
		t.Fatal(err)
	}
	defer s.Abandon()
	add := func(id string, h note.Head, body string, similar ...note.Similar) {
		t.Helper()
		h.ContentHash = note.Hash([]byte(body))
		if err := s.Add(note.NewView(id, "notes/"+id+".md", &h, []byte(body), note.Evidence{Now: noon}, similar), notes); err != nil {
			t.Fatal(err)
		}
	}
	h, body := hostileNote()
	body = strings.ReplaceAll(body, "OUTSIDE", outside)
	h.ImageSources[1].Address = strings.ReplaceAll(h.ImageSources[1].Address, "OUTSIDE", outside)
	add("hostile", h, body, note.Similar{ID: "plain", Path: "notes/plain.md", Topic: "Plain <x>", Reasons: []string{"same cause: forgot", "same route: GET /articles/{slug}"}})
	add("plain", note.Head{Topic: "Plain <x>", Summary: "Short.", Date: "2026-11-21"}, "text\n")
	add("waits", note.Head{Topic: "Waits", Flags: note.Flags{NeedsHumanReview: true}, Revision: note.Revision{Status: note.Reviewed, ReviewedBy: "Eve", LastReviewed: "2026-01-01"}}, "text\n")
	add("../../../up", note.Head{Topic: "A name that leads out"}, "text\n")
	for i := range perPage {
		add(fmt.Sprintf("many-%03d", i), note.Head{Topic: fmt.Sprint("Many ", i), Date: "2020-01-01"}, "text\n")
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	return filepath.Join(dir, "site")
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestSiteEscapes(t *testing.T) {
	dir := build(t, "outside.example")
	page := read(t, filepath.Join(dir, "notes", "hostile.html"))
	article, _, _ := strings.Cut(page, "<footer>")
	for _, never := range []string{"<script", "<iframe", "javascript:", "file:///", "data:text", "<b>", "<u>", "<i>", "evil", "<img src=\"http", "<img src=x", "noindex"} {
		if never == "evil" {
			if strings.Contains(page, "images/evil") {
				t.Error("the drawing with a script is there")
			}
			continue
		}
		if strings.Contains(article, never) {
			t.Errorf("%q came through:\n%s", never, page)
		}
	}
	if regexp.MustCompile(`<[^>]*\son[a-z]+\s*=`).MatchString(page) {
		t.Error("a handler came through")
	}
	for _, want := range []string{"default-src &#39;none&#39;", "&lt;script&gt;alert(1)", `<figcaption>Before &amp; after <span class="source">Source: drawn by demarc &lt;u&gt;</span>`,
		`<a class="remote" href="http://outside.example/far.png"`, `<a class="remote" href="http://outside.example/remote.png"`, `href="https://example.org/a?b=1&amp;c=2"`,
		"<dt>stack</dt><dd><ul><li>fastapi</li>", "<li>done: one</li><li>open: two</li>", `<li class="met">baseline present`, "12 (synthetic, not counted by demarc)",
		`<a href="plain.html">Plain &lt;x&gt;</a><ul><li>same cause: forgot</li>`, "claims, not confirmed by demarc"} {
		want = strings.ReplaceAll(want, "&#39;", "'")
		if !strings.Contains(page, want) {
			t.Errorf("%q is missing in\n%s", want, page)
		}
	}
	if strings.Count(page, "<h1>") != 1 {
		t.Errorf("%d titles", strings.Count(page, "<h1>"))
	}
	waits := read(t, filepath.Join(dir, "notes", "waits.html"))
	if !strings.Contains(waits, `<meta name="robots" content="noindex, nofollow">`) || !strings.Contains(waits, "Needs human review") || strings.Contains(waits, "reviewed by Eve") {
		t.Errorf("the waiting note:\n%s", waits)
	}
	index := read(t, filepath.Join(dir, "index.html"))
	if strings.Contains(index, "notes/waits.html") || !strings.Contains(index, `href="waiting.html">1 more`) || !strings.Contains(index, "page 1 of 2") {
		t.Errorf("the index:\n%s", index)
	}
	if list := read(t, filepath.Join(dir, "waiting.html")); !strings.Contains(list, "noindex") || !strings.Contains(list, "notes/waits.html") {
		t.Errorf("the list of those that wait:\n%s", list)
	}
	images, err := os.ReadDir(filepath.Join(dir, "images"))
	if err != nil || len(images) != 2 { // chart and pixel
		t.Errorf("pictures: %v, %v", images, err)
	}
	if found, _ := filepath.Glob(filepath.Join(dir, "notes", "note-*.html")); len(found) != 1 {
		t.Errorf("the page of a name that leads out: %v", found)
	}
}

// The folder is the old site or the new one, and never somebody else's.
func TestSiteKeepsToItsFolder(t *testing.T) {
	dir := t.TempDir()
	site := filepath.Join(dir, "site")
	one := func(topic string) error {
		s, err := New(site, "Notes")
		if err != nil {
			return err
		}
		defer s.Abandon()
		if err := s.Add(note.NewView("a", "notes/a.md", &note.Head{Topic: topic}, []byte("x\n"), note.Evidence{Now: noon}, nil), dir); err != nil {
			return err
		}
		return s.Finish()
	}
	for _, topic := range []string{"first", "second"} {
		if err := one(topic); err != nil {
			t.Fatal(err)
		}
		if page := read(t, filepath.Join(site, "notes", "a.html")); !strings.Contains(page, topic) {
			t.Error(page)
		}
	}
	if s, err := New(site, "x"); err != nil {
		t.Fatal(err)
	} else {
		s.Abandon()
	}
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 {
		t.Errorf("left behind: %v, %v", entries, err)
	}
	if err := os.Remove(filepath.Join(site, markName)); err != nil {
		t.Fatal(err)
	}
	if err := one("third"); fault.ExitCode(err) != fault.ExitUsage {
		t.Errorf("a folder without the mark was taken: %v", err)
	}
	if page := read(t, filepath.Join(site, "notes", "a.html")); !strings.Contains(page, "second") {
		t.Error("it was written over")
	}
	for _, bad := range []string{".", "..", "/"} {
		if _, err := New(bad, "x"); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := New(file, "x"); err == nil {
		t.Error("a file was taken")
	}
}

// A text that would keep a reader of Markdown busy for minutes is shown as it is written.
func TestBombIsShownAsText(t *testing.T) {
	out, _, err := article("x", "y", []byte(strings.Repeat("[a](", 200000)+"<b>"), nil, nil)
	if err != nil || !strings.Contains(out, "shown as it is written") || strings.Contains(out, "<b>") {
		t.Errorf("%v: %.300s", err, out)
	}
}

func TestCheckSVG(t *testing.T) {
	for svg, ok := range map[string]bool{
		`<svg xmlns="http://www.w3.org/2000/svg"><title>x</title><rect width="1"/></svg>`: true,
		`<svg><script/></svg>`: false, `<svg onload="x"/>`: false, `<svg><image href="http://x"/></svg>`: false, `<svg><foreignObject/></svg>`: false,
		`<svg><a href="x"/></svg>`: false, `<!DOCTYPE svg [<!ENTITY a "b">]><svg/>`: false, `<svg><rect fill="url(http://x)"/></svg>`: false, `<svg><rect fill="url(#g)"/></svg>`: true,
		`<svg><rect style="background:url(x)"/></svg>`: false, `<svg`: false, `<?xml version="1.0"?><svg/>`: true, `<?xml-stylesheet href="x"?><svg/>`: false,
	} {
		if err := checkSVG([]byte(svg)); (err == nil) != ok {
			t.Errorf("%s: %v", svg, err)
		}
	}
}

// FuzzArticle holds whatever a text is to: no script, no handler, nothing loaded from outside.
func FuzzArticle(f *testing.F) {
	_, body := hostileNote()
	f.Add(body)
	f.Add("<a\nhref=\"javascript:x\">\n\n[x](<java\tscript:y> 't')\n\n![a](//x/y)")
	loads := regexp.MustCompile(`(?i)<(script|iframe|object|embed|link|style|form|meta|base)|<[^>"]*("[^"]*"[^>"]*)*\son[a-z]+\s*=|(src)="([^.]|\.[^.])`)
	links := regexp.MustCompile(`href="([^"]*)"`)
	f.Fuzz(func(t *testing.T, body string) {
		if len(body) > 16<<10 {
			return
		}
		out, _, err := article("x", "y", []byte(body), nil, func(string) string { return "../images/x.png" })
		if err != nil {
			t.Fatal(err)
		}
		if m := loads.FindString(out); m != "" {
			t.Fatalf("%q in %q", m, out)
		}
		for _, m := range links.FindAllStringSubmatch(out, -1) {
			if a := strings.ToLower(m[1]); !strings.HasPrefix(a, "http://") && !strings.HasPrefix(a, "https://") && !strings.HasPrefix(a, "mailto:") && !strings.HasPrefix(a, "#") {
				t.Fatalf("a link to %q", m[1])
			}
		}
	})
}

// TestSiteInABrowser opens the site in a real browser: nothing of it runs, nothing is asked of another host, and nothing is wider than
// the window.
func TestSiteInABrowser(t *testing.T) {
	browser := ""
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome", "google-chrome-stable"} {
		if path, err := exec.LookPath(name); err == nil {
			browser = path
			break
		}
	}
	if browser == "" {
		t.Fatal("there is no chromium or google-chrome in PATH, which this test opens the site in: apt-get install chromium")
	}
	var mu sync.Mutex
	var asked []string
	outside := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		asked = append(asked, r.URL.String())
	}))
	defer outside.Close()
	dir := build(t, strings.TrimPrefix(outside.URL, "http://"))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.FileServer(http.Dir(dir)), ReadHeaderTimeout: time.Minute}
	go func() { _ = server.Serve(listener) }()
	defer server.Close()
	options := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(browser), chromedp.NoSandbox, chromedp.UserDataDir(t.TempDir()), chromedp.WSURLReadTimeout(time.Minute))
	allocator, cancel := chromedp.NewExecAllocator(context.Background(), options...)
	defer cancel()
	ctx, cancel := chromedp.NewContext(allocator)
	defer cancel()
	ctx, cancel = context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	var requests, dialogs []string
	chromedp.ListenTarget(ctx, func(e any) {
		mu.Lock()
		defer mu.Unlock()
		switch e := e.(type) {
		case *network.EventRequestWillBeSent:
			requests = append(requests, e.Request.URL)
		case *runtime.EventExceptionThrown:
			dialogs = append(dialogs, e.ExceptionDetails.Text)
		}
	})
	for _, base := range []string{"http://" + listener.Addr().String(), "file://" + dir} {
		for _, width := range []int64{1280, 360} {
			for _, page := range []string{"/index.html", "/notes/hostile.html", "/waiting.html"} {
				var wide, scripts, images, broken int
				if err := chromedp.Run(ctx, network.Enable(), emulation.SetDeviceMetricsOverride(width, 900, 1, false), chromedp.Navigate(base+page), chromedp.WaitReady("footer"),
					chromedp.Evaluate(`document.documentElement.scrollWidth - document.documentElement.clientWidth`, &wide),
					chromedp.Evaluate(`document.scripts.length`, &scripts),
					chromedp.Evaluate(`document.images.length`, &images),
					chromedp.Evaluate(`(async () => { for (const i of document.images) { i.loading = "eager"; try { await i.decode() } catch (e) {} } return [...document.images].filter(i => !i.naturalWidth).length })()`, &broken,
						func(p *runtime.EvaluateParams) *runtime.EvaluateParams { return p.WithAwaitPromise(true) }),
				); err != nil {
					t.Fatal(base, page, err)
				}
				if wide > 0 || scripts > 0 || broken > 0 || strings.Contains(page, "hostile") && images != 2 {
					t.Errorf("%s%s at %d: %d too wide, %d scripts, %d of %d pictures not shown", base, page, width, wide, scripts, broken, images)
				}
				if to := os.Getenv("DEMARC_SCREENSHOTS"); to != "" {
					screenshot(ctx, t, filepath.Join(to, fmt.Sprintf("%s-%d.png", strings.ReplaceAll(strings.Trim(page, "/"), "/", "-"), width)))
				}
			}
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for _, r := range requests {
		if !strings.HasPrefix(r, "http://"+listener.Addr().String()) && !strings.HasPrefix(r, "file://"+dir) {
			t.Errorf("asked for %s", r)
		}
	}
	if len(asked) > 0 || len(dialogs) > 0 || len(requests) < 12 {
		t.Errorf("of the other host: %v; ran: %v; requests: %d", asked, dialogs, len(requests))
	}
}

// screenshot keeps a picture of the page for a person to look at.
func screenshot(ctx context.Context, t *testing.T, path string) {
	t.Helper()
	var png []byte
	if err := chromedp.Run(ctx, chromedp.FullScreenshot(&png, 100)); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, png, 0o644); err != nil {
		t.Fatal(err)
	}
}

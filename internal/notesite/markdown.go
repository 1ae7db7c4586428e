package notesite

import (
	"bytes"
	"html"
	"net/url"
	"path"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	"github.com/yuin/goldmark/renderer"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"

	"github.com/demarc-dev/demarc/internal/note"
)

// article turns the text of a note into HTML. Raw HTML in it is left out; links lead to the web or within the site, and nothing is
// loaded from outside: a picture elsewhere becomes a link. picture returns the address of a local picture within the site, empty
// where there is none. sources are the head's; an article names caption and source of the pictures that it shows, and returns the
// addresses of those.
func article(topic, summary string, body []byte, sources []note.ImageSource, picture func(address string) string) (string, map[string]bool, error) {
	m := goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough))
	if err := note.CheckMarkdown(body); err != nil { // a file that a person put there; those that were imported have passed
		return "<p class=\"left-out\">(shown as it is written: " + html.EscapeString(err.Error()) + ")</p>\n<pre>" + html.EscapeString(string(body)) + "</pre>\n", map[string]bool{}, nil
	}
	doc := m.Parser().Parse(text.NewReader(body))
	dropRepeated(doc, body, topic, summary)
	_ = ast.Walk(doc, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if h, ok := n.(*ast.Heading); ok && entering {
			h.Level = min(6, h.Level+1) // the page's own title stands above
		}
		return ast.WalkContinue, nil
	})
	r := &nodes{sources: map[string]note.ImageSource{}, picture: picture, shown: map[string]bool{}}
	for _, s := range sources {
		r.sources[s.Address] = s
	}
	m.Renderer().AddOptions(renderer.WithNodeRenderers(util.Prioritized(r, 1)))
	var out bytes.Buffer
	err := m.Renderer().Render(&out, body, doc)
	return out.String(), r.shown, err
}

// dropRepeated takes out a heading and a paragraph at the start of a text that say what the page shows above it: topic and summary.
func dropRepeated(doc ast.Node, body []byte, topic, summary string) {
	if h, ok := doc.FirstChild().(*ast.Heading); ok && h.Level == 1 && sameWords(plainOf(h, body), topic) {
		doc.RemoveChild(doc, h)
	}
	if p, ok := doc.FirstChild().(*ast.Paragraph); ok && summary != "" && sameWords(plainOf(p, body), summary) {
		doc.RemoveChild(doc, p)
	}
}

func plainOf(n ast.Node, source []byte) string {
	var b strings.Builder
	_ = ast.Walk(n, func(n ast.Node, entering bool) (ast.WalkStatus, error) {
		if t, ok := n.(*ast.Text); ok && entering {
			b.Write(t.Value(source))
			if t.SoftLineBreak() {
				b.WriteByte(' ')
			}
		}
		return ast.WalkContinue, nil
	})
	return b.String()
}

// sameWords compares what is left without marks of Markdown.
func sameWords(a, b string) bool {
	words := func(s string) string {
		return strings.Join(strings.Fields(strings.NewReplacer("\\", "", "`", "", "*", "", "_", "").Replace(strings.ToLower(s))), " ")
	}
	return words(a) == words(b)
}

// nodes renders the parts of an article that could load or lead anywhere.
type nodes struct {
	sources map[string]note.ImageSource
	picture func(string) string
	shown   map[string]bool
}

func (r *nodes) RegisterFuncs(reg renderer.NodeRendererFuncRegisterer) {
	reg.Register(ast.KindLink, r.link)
	reg.Register(ast.KindAutoLink, r.autoLink)
	reg.Register(ast.KindImage, r.image)
	reg.Register(ast.KindParagraph, r.paragraph)
	reg.Register(ast.KindRawHTML, r.raw)
	reg.Register(ast.KindHTMLBlock, r.raw)
	reg.Register(ast.KindFencedCodeBlock, r.code)
}

func (r *nodes) raw(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	if entering && n.Kind() == ast.KindHTMLBlock {
		_, _ = w.WriteString("<p class=\"left-out\">(HTML is left out here)</p>\n")
	}
	return ast.WalkSkipChildren, nil
}

func (r *nodes) code(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.FencedCodeBlock)
	_, _ = w.WriteString("<pre tabindex=\"0\"")
	if l := n.Language(source); len(l) > 0 && len(l) <= 40 {
		_, _ = w.WriteString(" data-language=\"" + html.EscapeString(string(l)) + "\"")
	}
	_, _ = w.WriteString("><code>")
	for i := range n.Lines().Len() {
		line := n.Lines().At(i)
		_, _ = w.WriteString(html.EscapeString(string(line.Value(source))))
	}
	_, _ = w.WriteString("</code></pre>\n")
	return ast.WalkSkipChildren, nil
}

func (r *nodes) paragraph(w util.BufWriter, _ []byte, n ast.Node, entering bool) (ast.WalkStatus, error) {
	tag := "p"
	if alone(n) {
		tag = "figure"
	}
	if entering {
		_, _ = w.WriteString("<" + tag + ">")
	} else {
		_, _ = w.WriteString("</" + tag + ">\n")
	}
	return ast.WalkContinue, nil
}

// alone says whether a paragraph is a picture and nothing else.
func alone(n ast.Node) bool {
	return n.Kind() == ast.KindParagraph && n.ChildCount() == 1 && n.FirstChild().Kind() == ast.KindImage
}

func (r *nodes) link(w util.BufWriter, _ []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	address, ok := safeLink(string(node.(*ast.Link).Destination))
	switch {
	case !ok:
	case entering:
		_, _ = w.WriteString(`<a href="` + html.EscapeString(address) + `" rel="nofollow noopener noreferrer">`)
	default:
		_, _ = w.WriteString("</a>")
	}
	return ast.WalkContinue, nil
}

func (r *nodes) autoLink(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.AutoLink)
	label, address := html.EscapeString(string(n.Label(source))), string(n.URL(source))
	if n.AutoLinkType == ast.AutoLinkEmail {
		address = "mailto:" + strings.TrimPrefix(address, "mailto:")
	}
	if a, ok := safeLink(address); ok {
		label = `<a href="` + html.EscapeString(a) + `" rel="nofollow noopener noreferrer">` + label + "</a>"
	}
	_, _ = w.WriteString(label)
	return ast.WalkSkipChildren, nil
}

func (r *nodes) image(w util.BufWriter, source []byte, node ast.Node, entering bool) (ast.WalkStatus, error) {
	if !entering {
		return ast.WalkContinue, nil
	}
	n := node.(*ast.Image)
	address := string(n.Destination)
	s, known := r.sources[address]
	if r.shown[address] = true; !known {
		s = note.ImageSource{Address: address, Caption: plainOf(n, source)}
	}
	_, _ = w.WriteString(figure(s, plainOf(n, source), r.picture(address), alone(node.Parent())))
	return ast.WalkSkipChildren, nil
}

// figure is one picture with its caption and source, or a link to one that lies elsewhere.
func figure(s note.ImageSource, alt, local string, block bool) string {
	var b strings.Builder
	caption := s.Caption
	if caption == "" {
		caption = alt
	}
	address, remote := safeLink(s.Address)
	remote = remote && strings.Contains(address, "://")
	switch {
	case local != "":
		b.WriteString(`<img src="` + html.EscapeString(local) + `" alt="` + html.EscapeString(alt) + `" loading="lazy">`)
	case remote:
		u, _ := url.Parse(address)
		host := ""
		if u != nil {
			host = u.Host
		}
		b.WriteString(`<a class="remote" href="` + html.EscapeString(address) + `" rel="nofollow noopener noreferrer">Picture at ` + html.EscapeString(host) + `</a>`)
	default:
		b.WriteString(`<span class="left-out">(a picture that is not here: ` + html.EscapeString(path.Base(s.Address)) + `)</span>`)
	}
	if block {
		b.WriteString("<figcaption>" + html.EscapeString(caption))
		if s.Source != "" {
			b.WriteString(` <span class="source">Source: ` + html.EscapeString(s.Source) + "</span>")
		}
		b.WriteString("</figcaption>")
	}
	return b.String()
}

// safeLink says whether an address may be a link of the site: on the web, a mail address, or a place within the page.
func safeLink(address string) (string, bool) {
	clean := strings.Map(func(c rune) rune {
		if c <= ' ' || c == 0x7f {
			return -1
		}
		return c
	}, address)
	u, err := url.Parse(clean)
	if err != nil {
		return "", false
	}
	switch strings.ToLower(u.Scheme) {
	case "http", "https":
		return u.String(), u.Host != ""
	case "mailto":
		return u.String(), true
	case "":
		return u.String(), u.Host == "" && strings.HasPrefix(clean, "#")
	}
	return "", false
}

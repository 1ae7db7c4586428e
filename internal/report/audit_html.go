package report

import (
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"fmt"
	"html/template"
	"io"
	"strings"

	"github.com/demarc-dev/demarc/internal/audit"
)

//go:embed audit.html
var auditText string

var auditPage = template.Must(template.New("audit").Funcs(template.FuncMap{"clean": plain, "integer": integer}).Parse(auditText))

// auditHead is a head of the checklist with its items.
type auditHead struct {
	Title string
	Items []audit.Item
}

// AuditHTML writes an audit as one page that needs nothing else: no script, nothing loaded, light and dark.
func AuditHTML(w io.Writer, rep *audit.Report) error {
	style := pageStyle + compareStyle
	sum := sha256.Sum256([]byte(style))
	c := rep.Counts
	v := struct {
		Rep                       *audit.Report
		Style                     template.CSS
		StyleHash, Title, Summary string
		Heads                     []auditHead
	}{
		Rep: rep, Style: template.CSS(style), StyleHash: "sha256-" + base64.StdEncoding.EncodeToString(sum[:]),
		Title:   "Audit of " + plain(rep.Project),
		Summary: fmt.Sprintf("%d failed (%d high, %d medium, %d low), %d passed, %d not seen", c.Fail, c.High, c.Medium, c.Low, c.Pass, c.NotSeen),
	}
	for _, x := range rep.Items {
		title, _, _ := strings.Cut(auditHeads[x.Head], "  ")
		title = title[:1] + strings.ToLower(title[1:])
		if n := len(v.Heads); n == 0 || v.Heads[n-1].Title != title {
			v.Heads = append(v.Heads, auditHead{Title: title})
		}
		h := &v.Heads[len(v.Heads)-1]
		h.Items = append(h.Items, x)
	}
	return auditPage.Execute(w, v)
}

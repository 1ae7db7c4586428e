package notesite

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/xml"
	"errors"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"syscall"

	"github.com/demarc-dev/demarc/internal/note"
)

// maxImage is the greatest size of a picture that is brought into the site, in bytes.
const maxImage = 5 << 20

// copyImage brings a picture that lies beside a note, or in a folder below it, into the site and returns its name there; empty:
// there is none, it is larger than maxImage, or it is no picture.
func (s *Site) copyImage(dir, address string) string {
	address, _, _ = strings.Cut(address, "#")
	if address == "" || strings.Contains(address, "://") || note.Leads(address) {
		return ""
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return ""
	}
	defer root.Close()
	f, err := root.OpenFile(filepath.FromSlash(path.Clean(address)), os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return ""
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() || info.Size() > maxImage {
		return ""
	}
	data, err := io.ReadAll(io.LimitReader(f, maxImage+1))
	if err != nil || len(data) > maxImage {
		return ""
	}
	end := strings.ToLower(path.Ext(address))
	kinds := map[string]string{".png": "image/png", ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".gif": "image/gif", ".webp": "image/webp"}
	switch {
	case end == ".svg":
		if checkSVG(data) != nil {
			return ""
		}
	case kinds[end] == "" || http.DetectContentType(data) != kinds[end]:
		return ""
	}
	sum := sha256.Sum256(data)
	name := hex.EncodeToString(sum[:10]) + end
	if err := s.write("images/"+name, data); err != nil {
		return ""
	}
	return name
}

var svgElements = map[string]bool{"svg": true, "g": true, "title": true, "desc": true, "rect": true, "path": true, "line": true, "text": true, "tspan": true,
	"circle": true, "ellipse": true, "polyline": true, "polygon": true, "defs": true, "linearGradient": true, "radialGradient": true, "stop": true, "clipPath": true}

// checkSVG lets a drawing in that only draws: elements that are known, no attribute that runs or loads something. A browser shows
// pictures without running what is in them; this holds for who opens the file itself, too.
func checkSVG(data []byte) error {
	d := xml.NewDecoder(bytes.NewReader(data))
	depth := 0
	for {
		t, err := d.Token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		switch t := t.(type) {
		case xml.StartElement:
			if depth++; !svgElements[t.Name.Local] || depth > 100 {
				return errors.New("an element that does not only draw: " + t.Name.Local)
			}
			for _, a := range t.Attr {
				name, value := strings.ToLower(a.Name.Local), strings.ToLower(a.Value)
				if strings.HasPrefix(name, "on") || name == "href" || name == "style" || strings.Contains(value, "javascript:") || strings.Contains(value, "url(") && !strings.Contains(value, "url(#") {
					return errors.New("an attribute that does not only draw: " + name)
				}
			}
		case xml.EndElement:
			depth--
		case xml.Directive, xml.ProcInst:
			if p, ok := t.(xml.ProcInst); ok && p.Target == "xml" {
				continue
			}
			return errors.New("a directive")
		}
	}
}

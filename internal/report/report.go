// Package report renders results: for a terminal, as JSON, as one HTML file. It computes nothing; what is not known is
// shown as such, and every doubt that a result carries is shown with it.
package report

import (
	"encoding/json"
	"io"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// JSON writes the report as one indented JSON object (schema baseline.Schema), members in a fixed order.
func JSON(w io.Writer, rep *baseline.Report) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	return enc.Encode(rep)
}

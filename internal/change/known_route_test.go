package change

import (
	"strings"
	"testing"

	"github.com/demarc-dev/demarc/internal/baseline"
)

// A route that a capture does not have is refused with those that it has; a capture without any says so.
func TestRouteThatIsNotThere(t *testing.T) {
	for _, c := range []struct {
		routes []baseline.Route
		want   string
	}{
		{nil, "it has no request at all"},
		{[]baseline.Route{{Route: "GET /tag"}}, "it has GET /tag"},
	} {
		var r Record
		err := r.FromBaseline(&baseline.Report{Routes: c.routes}, ".demarc/one", "GET /tags")
		if err == nil || !strings.HasSuffix(err.Error(), c.want) {
			t.Errorf("%v: %v, expected %q", c.routes, err, c.want)
		}
	}
}

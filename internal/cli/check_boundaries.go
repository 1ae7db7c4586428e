package cli

import (
	"cmp"
	"context"

	"github.com/demarc-dev/demarc/internal/boundary"
	"github.com/demarc-dev/demarc/internal/capture"
	"github.com/demarc-dev/demarc/internal/check"
)

// checkBoundaries holds the caches that a capture shows to an array of boundaries.
func checkBoundaries(ctx context.Context, op, file, dir string) ([]check.Declared, error) {
	f, err := boundary.Load(op, file)
	if err != nil {
		return nil, err
	}
	r, err := capture.Open(dir)
	if err != nil {
		return nil, err
	}
	v := boundary.NewVerifier(f)
	if v.Learns() {
		for batch, err := range r.Batches() {
			if err = cmp.Or(err, ctx.Err()); err != nil {
				return nil, err
			}
			v.Learn(batch)
		}
	}
	v.Learned()
	for batch, err := range r.Batches() {
		if err = cmp.Or(err, ctx.Err()); err != nil {
			return nil, err
		}
		v.Add(batch)
	}
	return v.Report(), nil
}

//go:build !linux

package notesite

import "errors"

func exchange(_, _ string) error { return errors.ErrUnsupported }

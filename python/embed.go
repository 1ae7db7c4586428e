// Package pyrecorder holds the recorder that runs inside Python processes, as files.
package pyrecorder

import "embed"

// Files are the bootstrap (boot/sitecustomize.py) and the package _demarc, without compiled files and tests.
//
//go:embed boot/*.py _demarc/*.py _demarc/hooks/*.py
var Files embed.FS

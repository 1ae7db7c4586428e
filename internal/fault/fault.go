// Package fault is the one form in which demarc says that something failed: what was attempted on what, why it
// failed, what was expected, whether a retry is safe, and what to try. The exit codes live here too.
package fault

import (
	"errors"
	"strings"
)

// Exit codes of every command; docs/exit-codes.md is the page for people.
const (
	ExitOK          = 0
	ExitFailed      = 1
	ExitUsage       = 2
	ExitCheck       = 10 // a check failed
	ExitTooFew      = 11 // too few samples to decide
	ExitFindings    = 12 // stale reads or leaks found, only with --fail-on-findings
	ExitCapture     = 20 // capture damaged or from a newer version
	ExitInterrupted = 130
)

// Retry says what happens if the same command is given again.
type Retry string

// The answers to "may I simply try again?".
const (
	RetrySafe    Retry = "safe"
	RetryUseless Retry = "safe, but it will fail the same way until the cause is gone"
	RetryUnsafe  Retry = "not safe"
)

// Error is a failure that a person can act on. Op names the command ("demarc run"), What the operation and its object
// ("cannot listen on 127.0.0.1:7171"), Cause the reason. The other fields may be empty; Code is the exit code and
// ExitFailed where it is zero.
type Error struct {
	Op       string
	What     string
	Cause    error
	Expected string
	Retry    Retry
	Try      string
	Code     int
}

// Error returns the first line only: operation, object and cause.
func (e *Error) Error() string {
	var b strings.Builder
	if e.Op != "" {
		b.WriteString(e.Op + ": ")
	}
	b.WriteString(e.What)
	if e.Cause != nil {
		b.WriteString(": " + e.Cause.Error())
	}
	return b.String()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Cause }

// Text returns the whole message for a terminal, without a final line end.
func (e *Error) Text() string {
	var b strings.Builder
	b.WriteString(e.Error())
	for _, l := range []struct{ label, text string }{
		{"expected: ", e.Expected}, {"retry:    ", string(e.Retry)}, {"try:      ", e.Try},
	} {
		if l.text != "" {
			b.WriteString("\n  " + l.label + strings.ReplaceAll(l.text, "\n", "\n            "))
		}
	}
	return b.String()
}

// ExitCode returns the exit code that an error asks for: ExitOK for nil, ExitFailed where it does not say.
func ExitCode(err error) int {
	if err == nil {
		return ExitOK
	}
	var f *Error
	if errors.As(err, &f) && f.Code != 0 {
		return f.Code
	}
	return ExitFailed
}

// Text returns the whole message of any error.
func Text(err error) string {
	var f *Error
	if errors.As(err, &f) {
		return f.Text()
	}
	return err.Error()
}

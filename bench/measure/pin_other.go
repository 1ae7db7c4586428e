//go:build !linux

package measure

// Pin does nothing where the system has no way to bind a process to a core.
func Pin(int) string { return "not bound to a core" }

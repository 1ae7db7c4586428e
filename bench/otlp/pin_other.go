//go:build !linux

package main

// pin does nothing where the system has no way to bind a process to a core.
func pin(int) string { return "not bound to a core" }

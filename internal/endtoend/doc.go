// Package endtoend holds tests of the whole: the built binary in front of real services, driven over HTTP, judged by
// what its commands print. It has no code of its own.
package endtoend

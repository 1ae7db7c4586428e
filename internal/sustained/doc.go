// Package sustained holds tests of the built binary under load that goes on and under kill -9: its memory, and what is
// left of a capture. It has no code of its own. The short forms run with the other tests; the long ones, named TestSoak…,
// with `make soak`, where DEMARC_SOAK_SECONDS (300) is how long the memory is watched and DEMARC_SOAK_KILLS (200) how
// often the collector is killed.
package sustained

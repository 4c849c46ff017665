// Package gates is the place of seccomp filters in the walk: the gate in front
// of every system call, and the harmless question that decides it.
package gates

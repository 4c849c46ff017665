// Package compat makes the system calls of another architecture, where the
// kernel takes them from this program too: those of 386 from one for amd64.
package compat

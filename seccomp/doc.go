// Package seccomp knows whether a filter is there and what it answers.
package seccomp

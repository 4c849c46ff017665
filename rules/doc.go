// Package rules holds the paths of system calls through the kernel, a file for
// each family, each rule a table of gates in the order in which the kernel
// asks them.
package rules

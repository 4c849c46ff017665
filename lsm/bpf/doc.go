// Package bpf knows the security modules that are BPF programs: which hooks
// they sit on, as far as this process may see. What they decide is in their
// code.
package bpf

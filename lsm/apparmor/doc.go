// Package apparmor asks AppArmor's policy itself what a profile allows, and
// writes the rule that is missing.
//
// The kernel answers through the file .access in securityfs: for files, exec,
// signals, ptrace, networks, mounts and user namespaces. Capabilities need no
// question there: capget(2) leaves out what the profile refuses (task.CapState).
package apparmor

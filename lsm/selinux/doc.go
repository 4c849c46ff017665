// Package selinux asks SELinux's policy itself: contexts of tasks and objects,
// the class and permissions that a hook asks for, and the answer.
package selinux

// Package module knows what all security modules have in common: which are
// active, their labels, the hooks at which the kernel asks them.
package module

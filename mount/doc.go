// Package mount knows what a mount refuses: read-only, noexec, nosuid, nodev,
// locked flags, and which file system lies below (fs/namespace.c).
package mount

// Package fanotify knows the programs that are asked before files are opened,
// executed and read, and may refuse it: fapolicyd, virus scanners (fanotify(7)).
// They are no security modules, but act where these do.
package fanotify

// Package landlock knows Landlock, by which programs restrict themselves: which
// rights each version of it can take away, whether this thread is in a sandbox,
// and what in a sandbox refuses.
package landlock

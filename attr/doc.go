// Package attr knows the attributes and states of inodes that refuse even
// root: immutable, append-only, in use as swap, sealed.
package attr

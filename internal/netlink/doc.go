// Package netlink asks the kernel questions by netlink(7), with plain system
// calls and a bound on the time that an answer may take.
package netlink

// Package netfilter knows what a sender can know of the firewall: the counters
// of discarded packets, for CAP_NET_ADMIN the chains that look at output, and
// how full the table of connections is.
package netfilter

//go:build linux

// Command init is process 1 of a guest of the lab: it prepares the machine as
// the plan says, runs the test binaries one after the other, tells on the second
// serial port what they wrote and how they ended, and powers off.
package main

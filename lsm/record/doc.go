// Package record reads what the kernel writes down of refusals: the kernel's
// log, the audit log, and what the audit subsystem sends to listeners. It
// reads with bounds, never waits for long, and takes names in the records for
// what they are: text that somebody else chose.
package record

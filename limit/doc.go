// Package limit knows resource limits (getrlimit(2)) and what they refuse.
package limit

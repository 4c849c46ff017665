// Package lockdown knows what kernel lockdown refuses: its levels, its reasons,
// and how the level in force is found out.
package lockdown

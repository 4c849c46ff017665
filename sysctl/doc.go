// Package sysctl knows settings that gate operations, and who may write below
// /proc/sys.
package sysctl

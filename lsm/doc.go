// Package lsm knows the security modules: which are active, what they say.
package lsm

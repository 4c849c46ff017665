//go:build !s390x

package landlock

// cloneArg is argument n of clone(2): flags, stack.
func cloneArg(flags uintptr, n int) uintptr {
	if n == 0 {
		return flags
	}
	return 0
}

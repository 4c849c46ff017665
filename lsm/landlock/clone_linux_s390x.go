package landlock

// cloneArg is argument n of clone(2): stack, flags (CONFIG_CLONE_BACKWARDS2).
func cloneArg(flags uintptr, n int) uintptr {
	if n == 1 {
		return flags
	}
	return 0
}

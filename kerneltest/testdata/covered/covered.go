// Package covered has functions that run in children only.
package covered

// Child runs in a child.
func Child() int { return 1 }

// Nobody runs in a child of another user.
func Nobody() int { return 2 }

// Sandboxed runs in a child that may write nowhere.
func Sandboxed() int { return 3 }

// Never runs nowhere.
func Never() int { return 4 }

package epermtest

// ForgetMain makes this process one whose TestMain does not call Main.
func ForgetMain() { mainCalled.Store(false) }

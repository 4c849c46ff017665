package eperm

//go:generate go run ./internal/gendocs

//go:build !linux

// Command gendocs writes documents from the rules, which only Linux has.
package main

import "log"

func main() { log.Fatal("gendocs: the rules are only there on Linux") }

//go:build !linux

package main

import "fmt"

func main() { fmt.Println("The tour is about Linux; here eperm only classifies errors.") }

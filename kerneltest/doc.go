// Package kerneltest makes the kernel the oracle of this module's own tests.
package kerneltest

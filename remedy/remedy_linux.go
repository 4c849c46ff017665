// Package remedy renders changes as remedies for the place where the process runs.
package remedy

import "github.com/go-eperm/eperm/check"

// Render makes remedies of a change.
func Render(w *check.World, op *check.Operation, c check.Change, then string) []check.Remedy {
	return []check.Remedy{{Title: string(c.Kind) + " " + c.Cap.String() + " " + c.Path + c.Name + " " + c.Value, For: "host", Risk: c.Risk, Warning: c.Warn, Then: then, Change: c}}
}

// Sort orders remedies.
func Sort(w *check.World, r []check.Remedy) {}

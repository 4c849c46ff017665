// Package check holds the words of the project: operations, worlds, probes,
// facts, gates, verdicts, rules, changes. It imports nothing of the module.
//
// A system call walks a fixed path through the kernel and stops at the first
// place that refuses. A [Rule] is that path, a [Gate] is one place on it, and
// a diagnosis is the replay of the walk: each gate reads facts through a
// [Pass], from a [World], and gives a [Verdict]. What it read is its evidence.
package check

// Package seccomp knows whether a task is under a seccomp filter, what the
// filter does with a system call, and the least change of a profile that lets
// one call through.
//
// [StatusOf] says whether there is a filter. [Verdict] asks the filters of the
// calling thread about one call, on the live kernel, without executing the
// call; it needs no privilege. [Ask] is the same by number. [FiltersOf] reads the filters of another task,
// which does need privilege; [Program] and [Evaluate] run them as the kernel
// does, and [Describe] says in words what they do with one call.
// [RuntimeProfile] knows the default profiles of container runtimes, and
// compiles them; [Patch] is one call to be let through, written for each of them.
//
// docs/seccomp-oracle.md explains why the answers can be trusted, and where not.
package seccomp

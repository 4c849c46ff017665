// Package eperm answers the question behind "operation not permitted": why did
// the kernel refuse this, and what is the least that makes it work?
//
//	f, err := os.OpenFile("/etc/app.conf", os.O_WRONLY, 0)
//	if d := eperm.Explain(err); d != nil {
//		fmt.Printf("%v\n", d)  // one line
//		fmt.Printf("%+v\n", d) // the whole walk, the evidence, the remedies
//	}
//
// [Explain] takes the error, and for calls whose arguments the error does not
// hold an [Operation] of package op. It replays the path of the system call
// through the kernel, gate by gate, from facts that it reads of the live
// system, and gives a [Diagnosis]: the cause, how sure it is, the capability
// that is lacking, the evidence, and remedies, each tried on a supposed world
// before it is offered. [Preflight] asks before anything is attempted.
//
// A diagnosis is confirmed only if one gate refuses with the very errno that
// was seen and every gate before it allows. A guess is marked as one.
//
// What it never does: start a process, change the process or the system,
// carry out a remedy, read logs or make probing system calls that it was not
// allowed to make ([Explainer]). Call it on the goroutine that got the error,
// locked to its thread where threads have credentials of their own.
//
// On systems other than Linux, Explain only classifies.
package eperm

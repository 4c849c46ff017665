package check

import "time"

// A Kernel is how probes reach the running kernel for one task. On systems
// other than Linux no world has one.
type Kernel struct {
	task  Task
	opts  Options
	world *World

	scratch []byte // that ReadText reads through
	shared  []sharedFile
}

// A sharedFile is what ReadShared has read.
type sharedFile struct {
	path string
	text string
	err  error
}

// Task is the task that questions are about.
func (k *Kernel) Task() Task { return k.task }

// Self says whether the calling thread is the task: raw system calls answer.
func (k *Kernel) Self() bool { return k.task.Self }

// World is the world that asks, for probes that stand on other facts.
func (k *Kernel) World() *World { return k.world }

// Options are the world's options.
func (k *Kernel) Options() Options { return k.opts }

func (k *Kernel) late() bool { return !k.opts.Deadline.IsZero() && time.Now().After(k.opts.Deadline) }

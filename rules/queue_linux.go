package rules

import (
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"golang.org/x/sys/unix"
)

// POSIX message queues: files of a file system that the kernel mounts for each
// IPC namespace, and that a process sees only where it is mounted once more.
var queueRules = []check.Rule{
	{
		Name: "mq_open", Calls: []string{"mq_open"}, Doc: "open a POSIX message queue",
		Gates: check.Gates( // ipc/mqueue.c:do_mq_open → lookup_one_len, prepare_open, dentry_open
			seccomp.Filter, known("queue"), queueName,
			queueSeen,
			queued(until(6, 16, dac.Want(check.Parent, func(*check.Operation) uint32 { return 1 }))), // since then the directory is searched without a check (lookup_noperm)
			check.When(makesQueue, queued(whenMissing(dac.Write(check.Parent))...)...),               // vfs_mkobj → may_create
			check.When(opensQueue, queued(dac.Want(check.Target, queueMode))...),                     // prepare_open
			check.When(opensQueue, queued(lsm.Permission(check.Target, queueMode)...)...),
			lsm.Hooks(lsm.File, "file_open"),
		),
	},
	{
		Name: "mq_unlink", Calls: []string{"mq_unlink"}, Doc: "remove a POSIX message queue",
		Gates: check.Gates( // ipc/mqueue.c:mq_unlink → lookup_one_len, vfs_unlink → may_delete
			seccomp.Filter, known("queue"), queueName,
			queueSeen, queued(whenExists(check.Target, dac.Write(check.Parent))), queued(stickyQueue),
			queued(lsm.Permission(check.Parent, func(*check.Operation) uint32 { return 3 })...),
			lsm.Hooks(lsm.File, "inode_unlink"),
		),
	},
}

// queueMode is prepare_open's: O_TRUNC and the rest of open(2) mean nothing to it.
func queueMode(o *check.Operation) uint32 {
	return map[int64]uint32{unix.O_RDONLY: 4, unix.O_WRONLY: 2, unix.O_RDWR: 6}[o.Int("flags")&unix.O_ACCMODE]
}

// queueMount is where this process sees a file system of queues; "" is nowhere.
var queueMount = check.Probe[inode.LinkText]{Name: "mqueue", Source: "/proc/self/mountinfo", Live: func(k *check.Kernel, _ string) (inode.LinkText, error) {
	b, err := k.ReadShared(k.Proc("mountinfo"))
	if err != nil {
		return inode.LinkText{}, err
	}
	return inode.LinkText{To: queuesIn(b)}, nil
}}

// queuesIn is the mount point of the last file system of queues in a mountinfo
// text; names with blanks are escaped there, and left out.
func queuesIn(table string) (point string) {
	for line := range strings.Lines(table) {
		head, tail, ok := strings.Cut(line, " - mqueue ")
		f := strings.Fields(head)
		if ok && tail != "" && len(f) >= 5 && f[3] == "/" && strings.HasPrefix(f[4], "/") && !strings.Contains(f[4], `\`) {
			point = f[4]
		}
	}
	return point
}

var queueNameDoc = check.Doc{
	ID: "queue.name", Title: "name of one component",
	Text:   "The name of a message queue is one component: not '.' or '..', no slash. The slash that mq_overview(7) puts before it is taken away by the C library.",
	Kernel: "fs/namei.c:lookup_one_common",
	Man:    "mq_overview(7)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

// badQueueName says what the kernel takes no name for.
func badQueueName(name string) string {
	switch {
	case name == "":
		return "the name of the queue is empty"
	case name == "." || name == "..":
		return "the name of the queue is " + name
	case strings.Contains(name, "/"):
		return "the name of the queue has a slash: " + check.Printable(name)
	}
	return ""
}

var queueName = check.Gate{Doc: &queueNameDoc, Run: func(p *check.Pass) check.Verdict {
	name := p.Op.Str("queue")
	bad := badQueueName(name)
	switch {
	case !p.Op.Has("queue") || bad == "":
		return p.Allow()
	case name == "":
		return p.AllowFor("an empty name is answered with ENOENT")
	}
	text := "give it a name of one component"
	if plain, ok := strings.CutPrefix(name, "/"); ok && badQueueName(plain) == "" {
		text = "pass " + check.Printable(plain) + " to the system call: only mq_open(3) of the C library wants a slash, and takes it away"
	}
	return p.Deny(bad, check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: text})
}}

var queueSeenDoc = check.Doc{
	ID: "queue.seen", Title: "queue of this IPC namespace",
	Text: "Mode and owner of a queue are read where a file system of queues is mounted (mount -t mqueue none /dev/mqueue). " +
		"Which IPC namespace that shows is told nowhere, so what is found there is likely, and no more.",
	Kernel: "ipc/mqueue.c:prepare_open, mqueue_init_fs_context",
	Man:    "mq_overview(7)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

// queueSeen says what could not be read; it stands before the gates that look at the queue.
var queueSeen = check.Gate{Doc: &queueSeenDoc, Run: func(p *check.Pass) check.Verdict {
	dir, ok := queueMount.Read(p, "")
	switch {
	case !ok:
		return p.Unknown()
	case dir.To == "":
		return p.UnknownFor("no file system of queues is mounted where this process looks, so the queue's mode and owner could not be read (mount -t mqueue none /dev/mqueue shows them)")
	}
	at := check.Printable(dir.To)
	fs, ok := mount.Statfs.Read(p, dir.To)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic != mount.Mqueue:
		return p.UnknownFor("something else is mounted over the queues at " + at)
	}
	if _, _, err := inode.Named(onQueue(p, dir.To), check.Target); check.IsMissing(err) && p.Seen != 0 && !makesQueue(p.Op) {
		return p.UnknownFor("there is no such queue in " + at + ": it shows the queues of another IPC namespace, or the queue is gone")
	}
	if p.Seen == 0 {
		return p.Faint("whether " + at + " shows the queues of this IPC namespace is told nowhere")
	}
	return p.UnknownFor("whether " + at + " shows the queues of this IPC namespace is told nowhere")
}}

// opensQueue says whether a queue that is there is opened, not answered with EEXIST.
func opensQueue(o *check.Operation) bool {
	const mustMake = unix.O_CREAT | unix.O_EXCL
	return o.Int("flags")&mustMake != mustMake
}

func makesQueue(o *check.Operation) bool { return o.Int("flags")&unix.O_CREAT != 0 }

// onQueue is the same look at the queue's file in a mounted file system of queues.
func onQueue(p *check.Pass, dir string) *check.Pass {
	return p.For(p.Op.With(check.S("path", strings.TrimSuffix(dir, "/")+"/"+p.Op.Str("queue")), check.I("nofollow", 1)))
}

// queued is gates on files, asked of the queue's file (see queueSeen).
func queued(gates ...check.Gate) []check.Gate {
	for i := range gates {
		run := gates[i].Run
		gates[i].Run = func(p *check.Pass) check.Verdict {
			if badQueueName(p.Op.Str("queue")) != "" {
				return p.AllowFor("no queue is named")
			}
			dir, ok := queueMount.Read(p, "")
			if !ok || dir.To == "" {
				return p.AllowFor("the queue could not be looked at")
			}
			v := run(onQueue(p, dir.To))
			for i := range v.Changes {
				if c := v.Changes[i]; c.Kind == check.AddACL || c.Kind == check.ChangeMode && strings.HasPrefix(c.Value, "o+") { // this file system has no ACLs
					v.Changes[i] = check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "let the owner change its mode or group (fchmod, fchown on the queue's descriptor), or make it with a mode that includes this user"}
					if c.Path == dir.To {
						v.Changes[i].Text = "let the owner of the directory of queues change its mode or group (chmod, chgrp of " + check.Printable(dir.To) + ")"
					}
				}
			}
			return v
		}
	}
	return gates
}

// stickyQueue is dac.Sticky, with the errno of mq_unlink(3) where that was seen.
var stickyQueue = func() check.Gate {
	g := dac.Sticky(check.Target).Answers(syscall.EPERM, syscall.EACCES)
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		v := run(p)
		if v.Decision == check.Denies && p.Seen == syscall.EACCES {
			return v.With(p.Seen).Note("The kernel answers EPERM here; mq_unlink(3) of the C library makes it EACCES.")
		}
		return v
	}
	return g
}()

package rules

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/lsm/fanotify"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
)

var execRules = []check.Rule{
	{
		Name: "before exec", Calls: []string{"before_exec"}, Doc: "do what was asked of a child before exec",
		Gates: check.Gates(beforeExec), // Go's syscall/exec_linux.go:forkAndExecInChild1
	},
	{
		Name: "exec", Calls: []string{"execve", "execveat"}, Doc: "run a program",
		Gates: check.Gates( // fs/exec.c:do_open_execat → may_open; security/commoncap.c:cap_bprm_creds_from_file
			seccomp.Filter,
			way(check.Target),
			execType, noExec,
			dac.Execute(check.Target),
			lsm.Permission(check.Target, func(*check.Operation) uint32 { return 1 }),
			lsm.OpenForExec(),
			fanotify.Permission(check.Target), // do_open_execat opens it
			check.When(not(onlyChecks), check.Gates(lsm.Hooks(lsm.File, "bprm_check_security"), interpreter, fileCaps)...), // bprm_execve
		),
	},
}

// onlyChecks is AT_EXECVE_CHECK (Linux 6.14): the file is looked at, and neither
// run nor its interpreter opened. What secure bits ask of interpreters
// (SECBIT_EXEC_RESTRICT_FILE), they do by this call themselves.
func onlyChecks(o *check.Operation) bool { return o.Int("check") != 0 }

var execTypeDoc = check.Doc{
	ID: "exec.type", Title: "a regular file",
	Text: "Only regular files can be executed.", Kernel: "fs/namei.c:may_open; fs/exec.c:do_open_execat", Man: "execve(2)", Cause: check.State,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var execType = inode.OnFile(&execTypeDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	if !f.IsRegular() {
		return p.Deny(fmt.Sprintf("%s is a %s, not a program", check.Printable(name), f.Kind()), check.Change{Kind: check.ChangeCode, Text: "give the path of the program itself"})
	}
	return p.Allow()
})

var noExecDoc = check.Doc{
	ID: "mount.noexec", Title: "mount without noexec",
	Text: "Nothing on a mount with noexec can be executed, nor on file systems of the kernel's own objects (proc, sysfs, cgroup, mqueue, binfmt_misc).", Kernel: "fs/exec.c:path_noexec; fs/namei.c:may_open", Man: "mount(8)", Cause: check.MountOption,
	Errnos: []syscall.Errno{syscall.EACCES},
}

var noExec = inode.OnFile(&noExecDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	fs, ok := mount.Statfs.Read(p, name)
	if ok && mount.NeverExec(fs.Magic) {
		return p.Deny(fmt.Sprintf("%s lies on a file system (%s) of which nothing can be executed, whatever its options and modes", check.Printable(name), mount.TypeName(fs.Magic)),
			check.Change{Kind: check.ChangeCode, Text: "put the program on another file system"}).As(check.Filesystem)
	}
	return mount.Deny(p, name, f, mount.NoExecFlag, "noexec", "exec")
})

var interpreterDoc = check.Doc{
	ID: "exec.interpreter", Title: "interpreter can be executed",
	Text: "The interpreter that a script names in its #! line is opened for execution like the script itself, and so is the interpreter of one that is a script again, " +
		"and the dynamic linker that a program names.",
	Kernel: "fs/binfmt_script.c:load_script, fs/binfmt_elf.c:load_elf_binary → fs/exec.c:open_exec, exec_binprm",
	Man:    "execve(2)",
	Cause:  check.FileMode,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

// shebang is the interpreter of a script, the key by its path; "" for anything else.
var shebang = check.Probe[task.Text]{Name: "shebang", Source: "read(2)", Live: func(k *check.Kernel, key string) (task.Text, error) {
	s, err := readShebang(k, key)
	return task.Text{S: s}, err
}}

// maxScripts is how many interpreters of interpreters the kernel follows (fs/exec.c:exec_binprm).
const maxScripts = 5

// runs is the program that is loaded in the end, and the interpreters on the way
// to it; unread is the first that may not be read, so that it may be a script or not.
func runs(p *check.Pass, name string) (chain []string, unread string) {
	for range maxScripts {
		s, err := shebang.ReadErr(p, name)
		switch {
		case err != nil && !check.IsMissing(err):
			return chain, name
		case err != nil || s.S == "":
			return chain, ""
		}
		name = s.S
		chain = append(chain, name)
	}
	return chain, ""
}

var interpreter = inode.OnFile(&interpreterDoc, check.Target, func(p *check.Pass, name string, f inode.File) check.Verdict {
	chain, unread := runs(p, name)
	opened := slices.Clone(chain)
	if program := append([]string{name}, chain...)[len(chain)]; unread == "" {
		switch linker, err := dynamicLinker.ReadErr(p, program); {
		case err != nil && !check.IsMissing(err) && !errors.Is(err, check.ErrNotRecorded): // by an older version
			unread = program
		case err == nil && linker.S != "":
			opened = append(opened, linker.S)
		}
	}
	for i, name := range opened {
		sub := p.For(check.Operation{Call: "execve", Args: []check.Arg{check.S("path", name)}})
		for _, g := range []check.Gate{dac.Search(check.Ancestors), execType, noExec, dac.Execute(check.Target)} {
			if v := g.Run(sub); v.Decision != check.Allows {
				if v.Decision == check.Denies {
					v.Cause, v.Errno = g.Doc.Cause, g.Doc.Errnos[0]
					what := "of the interpreter "
					if i == len(chain) {
						what = "of the dynamic linker "
					}
					v.Reason = what + check.Printable(name) + ": " + v.Reason
				}
				return v
			}
		}
	}
	switch {
	case unread != "" && p.Seen == 0: // a script that its interpreter could not read either is no use, but the exec succeeds
		return p.UnknownFor(check.Printable(unread) + " may be executed, not read: whether it is a script is not known")
	case unread != "":
		return p.Faint(check.Printable(unread) + " may be executed, not read: whether it is a script is not known")
	case len(opened) == 0:
		return p.AllowFor("no script")
	}
	return p.Allow()
})

var execCapsDoc = check.Doc{
	ID: "exec.file-capabilities", Title: "file capabilities within the bounding set",
	Text: "A file with the effective bit that asks for capabilities outside the bounding set is not run with fewer: the exec is refused " +
		"(unless the mount is nosuid or of another user namespace, where file capabilities do not count). Of a script, those of its interpreter count.",
	Kernel: "fs/exec.c:bprm_creds_from_file → security/commoncap.c:get_file_caps, bprm_caps_from_vfs_caps",
	Man:    "capabilities(7), \"Safety checking for capability-dumb binaries\"",
	Cause:  check.FileCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var fileCaps = inode.OnFile(&execCapsDoc, check.Target, func(p *check.Pass, name string, _ inode.File) check.Verdict {
	chain, unread := runs(p, name)
	if len(chain) > 0 {
		name = chain[len(chain)-1]
	}
	v := capsOfProgram(p, name)
	if v.Decision == check.Denies && unread != "" { // if it is a script, another program is loaded
		v.Inferred = true
	}
	return v
})

func capsOfProgram(p *check.Pass, name string) check.Verdict {
	fc, err := capability.OfFile.ReadErr(p, name)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("does not exist")
	case errors.Is(err, syscall.EOVERFLOW): // security/commoncap.c:cap_inode_getsecurity
		return p.AllowFor("they are another user namespace's: they do not count")
	case err != nil:
		return p.Unknown()
	case !fc.Present || !fc.Effective:
		return p.AllowFor("none with the effective bit")
	}
	fs, ok := mount.Statfs.Read(p, name)
	switch {
	case !ok:
		return p.Unknown()
	case fs.Flags&mount.NoSUIDFlag != 0:
		return p.AllowFor("the mount is nosuid: they do not count")
	}
	if fc.Version == 3 && fc.RootID != 0 { // security/commoncap.c:rootid_owns_currentns
		ns, ok := userns.NS.Read(p, "user")
		switch {
		case !ok:
			return p.Unknown()
		case ns.Inode == userns.InitInode:
			return p.AllowFor(fmt.Sprintf("they are for user namespaces whose root is uid %d: they do not count here", fc.RootID))
		}
		return p.UnknownFor(fmt.Sprintf("they are for user namespaces whose root is uid %d, which may be one above this one", fc.RootID))
	}
	for _, c := range fc.Permitted.List() {
		b, ok := task.Bounding.Read(p, c.String())
		if !ok {
			return p.Unknown()
		}
		if b.Set {
			continue
		}
		caps, ok := task.Caps.Read(p, "")
		if !ok {
			return p.Unknown()
		}
		if fc.Inheritable.Has(c) && caps.Inheritable.Has(c) {
			continue // gained by inheritance
		}
		if !ownMount(p, name) { // fs/namespace.c:mnt_may_suid
			return p.UnknownFor("the mount of " + check.Printable(name) + " is not among those that this task sees: on one of another mount namespace, or of none, file capabilities do not count")
		}
		rest := fc
		rest.Permitted = rest.Permitted.Remove(c)
		v := p.Deny(fmt.Sprintf("%s has the file capability %s with the effective bit (%s), and %s is outside this thread's bounding set: the kernel does not run it with less", check.Printable(name), c, fc, c),
			check.Grants(c, capability.Granted(c)...),
			check.Change{Kind: check.ClearFileCaps, Path: name, Cap: c, Value: rest.String(), Risk: check.LowRisk,
				Warn:   "The program then runs without the capability: it has to cope.",
				Assume: []check.Assumption{check.AssumeIs(&capability.OfFile, name, rest)}})
		return v
	}
	return p.Allow()
}

// ownMount says whether the mount of a file is one of the task's mount namespace that procfs shows.
func ownMount(p *check.Pass, name string) bool {
	f, ok := inode.Stat.Read(p, name)
	if !ok || f.Mnt == 0 {
		return ok // before Linux 5.8 the mount is not told
	}
	_, err := mount.At.ReadErr(p, strconv.FormatUint(f.Mnt, 10))
	return err == nil || errors.Is(err, check.ErrNotRecorded)
}

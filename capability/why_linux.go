package capability

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/mount"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// The secure bits (include/uapi/linux/securebits.h).
const (
	secbitNoRoot        = 1 << 0
	secbitNoSetuidFixup = 1 << 2
)

// ofFiles are the capabilities that a change of the file system uid takes out
// of the effective set (include/linux/capability.h:CAP_FS_MASK).
var ofFiles = SetOf(CAP_CHOWN, CAP_MKNOD, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_LINUX_IMMUTABLE, CAP_MAC_OVERRIDE)

// Why tells why c is not in the effective set (capabilities(7),
// "Transformation of capabilities during execve()" and "Effect of user ID
// changes on capabilities"). What it reads is the gate's evidence.
func Why(p *check.Pass, state task.CapState, c Cap) Story {
	ids, known := task.IDs.Read(p, "")
	if state.Permitted.Has(c) {
		return Story{Dropped, fmt.Sprintf("The thread may raise %s itself: it is in its permitted set, only not in the effective one%s.", c, lowered(ids, c))}
	}
	if t, ok := task.Threads.Read(p, ""); ok && t.Effective.Has(c) {
		return Story{OtherThread, fmt.Sprintf("Another thread of this process holds %s (thread %d, for example): credentials belong to the thread, and this one has other ones.", c, t.TID)}
	}
	if b, ok := task.Bounding.Read(p, c.String()); ok && !b.Set {
		return Story{OutOfBounds, fmt.Sprintf("%s is outside the bounding set too, so no file capability and no set-user-ID program can bring it back: %s.", c, boundBy(p, c))}
	}
	if !known { // the rest is about who the task is
		return Story{}
	}
	nnp, _ := task.NoNewPrivs.Read(p, "")
	if s, ok := atExec(p, c, ids, nnp.Set); ok {
		return s
	}
	if state.Inheritable.Has(c) {
		return Story{NotInherited, fmt.Sprintf("%s is in the inheritable set, but execve passes that on only to a file that has it in its own inheritable set, or through the ambient set, where it is not.%s", c, byLogin(p, c))}
	}
	if ids.EUID == 0 {
		if b, err := task.Securebits.ReadErr(p, ""); err == nil && b.N&secbitNoRoot != 0 {
			return Story{RootPowerless, "The process is uid 0, but its secure bits (SECBIT_NOROOT) let execve give nothing to root."}
		}
		if nnp.Set { // security/commoncap.c:cap_bprm_creds_from_file
			return Story{RootWithout, fmt.Sprintf("The process is uid 0 but does not hold %s: being root is only a way to get capabilities. The bounding set still has it, so this program, or one before it, dropped it; since no_new_privs is set, execve does not bring it back.", c)}
		}
		return Story{RootWithout, fmt.Sprintf("The process is uid 0 but does not hold %s: being root is only a way to get capabilities. The bounding set still has it, so this program, or the one that started it without a new execve, dropped it.", c)}
	}
	parent, err := task.Parent.ReadErr(p, "")
	hasParent := err == nil && parent.PID > 0
	if hasParent && parent.UID == 0 && parent.CapPrm.Has(c) {
		keep := ""
		if b, err := task.Securebits.ReadErr(p, ""); err == nil && b.N&secbitNoSetuidFixup != 0 {
			keep = " (that the secure bits keep it now came too late)"
		}
		rest := ""
		if nnp.Set {
			rest = " no_new_privs is set, so file capabilities cannot give it either."
		}
		return Story{UIDChanged, fmt.Sprintf("Process %d (%s), which %s, is uid 0 and holds %s; the change of all uids from 0 to %d cleared it%s. PR_SET_KEEPCAPS before that change, or the ambient set after it, would have kept it.%s",
			parent.PID, check.Printable(parent.Name), started(parent), c, ids.EUID, keep, rest)}
	}
	var further []string
	if nnp.Set {
		further = append(further, "no_new_privs is set, so file capabilities cannot give it either")
	}
	if hasParent {
		further = append(further, fmt.Sprintf("process %d (%s), which %s, does not hold it", parent.PID, check.Printable(parent.Name), started(parent)))
	}
	if len(further) == 0 {
		return Story{NeverGiven, fmt.Sprintf("Nothing gave %s to uid %d.", c, ids.EUID)}
	}
	return Story{NeverGiven, fmt.Sprintf("Nothing gave %s to uid %d; %s.", c, ids.EUID, strings.Join(further, "; "))}
}

// instead are the changes to the program that the story asks for, each of which
// brings c; they come before what its surroundings can do.
func instead(s Story, c Cap) []check.Change {
	code := func(text string) []check.Change {
		return []check.Change{{Kind: check.ChangeCode, Cap: c, Text: text, Assume: Granted(c)}}
	}
	switch s.Kind {
	case OtherThread:
		return code("do it on the thread that holds " + c.String() + " (in Go keep the goroutine there, runtime.LockOSThread), or change the sets of all threads alike (psx, syscall.AllThreadsSyscall)")
	case RootWithout:
		return code("keep " + c.String() + " where the program drops capabilities: the bounding set has it")
	}
	return nil
}

// byLogin says that a login put c into the inheritable set, a sentence; or "".
func byLogin(p *check.Pass, c Cap) string {
	l, err := LoginOf.ReadErr(p, "")
	if err != nil || !l.Gives(c) {
		return ""
	}
	return fmt.Sprintf(" pam_cap gives it so to the sessions of %s (%s); written as ^%s there, it would be ambient too.", check.Printable(l.User), check.Printable(l.At), c.Lower())
}

// lowered is which change of ids took a permitted capability out of the effective set.
func lowered(ids task.Creds, c Cap) string {
	switch {
	case ids.EUID != 0 && (ids.RUID == 0 || ids.SUID == 0):
		return fmt.Sprintf(", which the change of the effective uid from 0 to %d emptied", ids.EUID)
	case ids.EUID == 0 && ids.FSUID != 0 && ofFiles.Has(c):
		return fmt.Sprintf(", out of which setfsuid(%d) took the capabilities over files", ids.FSUID)
	}
	return ""
}

// boundBy is who left it out of the bounding set, a clause.
func boundBy(p *check.Pass, c Cap) string {
	place, err := container.Here.ReadErr(p, "")
	if err == nil && !place.Weak {
		if key := place.UnitKey(); key != "" {
			if unit, err := container.UnitSettings.ReadErr(p, key); err == nil {
				if s, taken := unit.TakesCapability(c.String()); taken {
					return fmt.Sprintf("%s=%s of the unit %s takes it away (%s)", s.Name, s.Value, place.Unit, s.At())
				}
			}
			if s, manager, taken := ofManager(p, place, c); taken {
				return fmt.Sprintf("%s=%s of the unit %s, which is the manager of the user's units, takes it away (%s)", s.Name, s.Value, manager, s.At())
			}
		}
		switch {
		case place.Container():
			return place.Kind.Words() + " left it out"
		case place.Kind != container.Host && place.Kind != container.Systemd:
			return place.Kind.Words() + " runs everything without it"
		}
	}
	parent, err := task.Parent.ReadErr(p, "")
	switch {
	case err != nil || parent.PID == 0:
		return "whoever started this process has to leave it in"
	case !parent.CapBnd.Has(c):
		if l, err := LoginOf.ReadErr(p, ""); err == nil && l.Drops(c) {
			return fmt.Sprintf("pam_cap takes it from the sessions of %s (%s), and this process belongs to a login of that user", check.Printable(l.User), check.Printable(l.At))
		}
	case parent.PID == 1:
		return fmt.Sprintf("this process, or one before it, dropped it: process 1 (%s), which %s, has it still", check.Printable(parent.Name), started(parent))
	default:
		return fmt.Sprintf("this process dropped it after process %d (%s) had started it, which has it still", parent.PID, check.Printable(parent.Name))
	}
	return fmt.Sprintf("process %d (%s), which %s, lacks it too; whoever started that has to leave it in", parent.PID, check.Printable(parent.Name), started(parent))
}

// started is what a parent is to the process: the first process also takes over those of others.
func started(parent task.ParentState) string {
	if parent.PID == 1 {
		return "started it, or took it over"
	}
	return "started it"
}

// ofManager is the setting of the manager of a user's units that takes c away
// from all of them.
func ofManager(p *check.Pass, place container.Place, c Cap) (s container.Setting, manager string, taken bool) {
	ids, err := task.IDs.ReadErr(p, "")
	if !place.User || err != nil {
		return s, "", false
	}
	manager = fmt.Sprintf("user@%d.service", ids.RUID)
	unit, err := container.UnitSettings.ReadErr(p, manager)
	if err != nil {
		return s, manager, false
	}
	s, taken = unit.TakesCapability(c.String())
	return s, manager, taken
}

// atExec is what execve did not give, though the executable has it to give.
func atExec(p *check.Pass, c Cap, ids task.Creds, nnp bool) (Story, bool) {
	exe, err := task.Exe.ReadErr(p, "")
	if err != nil {
		return Story{}, false
	}
	file, err := OfFile.ReadErr(p, task.ExeKey)
	if errors.Is(err, unix.EOVERFLOW) { // security/commoncap.c:cap_inode_getsecurity, rootid_owns_currentns
		return Story{ForeignFile, "The executable has file capabilities, but of another user namespace: in this one they do not count, and do not show."}, true
	}
	setuid := false
	if f, err := inode.Stat.ReadErr(p, exe.S); err == nil && f.IsRegular() {
		setuid = f.Mode&unix.S_ISUID != 0 && f.UID == 0 && ids.EUID != 0
	}
	gives := fmt.Sprintf("The executable has the file capability %s", c)
	if setuid && !file.Permitted.Has(c) {
		gives = "The executable is set-user-ID root"
	}
	if file.Permitted.Has(c) || setuid {
		nosuid := false
		if fs, err := mount.Statfs.ReadErr(p, exe.S); err == nil {
			nosuid = fs.Flags&mount.NoSUIDFlag != 0
		}
		foreign := file.Permitted.Has(c) && file.Version == 3 && file.RootID != 0
		switch {
		case nosuid:
			return Story{Nosuid, gives + ", but its mount is nosuid, which makes execve ignore that."}, true
		case nnp:
			return Story{NoPrivGain, gives + ", but no_new_privs is set, which makes execve ignore that."}, true
		case foreign:
			return Story{ForeignFile, gives + fmt.Sprintf(", but for user namespaces whose root is uid %d: in this one it does not count.", file.RootID)}, true
		case setuid:
			return Story{NotGained, gives + fmt.Sprintf(", yet the process is uid %d: it changed back, a tracer started it, or the bit was set later.", ids.EUID)}, true
		case file.Permitted.Has(c):
			return Story{NotGained, gives + ", yet the process does not hold it: it gave it up, a tracer started it, or it was set after the start."}, true
		}
	}
	if (file.Present || setuid) && !file.Permitted.Has(c) {
		if parent, err := task.Parent.ReadErr(p, ""); err == nil && parent.CapAmb.Has(c) {
			return Story{AmbientCleared, fmt.Sprintf("Process %d (%s), which %s, holds %s in its ambient set, but execve of a file with privileges of its own (%s) clears that set.", parent.PID, check.Printable(parent.Name), started(parent), c, fileWords(file, setuid))}, true
		}
	}
	if interpreter(exe.S) {
		if s, err := script.ReadErr(p, ""); err == nil && s.Caps.Permitted.Has(c) {
			return Story{ScriptFile, fmt.Sprintf("The script %s has the file capability %s, but the kernel runs its interpreter %s, and asks that file only.", check.Printable(s.Path), c, check.Printable(exe.S))}, true
		}
	}
	return Story{}, false
}

func fileWords(file FileCaps, setuid bool) string {
	if setuid {
		return "it is set-user-ID"
	}
	return file.String()
}

// interpreters run other people's scripts: a file capability of theirs is everybody's.
var interpreters = []string{"python", "perl", "ruby", "node", "java", "bash", "sh", "dash", "busybox", "php", "lua", "gawk", "deno", "bun"}

func interpreter(exe string) bool {
	base := path.Base(exe)
	return slices.ContainsFunc(interpreters, func(i string) bool {
		return base == i || strings.HasPrefix(base, i) && strings.Trim(base[len(i):], "0123456789.") == ""
	})
}

// A scriptFile is a script that an interpreter runs, with its file capabilities.
type scriptFile struct {
	Path string
	Caps FileCaps
}

// script is the script that the task's interpreter was told to run, if that
// has file capabilities: the first or second argument, as execve makes them of a #! line.
var script = check.Probe[scriptFile]{Name: "script", Source: "/proc/self/cmdline, getxattr(security.capability)", Live: func(k *check.Kernel, _ string) (scriptFile, error) {
	b, err := k.ReadFile(k.ProcPID("cmdline"))
	if err != nil {
		return scriptFile{}, err
	}
	args := strings.Split(string(b), "\x00")
	for _, a := range args[min(1, len(args)):min(3, len(args))] {
		if a == "" || strings.HasPrefix(a, "-") {
			continue
		}
		name, err := inode.Absolute(k.World(), a)
		if err != nil {
			continue
		}
		if fc, err := File(k.Path(name)); err == nil && fc.Present {
			return scriptFile{name, fc}, nil
		}
	}
	return scriptFile{}, nil
}}

// NoFileCap is why a file capability on the task's executable would not bring
// it c, a clause; "" if it would.
func NoFileCap(w *check.World, c Cap) string {
	exe, err := task.Exe.Get(w, "")
	if err != nil {
		return "the executable is not known"
	}
	name := check.Printable(exe.S)
	if interpreter(exe.S) {
		return name + " runs other programs' scripts, which would all get it, and file capabilities of a script do not count"
	}
	if n, err := task.NoNewPrivs.Get(w, ""); err != nil || n.Set {
		return "no_new_privs is set, which makes execve ignore it"
	}
	fs, err := mount.Statfs.Get(w, exe.S)
	switch {
	case err != nil:
		return "the mount of " + name + " could not be looked at"
	case fs.Flags&mount.NoSUIDFlag != 0:
		return name + " lies on a mount with nosuid"
	case mount.NoFileCaps(fs.Magic):
		return "the file system of " + name + " (" + mount.TypeName(fs.Magic) + ") keeps none"
	case fs.Flags&mount.ReadOnlyFlag != 0:
		return name + " lies on a read-only mount"
	}
	if b, err := task.Bounding.Get(w, c.String()); err != nil || !b.Set {
		return c.String() + " is outside the bounding set, and execve of such a file would be refused"
	}
	return ""
}

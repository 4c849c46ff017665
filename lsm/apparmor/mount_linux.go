package apparmor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// mounts is security/apparmor/mount.c: the policy matches the mount point, the
// device, the type and the flags as one string.
func mounts(p *check.Pass, hook string, own []Profile) ([]request, error) {
	target, _, _, err := named(p, check.Target, false)
	if err != nil {
		return nil, err
	}
	class := string([]byte{classMount})
	var data, rule, what string
	var need uint32
	switch hook {
	case "sb_umount":
		need, data = mayUmount, target
		what, rule = "unmount "+check.Printable(target), "umount "+pattern(target)+","
	case "sb_pivotroot":
		old, _, _, err := named(p, check.NewTarget, false)
		if err != nil {
			return nil, err
		}
		need, data = mayPivotRoot, target+"\x00"+old
		what, rule = "pivot the root to "+check.Printable(target), "pivot_root oldroot="+pattern(old)+" "+pattern(target)+","
	default:
		need = mayMount
		device, fstype, flags, err := mountArguments(p)
		if err != nil {
			return nil, err
		}
		data = target + "\x00" + device + "\x00" + fstype + "\x00"
		for i := range 32 { // match_mnt_flags
			if flags&(1<<i) != 0 {
				data += string([]byte{byte(i + 1)})
			}
		}
		what, rule = "mount on "+check.Printable(target), mountRule(target, device, fstype, flags)
	}
	var out []request
	for _, pr := range own {
		r := request{profile: pr, key: class + data, need: need, what: what, rule: rule}
		if need == mayMount {
			// A rule may look at the data of the call too, which the operation does not hold.
			if a, err := r.ask(p); err == nil && a.Allow&mayMount == 0 && a.Allow&0x40 != 0 {
				r.shaky = "a rule of the profile looks at the mount's data, which is not known"
			}
		}
		out = append(out, r)
	}
	return out, nil
}

// propagation is the flags of which each is a change of propagation.
const propagation = unix.MS_SHARED | unix.MS_PRIVATE | unix.MS_SLAVE | unix.MS_UNBINDABLE

// mountArguments are device, type and flags as the kernel matches them
// (lsm.c:apparmor_sb_mount).
func mountArguments(p *check.Pass) (device, fstype string, flags uint64, err error) {
	o := p.Op
	flags = uint64(o.Int("flags"))
	if flags&0xffff0000 == 0xc0ed0000 { // MS_MGC_VAL
		flags &= 0xffff
	}
	flags &^= 1<<22 | 1<<28 | 1<<29 | 1<<30 | 1<<31 // MS_KERNMOUNT, MS_NOSEC, MS_BORN, MS_ACTIVE
	source := func() (string, error) {
		name, _, _, err := named(p, check.Source, false)
		return name, err
	}
	switch {
	case flags&unix.MS_REMOUNT != 0:
		return "", "", flags, nil
	case flags&unix.MS_BIND != 0:
		device, err = source()
		return device, "", flags & (unix.MS_REC | unix.MS_BIND), err
	case flags&propagation != 0:
		return "", "", flags & (propagation | unix.MS_REC | unix.MS_SILENT), nil
	case flags&unix.MS_MOVE != 0:
		device, err = source()
		return device, "", unix.MS_MOVE, err
	}
	fstype = o.Str("fstype")
	if fstype == "" {
		return "", "", 0, errors.New("the type of the file system is not known")
	}
	device = o.Str("source")
	needs, err := needsDevice.ReadErr(p, fstype)
	if err != nil {
		return "", "", 0, err
	}
	if needs.Set {
		device, err = source()
	}
	return device, fstype, flags, err
}

// needsDevice says whether a type of file system, the key, is on a device
// (FS_REQUIRES_DEV): those that are not are marked in /proc/filesystems.
var needsDevice = check.Probe[task.Flag]{Name: "fs_device", Source: "/proc/filesystems", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	b, err := k.ReadFile("/proc/filesystems")
	if err != nil {
		return task.Flag{}, err
	}
	for line := range strings.Lines(string(b)) {
		word, name, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "\t")
		if name == key {
			return task.Flag{Set: word != "nodev"}, nil
		}
	}
	return task.Flag{}, fmt.Errorf("type %s is not registered", check.Printable(key))
}}

// mountRule is the rule for exactly this mount (apparmor.d(5), "Mount Rules").
func mountRule(target, device, fstype string, flags uint64) string {
	var options []string
	const recursive = unix.MS_BIND | propagation
	rec := flags&unix.MS_REC != 0 && flags&recursive != 0 // one word for both: rbind
	for _, f := range mountFlags {
		switch {
		case rec && f.bit == unix.MS_REC:
		case rec && flags&f.bit&recursive != 0:
			options = append(options, "r"+f.set)
		case flags&f.bit != 0:
			options = append(options, f.set)
		case f.not != "" && flags&(recursive|unix.MS_MOVE) == 0:
			options = append(options, f.not)
		}
	}
	s := "mount"
	if fstype != "" {
		s += " fstype=" + value(fstype)
	}
	if len(options) > 0 {
		s += " options=(" + strings.Join(options, ", ") + ")"
	}
	if device != "" {
		s += " " + value(device)
	}
	return s + " -> " + pattern(target) + ","
}

// value is a word of a mount rule.
func value(s string) string {
	if plainPath("/" + s) {
		return s
	}
	return quote(s)
}

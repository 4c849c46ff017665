package cgroup

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/inode"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// DeviceList is the rules of the task's group of version 1, which everybody may read.
var DeviceList = check.Probe[Devices]{Name: "devices", Source: "devices.list of its cgroup", Show: Devices.show, Live: func(k *check.Kernel, _ string) (Devices, error) {
	g, err := Of.Get(k.World(), "devices")
	if err != nil {
		return Devices{}, err
	}
	if g.Path == "" {
		return Devices{Absent: true}, nil
	}
	b, err := k.ReadFile(g.Dir + "/devices.list")
	if err != nil {
		return Devices{}, err
	}
	d, err := ParseDevices(string(b))
	d.Path = g.Path
	return d, err
}}

// access is the errno of access(2) with the effective ids on a device, the key:
// "4 path". It is refused with EPERM by the device controller of either
// version, and by hardly anything else (fs/namei.c:inode_permission).
var access = check.Probe[task.Number]{Name: "access", Source: "faccessat2(AT_EACCESS)", Live: func(k *check.Kernel, key string) (task.Number, error) {
	if !k.Self() {
		return task.Number{}, check.ErrUnsupported
	}
	bits, path, ok := strings.Cut(key, " ")
	mode, err := strconv.ParseUint(bits, 10, 3)
	if !ok || err != nil {
		return task.Number{}, fmt.Errorf("no access: %q", key)
	}
	if err := unix.Faccessat2(unix.AT_FDCWD, "/", unix.F_OK, unix.AT_EACCESS); err != nil {
		return task.Number{}, fmt.Errorf("faccessat2 of /: %w", err) // older kernels, and filters that do not know it
	}
	var e syscall.Errno
	if err := unix.Faccessat2(unix.AT_FDCWD, path, uint32(mode), unix.AT_EACCESS); errors.As(err, &e) {
		return task.Number{N: int64(e)}, nil
	}
	return task.Number{}, nil
}}

var deviceDoc = check.Doc{
	ID: "cgroup.device", Title: "device controller",
	Text: "The device controller of the control group decides which device nodes may be opened or made, for root too: by a list (version 1), " +
		"or by BPF programs (version 2: DeviceAllow= of systemd, --device of container runtimes).",
	Kernel: "security/device_cgroup.c:devcgroup_check_permission, devcgroup_legacy_check_permission; kernel/bpf/cgroup.c:__cgroup_bpf_check_dev_permission",
	Man:    "systemd.resource-control(5)",
	Cause:  check.DeviceCgroup,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// Device is the gate of the device controller for an object that is opened with
// these permission bits (4 read, 2 write).
func Device(of check.Role, want func(*check.Operation) uint32) check.Gate {
	return check.Gate{Doc: &deviceDoc, Role: of, Run: func(p *check.Pass) check.Verdict {
		name, f, err := inode.Named(p, of)
		switch {
		case check.IsMissing(err):
			return p.AllowFor("does not exist")
		case err != nil:
			return p.Unknown()
		case f.Type() != unix.S_IFCHR && f.Type() != unix.S_IFBLK:
			return p.AllowFor("no device")
		}
		bits := want(p.Op) & 6
		letters := map[uint32]string{0: "", 4: "r", 2: "w", 6: "rw"}[bits]
		if bits == 0 {
			return p.AllowFor("it is not opened for reading or writing")
		}
		d, err := deviceOf(f)
		if err != nil {
			return p.UnknownFor(err.Error())
		}
		v, sure := listed(p, d, letters, name)
		if sure {
			return v
		}
		n, err := access.ReadErr(p, strconv.Itoa(int(bits))+" "+name)
		switch {
		case err == nil && n.N == 0:
			return p.AllowFor("access(2) is granted")
		case err == nil && syscall.Errno(n.N) == unix.EPERM:
			return p.Infer("access(2) to the device "+check.Printable(name)+" ("+d.text(letters)+") is refused with EPERM, as a device controller does", allow(name, d.text(letters), false, bits))
		}
		return attached(p)
	}}
}

// MakeDevice is the gate of the device controller for mknod(2).
var MakeDevice = check.Gate{Doc: &deviceDoc, Param: "(mknod)", Run: func(p *check.Pass) check.Verdict {
	dev := uint64(p.Op.Int("dev"))
	d := device{kind: 'c', major: unix.Major(dev), minor: unix.Minor(dev)}
	switch p.Op.Int("mode") & unix.S_IFMT {
	case unix.S_IFBLK:
		d.kind = 'b'
	case unix.S_IFCHR:
		if dev == 0 {
			return p.AllowFor("a whiteout is no device")
		}
	default:
		return p.AllowFor("no device")
	}
	v, sure := listed(p, d, "m", p.Op.Str("path"))
	if sure {
		return v
	}
	return attached(p)
}}

type device struct {
	kind         byte
	major, minor uint32
}

func (d device) text(access string) string {
	return fmt.Sprintf("%c %d:%d %s", d.kind, d.major, d.minor, access)
}

func deviceOf(f inode.File) (device, error) {
	d := device{kind: 'c'}
	if f.Type() == unix.S_IFBLK {
		d.kind = 'b'
	}
	if _, err := fmt.Sscanf(f.Rdev, "%d:%d", &d.major, &d.minor); err != nil {
		return d, fmt.Errorf("the number of the device is not known: %q", f.Rdev)
	}
	return d, nil
}

// listed judges by the list of version 1, where it is sure.
func listed(p *check.Pass, d device, access, name string) (check.Verdict, bool) {
	l, err := DeviceList.ReadErr(p, "")
	if err != nil || l.Absent || l.All || l.Allows(d.kind, d.major, d.minor, access) {
		return check.Verdict{}, false
	}
	return p.Deny(fmt.Sprintf("the device controller of the control group %s does not allow %s", check.Printable(l.Path), d.text(access)), allow(name, d.text(access), true, 0)), true
}

// allow is the change that lets the device in.
func allow(name, rule string, list bool, bits uint32) check.Change {
	c := check.Change{Kind: check.AllowDevice, Path: name, Value: rule, Risk: check.MediumRisk}
	if list {
		c.Assume = append(c.Assume, check.Assume(&DeviceList, "", func(d Devices) Devices {
			d.Rules = append(append([]string(nil), d.Rules...), rule)
			return d
		}))
	}
	if bits != 0 {
		c.Assume = append(c.Assume, check.AssumeIs(&access, strconv.Itoa(int(bits))+" "+name, task.Number{}))
	} else {
		c.Assume = append(c.Assume, check.AssumeAll(&access, func(task.Number) task.Number { return task.Number{} }))
	}
	return c
}

// attached is what is left where neither the list nor access(2) tells.
func attached(p *check.Pass) check.Verdict {
	l, lerr := DeviceList.ReadErr(p, "")
	n, err := Programs.ReadErr(p, "DEVICE")
	hidden := lerr == nil && l.All && l.Path != "/"
	reason := ""
	switch {
	case err == nil && n.Count > 0:
		reason = "BPF programs for devices are in effect in its control group; what they decide cannot be read"
	case hidden:
		reason = "the device controller allows all by default; what it denies all the same it does not show"
	case err == nil && lerr == nil:
		return p.AllowFor("no device controller refuses")
	default:
		return p.Faint("whether a device controller is in force cannot be seen")
	}
	if p.Seen == 0 {
		if hidden && (err != nil || n.Count == 0) {
			return p.Faint(reason)
		}
		return p.UnknownFor(reason)
	}
	return p.Infer(reason+", and nothing before it refuses", check.Change{Kind: check.AllowDevice, Path: p.Op.Str("path"), Value: "the device", Risk: check.MediumRisk,
		Assume: []check.Assumption{check.AssumeIs(&Programs, "DEVICE", Attached{}), check.AssumeIs(&DeviceList, "", Devices{Absent: true})}})
}

package rules

import (
	"fmt"
	"os"
	"path"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/lsm"
	"github.com/go-eperm/eperm/mount"
	seccomp "github.com/go-eperm/eperm/seccomp/gates"
	"github.com/go-eperm/eperm/task"
)

// netFileRules come before those of files: the files of a network device judge
// who writes, not only who opens.
var netFileRules = []check.Rule{
	{
		Name: "network device file", Calls: writeCalls, Doc: "set up a network device by its files",
		When: func(o *check.Operation) bool {
			return strings.HasPrefix(o.Str("path"), "/sys/class/net/") || strings.HasPrefix(o.Str("path"), "/sys/devices/virtual/net/")
		},
		Gates: check.Gates( // net/core/net-sysfs.c:netdev_store
			seccomp.Filter, lsm.Hooks(lsm.File, "file_permission"), lsm.Asked(netDeviceFile),
		),
	},
}

var netDeviceDoc = check.Doc{
	ID: "netdevice.sysfs", Title: "capability over the device's network namespace,",
	Text:   "Writing a file below /sys/class/net takes CAP_NET_ADMIN, in the user namespace that owns the device's network namespace; a few (queue lengths, flush timeouts) in the initial one.",
	Kernel: "net/core/net-sysfs.c:netdev_store, tx_queue_len_store, gro_flush_timeout_store, store_rps_map",
	Man:    "sysfs(5)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var netDeviceFile = check.Gate{Doc: &netDeviceDoc, Role: check.Target, Param: "CAP_NET_ADMIN", Run: func(p *check.Pass) check.Verdict {
	fs, ok := mount.Statfs.Read(p, p.Op.Str("path"))
	switch {
	case !ok:
		return p.Unknown()
	case fs.Magic != mount.Sysfs:
		return p.AllowFor("not sysfs")
	}
	where := netOwner
	switch path.Base(p.Op.Str("path")) {
	case "tx_queue_len", "gro_flush_timeout", "napi_defer_hard_irqs", "rps_cpus", "rps_flow_cnt", "xps_cpus", "tx_maxrate":
		where = initialNS
	}
	v := capability.Verdict(p, where, "writing a file of a network device is privileged", capability.CAP_NET_ADMIN)
	if v.Decision != check.Allows || inInitial(p) { // who holds it there holds it everywhere
		return v
	}
	switch other, ok := otherDevices.Read(p, ""); {
	case !ok:
		return p.Unknown()
	case other.Set:
		return p.UnknownFor("/sys shows the devices of another network namespace than the one that this thread is in; who owns that is not shown")
	}
	return v
}}

// otherDevices says whether /sys, which shows the devices of the network namespace of
// who mounted it, shows others than the task's own (fs/sysfs/mount.c, net/core/net-sysfs.c:net_namespace).
var otherDevices = check.Probe[task.Flag]{Name: "sysfs_net", Source: "/sys/class/net, /proc/thread-self/net/dev", Live: func(k *check.Kernel, _ string) (task.Flag, error) {
	if !k.Self() { // whose /sys may be another one
		return task.Flag{}, check.ErrUnsupported
	}
	b, err := k.ReadFile(k.Proc("net/dev"))
	if err != nil {
		return task.Flag{}, err
	}
	own := map[string]bool{}
	for line := range strings.Lines(string(b)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			own[strings.TrimSpace(name)] = true
		}
	}
	entries, err := os.ReadDir("/sys/class/net")
	if err != nil {
		return task.Flag{}, fmt.Errorf("read /sys/class/net: %w", err)
	}
	shown := 0
	for _, e := range entries {
		switch {
		case e.Name() == "bonding_masters": // no device
		case !own[e.Name()]:
			return task.Flag{Set: true}, nil
		default:
			shown++
		}
	}
	return task.Flag{Set: shown != len(own)}, nil
}}

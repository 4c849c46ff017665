package rules

import (
	"github.com/go-eperm/eperm/cgroup"
	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// sourceDevice is block/bdev.c:bdev_permission: to mount a block device is to open
// it, for writing too where the mount is not read-only.
var sourceDevice = func() check.Gate {
	g := cgroup.Device(check.Source, func(o *check.Operation) uint32 {
		if o.Int("flags")&unix.MS_RDONLY != 0 || o.Is("fsconfig") { // whose flags are in the context
			return 4
		}
		return 6
	})
	run := g.Run
	g.Run = func(p *check.Pass) check.Verdict {
		if _, _, ok := blockDevice(p); !ok {
			return p.AllowFor("the source is no block device")
		}
		v := run(p)
		if v.Decision == check.Denies && p.Seen == 0 { // fs/super.c:get_tree_bdev_flags, Linux 6.6
			return p.UnknownFor(v.Reason + "; whether it is mounted already, so that it is not opened again, is not known")
		}
		return v
	}
	return g
}()

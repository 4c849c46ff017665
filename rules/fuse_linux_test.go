package rules_test

import (
	"os"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
)

// inUserSpace mounts a file system in user space on d/m.
func inUserSpace(options string, refuse map[uint32]syscall.Errno) func(*testing.T, string) {
	return func(t *testing.T, d string) {
		require.NoError(t, os.Mkdir(d+"/m", 0o755))
		kerneltest.MountFUSE(t, d+"/m", options, refuse)
	}
}

func fuseCases() []live {
	remote, none := eperm.RemoteFilesystem, capability.None
	asMounter := func(kerneltest.Subject) kerneltest.Subject { return kerneltest.Subject{UID: 1000} }
	owner := "user_id=1000,group_id=1000"
	of := func(ids, name string, s kerneltest.Subject) live {
		return live{ids: ids, name: name, needs: kerneltest.FUSE, setup: inUserSpace(owner, nil), subject: s, try: at("m/f", func(p string) error { _, err := os.Stat(p); return err }),
			errno: unix.EACCES, cause: remote, cap: none, sure: eperm.Likely, says: "by uid 1000 without allow_other", freed: asMounter}
	}
	return []live{
		of("k.fuse.EACCES.1", "FUSE of another user, as root", kerneltest.Subject{}),
		of("k.fuse.EACCES.1", "FUSE of another user", nobody),
	}
}

func fuseIncidents() []live {
	return []live{
		{ids: "I083", name: "chmod that the program behind FUSE refuses", needs: kerneltest.FUSE, setup: inUserSpace("user_id=0,group_id=0,allow_other", map[uint32]syscall.Errno{kerneltest.FuseSetattr: unix.EPERM}),
			try: at("m/f", func(p string) error { return os.Chmod(p, 0o600) }), errno: unix.EPERM, cause: eperm.RemoteFilesystem, cap: capability.None, sure: eperm.Likely, says: "nothing local refuses this"},
	}
}

package rules_test

import (
	"fmt"
	"os"
	"testing"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/op"
)

// script writes a script at d/name with its interpreter.
func script(t *testing.T, d, name, interpreter string) {
	require.NoError(t, os.WriteFile(d+"/"+name, []byte("#!"+interpreter+"\n"), 0o755))
}

// morePathCases are what exchanges of names, scripts, and the files of user namespaces take besides.
func morePathCases() []live {
	swapped := func(d string) error {
		return sys("renameat2", unix.Renameat2(unix.AT_FDCWD, d+"/a/x", unix.AT_FDCWD, d+"/b/y", unix.RENAME_EXCHANGE))
	}
	exchange := func(d string) eperm.Operation { return op.Rename2(d+"/a/x", d+"/b/y", unix.RENAME_EXCHANGE) }
	twoDirs := func(t *testing.T, d string) {
		for _, p := range []string{"/a", "/b", "/a/x", "/b/y"} {
			require.NoError(t, os.Mkdir(d+p, 0o755))
			require.NoError(t, os.Chown(d+p, 65534, 65534))
		}
	}
	theirs := &kerneltest.Subject{Cloneflags: unix.CLONE_NEWUSER}
	setgroups := func(pid string) func(d string) eperm.Operation {
		return func(d string) eperm.Operation { return op.Open("/proc/"+pid+"/setgroups", os.O_WRONLY) }
	}
	return []live{
		{name: "exchange with a directory that may not be written", subject: nobody, setup: func(t *testing.T, d string) {
			twoDirs(t, d)
			require.NoError(t, os.Chmod(d+"/b/y", 0o555))
		}, try: swapped, op: exchange, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, says: "/b/y",
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/b/y", 0o755)) }},
		{name: "rename over a directory that may not be written", subject: nobody, setup: func(t *testing.T, d string) {
			twoDirs(t, d)
			require.NoError(t, os.Chmod(d+"/a/x", 0o555))
		}, try: swapped, op: exchange, errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, says: "/a/x",
			flip: func(t *testing.T, d string) { require.NoError(t, os.Chmod(d+"/a/x", 0o755)) }},

		{name: "interpreter of an interpreter not executable", setup: func(t *testing.T, d string) {
			write("int", 0o644)(t, d)
			script(t, d, "s", d+"/int")
			script(t, d, "f", d+"/s")
		}, try: at("f", start), errno: unix.EACCES, cause: eperm.FileMode, cap: capability.None, says: "f the interpreter",
			flip: func(t *testing.T, d string) {
				copyFile(t, "/bin/true", d+"/int")
				require.NoError(t, os.Chmod(d+"/int", 0o755))
			}},
		{name: "file capabilities of a script's interpreter", setup: func(t *testing.T, d string) {
			copyFile(t, "/bin/true", d+"/int")
			v := []byte{1, 0, 0, 2, 0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0} // cap_net_raw=ep
			require.NoError(t, unix.Setxattr(d+"/int", "security.capability", v, 0))
			script(t, d, "f", d+"/int")
		}, subject: kerneltest.Subject{UID: 65534, Bounding: kerneltest.Without(unix.CAP_NET_RAW)}, try: at("f", start), errno: unix.EPERM, cause: eperm.FileCapability, cap: capability.CAP_NET_RAW, says: "/int has the file capability",
			freed: func(s kerneltest.Subject) kerneltest.Subject { return nobody }},

		{name: "setgroups file opened without privilege", subject: nobody, try: func(string) error { return appendless("/proc/self/setgroups") }, op: setgroups("self"),
			errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, freed: holding(unix.CAP_SYS_ADMIN)},
		{name: "setgroups file of somebody's user namespace", subject: userHolding(65534, unix.CAP_DAC_OVERRIDE), target: theirs, try: func(d string) error { return appendless(fmt.Sprintf("/proc/%d/setgroups", victim(d))) },
			op:    func(d string) eperm.Operation { return setgroups(fmt.Sprint(victim(d)))(d) },
			errno: unix.EACCES, cause: eperm.MissingCapability, cap: capability.CAP_SYS_ADMIN, sure: eperm.Likely, freed: holding(unix.CAP_SYS_ADMIN, unix.CAP_DAC_OVERRIDE)}, // whose namespace it is cannot be seen
		{name: "map of somebody's user namespace", subject: nobody, target: theirs, try: func(d string) error { return appendless(fmt.Sprintf("/proc/%d/uid_map", victim(d))) },
			op: func(d string) eperm.Operation {
				return op.Open(fmt.Sprintf("/proc/%d/uid_map", victim(d)), os.O_WRONLY)
			},
			errno: unix.EACCES, cause: eperm.FileMode, cap: capability.CAP_DAC_OVERRIDE, freed: holding(unix.CAP_DAC_OVERRIDE)},
	}
}

// appendless opens for writing, and nothing else.
func appendless(p string) error {
	f, err := os.OpenFile(p, os.O_WRONLY, 0)
	if err == nil {
		err = f.Close()
	}
	return err
}

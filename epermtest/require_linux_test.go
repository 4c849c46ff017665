package epermtest_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
	"github.com/go-eperm/eperm/op"
)

func killOf(pid int) eperm.Operation { return op.Kill(pid, 15) }

func pony() epermtest.Need {
	return epermtest.Needs("a-pony", func() string { return "there is none" })
}

func TestRequire(t *testing.T) {
	t.Setenv(epermtest.Env, "")
	k := faked(t, func(t testing.TB) {
		epermtest.Require(t, epermtest.Kernel(3, 0), epermtest.Program("sh"), pony())
		t.Error("not reached")
	})
	require.True(t, k.skipped && !k.failed)
	require.Equal(t, "epermtest: skipped, needs a-pony: there is none\n", k.String())

	t.Setenv(epermtest.Env, "update,must")
	k = faked(t, func(t testing.TB) { epermtest.Require(t, pony()) })
	require.True(t, k.failed && !k.skipped)
	require.Equal(t, "epermtest: EPERMTEST=must, and this needs a-pony: there is none\n", k.String())
}

func TestNeeds(t *testing.T) {
	for want, n := range map[string]epermtest.Need{
		"root": epermtest.Root(), "userns": epermtest.UserNamespace(), "CAP_CHOWN": epermtest.Cap(capability.CAP_CHOWN),
		"kernel-6.14": epermtest.Kernel(6, 14), "landlock-4": epermtest.LandlockVersion(4), "program-nft": epermtest.Program("nft"), "a-pony": pony(),
	} {
		require.Equal(t, want, n.Name())
		require.NotContains(t, n.Missing(), "\n")
	}
	require.Equal(t, effective(t).Has(capability.CAP_CHOWN), epermtest.Cap(capability.CAP_CHOWN).Missing() == "")
	epermtest.With(t, epermtest.Subject{Caps: epermtest.NoCaps()}, func(t testing.TB) {
		require.Equal(t, "it is not in the effective set", epermtest.Cap(capability.CAP_CHOWN).Missing())
	})
}

// A subject that cannot be had here is a need, and says so.
func TestSubjectIsDeclared(t *testing.T) {
	t.Setenv(epermtest.Env, "")
	for _, s := range []epermtest.Subject{
		{Caps: epermtest.Only(63)},
		{Ambient: epermtest.Only(63)},
		{Namespaces: epermtest.NewNet, Permitted: epermtest.Only(63)},
	} {
		k := faked(t, func(t testing.TB) { epermtest.With(t, s, func(t testing.TB) { t.Error("reached") }) })
		require.True(t, k.skipped && !k.failed, "%s", k)
		require.True(t, strings.HasPrefix(k.String(), "epermtest: skipped, needs CAP_63: "), "%s", k)
	}
	k := faked(t, func(t testing.TB) { epermtest.Requires(t, chroot, 63) })
	require.True(t, k.skipped, "%s", k)
	t.Setenv(epermtest.Env, "must")
	faked(t, func(t testing.TB) { epermtest.Requires(t, chroot, 63) }).fails(t, `EPERMTEST=must, and this needs CAP_63`)
}

// On a machine without user namespaces, somebody without privilege is told so.
func TestWithoutUserNamespaces(t *testing.T) {
	t.Parallel()
	const noRoot = 1 // SECBIT_NOROOT: the program that is started gets no capability
	s := epermtest.Subject{Sysctls: map[string]string{"user.max_user_namespaces": "0"}, Caps: epermtest.NoCaps(), Securebits: noRoot}
	epermtest.With(t, s, func(t testing.TB) {
		for name, want := range map[string]string{"TestWithOnly": "userns", "TestMinimal": "userns", "TestWithPrepare": "userns"} {
			run := func(env string) (string, error) {
				cmd := exec.Command("/proc/self/exe", "-test.run=^"+name+"$", "-test.v")
				cmd.Env = append(os.Environ(), epermtest.Env+"="+env)
				out, err := cmd.CombinedOutput()
				return string(out), err
			}
			out, err := run("")
			require.NoError(t, err, "%s", out)
			require.Contains(t, out, "epermtest: skipped, needs "+want+": a process in a new user namespace: ")
			require.Contains(t, out, "--- SKIP: "+name)
			out, err = run("must")
			require.Error(t, err)
			require.Contains(t, out, "epermtest: EPERMTEST=must, and this needs "+want)
			require.Contains(t, out, "--- FAIL: "+name)
		}
	})
}

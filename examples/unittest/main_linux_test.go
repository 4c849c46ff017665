package main

import (
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/epermtest"
)

func TestMain(m *testing.M) { epermtest.Main(m) }

// service is who the service runs as: another user than the one who owns its log.
var service = epermtest.Subject{UID: 4242}

// ports has ports of its own: the test disturbs nobody, and takes no root.
var ports = epermtest.Subject{Namespaces: epermtest.NewNet}

func listenAndClose() error {
	l, err := listen("127.0.0.1:80")
	if err != nil {
		return err
	}
	return l.Close()
}

// The unit file of the service says AmbientCapabilities=CAP_NET_BIND_SERVICE.
// This is why, and why it says nothing else.
func TestListenTakesOneCapability(t *testing.T) {
	ports.Requires(t, listenAndClose, capability.CAP_NET_BIND_SERVICE)
}

// Without it the service tells its user what is missing.
func TestListenSaysWhatIsMissing(t *testing.T) {
	s := ports
	s.Caps = epermtest.NoCaps()
	epermtest.With(t, s, func(t testing.TB) {
		err := run("127.0.0.1:80", ".", "", true)
		d := epermtest.AssertDenied(t, err, eperm.MissingCapability)
		epermtest.AssertCapability(t, d, capability.CAP_NET_BIND_SERVICE)
		require.NotEmpty(t, d.Remedies)
	})
}

// Where the administrator has lowered the first port, it takes nothing.
func TestListenWithLowerFirstPort(t *testing.T) {
	s := epermtest.Subject{Caps: epermtest.NoCaps(), Sysctls: map[string]string{"net.ipv4.ip_unprivileged_port_start": "80"}}
	epermtest.With(t, s, func(t testing.TB) { epermtest.AssertAllowed(t, listenAndClose()) })
}

// An append-only log can be written and not be put aside, by anybody.
func TestAppendOnlyLog(t *testing.T) {
	log := epermtest.File(t, epermtest.AppendOnly)
	epermtest.AssertAllowed(t, record(log, "hello"))
	epermtest.AssertDenied(t, rotate(log), eperm.AppendOnly)
}

// The log belongs to root: the service gets no further than its mode.
func TestLogOfSomebodyElse(t *testing.T) {
	log := epermtest.File(t, epermtest.Mode(0o644))
	service.Requires(t, func() error { return record(log, "x") }, capability.CAP_DAC_OVERRIDE)
}

// In a container whose seccomp filter refuses a call, that is the reason, and no capability helps.
func TestInContainer(t *testing.T) {
	s := epermtest.Subject{Seccomp: epermtest.Refuse(syscall.EPERM, "bind")}
	epermtest.With(t, s, func(t testing.TB) {
		epermtest.AssertCause(t, listenAndClose(), eperm.Seccomp)
	})
}

// What the operator of a Fedora reads.
func TestOnFedora(t *testing.T) {
	m := epermtest.World(t, "testdata/fedora-selinux.txtar")
	d := epermtest.AssertCause(t, m.Diagnosis(), eperm.SELinux)
	require.Contains(t, d.Summary, "httpd_t")
}

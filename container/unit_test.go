//go:build linux

package container

import (
	"errors"
	"path"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/check"
)

// tree is a file system of texts.
type tree map[string]string

func (f tree) read(p string) (string, error) {
	if s, ok := f[p]; ok {
		return s, nil
	}
	return "", errors.New("no such file")
}

func (f tree) list(dir string) (names []string) {
	for p := range f {
		if path.Dir(p) == dir {
			names = append(names, path.Base(p))
		}
	}
	return names
}

func TestReadUnit(t *testing.T) {
	files := tree{
		"/usr/lib/systemd/system/app.service": "[Unit]\nDescription=x\n[Service]\nExecStart=/usr/bin/app \\\n  --port 80\nCapabilityBoundingSet=CAP_KILL \\\n# in between\n CAP_CHOWN\nProtectSystem=full\nPrivateDevices=yes\nProtectHome=read-only\n" +
			"ReadOnlyPaths=-/srv/ro /opt\n[Install]\nUser=nobody\n",
		"/etc/systemd/system/app.service.d/10-a.conf":     "[Service]\nProtectSystem=strict\n",
		"/usr/lib/systemd/system/app.service.d/10-a.conf": "[Service]\nProtectSystem=no\n",
		"/run/systemd/system/service.d/05-all.conf":       "[Service]\nNoNewPrivileges=true\n",
		"/etc/systemd/system/app.service.d/no.txt":        "[Service]\nNoNewPrivileges=no\n",
	}
	u, err := readUnit(files.read, files.list, "app.service", unitDirs(false))
	require.NoError(t, err)
	s, ok := u.Last("ProtectSystem")
	require.True(t, ok)
	require.Equal(t, "ProtectSystem=strict (/etc/systemd/system/app.service.d/10-a.conf:2)", s.String())
	s, on := u.On("NoNewPrivileges")
	require.True(t, on, "of service.d")
	require.Equal(t, "/run/systemd/system/service.d/05-all.conf:2", s.At())
	_, ok = u.Last("User")
	require.False(t, ok, "another section")

	s, taken := u.TakesCapability("CAP_NET_RAW")
	require.True(t, taken)
	require.Equal(t, "CapabilityBoundingSet=CAP_KILL CAP_CHOWN (/usr/lib/systemd/system/app.service:6)", s.String())
	_, taken = u.TakesCapability("CAP_CHOWN")
	require.False(t, taken)
	s, taken = u.TakesCapability("CAP_MKNOD")
	require.True(t, taken)
	require.Equal(t, "PrivateDevices", s.Name)

	for _, c := range []struct{ target, what, name string }{
		{"/usr/share/x", "write", "ProtectSystem"}, {"/etc/passwd", "write", "ProtectSystem"}, {"/var/lib/x", "write", "ProtectSystem"}, {"/dev/null", "write", ""},
		{"/home/ann", "write", "ProtectHome"}, {"/home/ann", "read", ""}, {"/srv/ro/a", "write", "ReadOnlyPaths"}, {"/srv/rock", "write", "ProtectSystem"}, {"/proc/sys/vm/x", "write", ""},
	} {
		s, _ := u.Explains(c.target, c.what)
		require.Equal(t, c.name, s.Name, c)
	}

	_, err = readUnit(files.read, files.list, "gone.service", unitDirs(false))
	require.NoError(t, err, "service.d has something for every service")
	delete(files, "/run/systemd/system/service.d/05-all.conf")
	_, err = readUnit(files.read, files.list, "gone.service", unitDirs(false))
	require.Error(t, err)

	files = tree{"/etc/systemd/system/x@.service": "[Service]\nCapabilityBoundingSet=~CAP_SYS_ADMIN CAP_KILL\nCapabilityBoundingSet=CAP_KILL\n", "/etc/systemd/system/x@.service.d/a.conf": "[Service]\nReadOnlyPaths=/a\nReadOnlyPaths=\n"}
	u, err = readUnit(files.read, files.list, "x@1.service", unitDirs(false))
	require.NoError(t, err)
	_, taken = u.TakesCapability("CAP_SYS_ADMIN")
	require.True(t, taken)
	_, taken = u.TakesCapability("CAP_KILL")
	require.False(t, taken, "a later line gives it back")
	require.Empty(t, u.All("ReadOnlyPaths"))
	_, taken = Unit{Settings: []Setting{{Name: "CapabilityBoundingSet"}}}.TakesCapability("CAP_KILL")
	require.True(t, taken, "emptied")

	require.Equal(t, []string{"a-b-c@1.service", "a-b-c@.service", "a-b-.service", "a-.service", "service"}, dropInNames("a-b-c@1.service", "a-b-c@.service"))
	var again Unit
	require.NoError(t, check.ParseFields(check.FormatFields(u), &again))
	require.Equal(t, u, again)
}

func FuzzParseUnit(f *testing.F) {
	f.Add("[Service]\nCapabilityBoundingSet=~CAP_KILL \\\n;x\nCAP_CHOWN\n", "/usr")
	f.Fuzz(func(t *testing.T, text, target string) {
		u := Unit{Settings: ParseUnit("/f", text)}
		if len(u.Settings) > maxSettings {
			t.Fatal("unbounded")
		}
		for _, s := range u.Settings {
			if strings.ContainsAny(s.Value, "\n\r") {
				t.Fatalf("%q", s.Value)
			}
		}
		u.TakesCapability("CAP_KILL")
		for _, what := range []string{"write", "read", "exec", ""} {
			u.Explains(target, what)
		}
	})
}

// The files of this machine, whatever they are, can be read.
func TestLiveUnits(t *testing.T) {
	w := check.Live(check.Options{})
	p, err := Here.Get(w, "")
	require.NoError(t, err)
	require.NotEmpty(t, p.Kind)
	t.Logf("%v: %v", p, p.Signs)
	for _, bad := range []string{"", "../../etc/passwd", "a/b.service", "user/", "x\n.service"} {
		_, err := UnitSettings.Get(w, bad)
		require.Error(t, err, "%q", bad)
	}
	u, err := UnitSettings.Get(w, "systemd-journald.service")
	if err == nil {
		require.NotEmpty(t, u.Settings)
	}
}

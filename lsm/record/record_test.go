package record

import (
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

const (
	avc      = `audit(1795603866.987:1140): avc:  denied  { read open } for  pid=165 comm="init" path="/data/secret" dev="rootfs" ino=12 scontext=u:r:confined_t tcontext=u:r:secret_t tclass=file permissive=0`
	armor    = `audit(1795603867.100:1141): apparmor="DENIED" operation="open" class="file" profile="lab_confined" name=2F646174612F6120622263 pid=166 comm="in it" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
	complain = `audit(1795603867.200:1142): apparmor="ALLOWED" operation="open" profile="lab_complain" name="/data/secret" pid=166 comm="init" requested_mask="r" denied_mask="r" fsuid=0 ouid=0`
)

func TestParseForms(t *testing.T) {
	k, ok := parseKmsg("5,88,477750900,-;audit: type=1400 " + avc + "\n SUBSYSTEM=x\n")
	require.True(t, ok)
	require.Equal(t, int64(1795603866987), k.stamp)
	require.EqualValues(t, 1140, k.serial)
	require.EqualValues(t, 477750900, k.printk)
	s, ok := parseSyslog("<5>[  477.750900][  T165] audit: type=1400 " + avc)
	require.True(t, ok)
	require.Equal(t, k, s)
	a, ok := parseAudit("node=h type=AVC msg=" + avc + "\x1dARCH=x86_64")
	require.True(t, ok)
	require.Equal(t, k.text, a.text)
	n, ok := parseNetlink(1400, avc+"\x00")
	require.True(t, ok)
	require.Equal(t, k.text, n.text)

	r, ok := k.judge()
	require.True(t, ok)
	require.Equal(t, SELinux, r.Module)
	require.True(t, r.Denied)
	require.Equal(t, 165, r.PID)
	require.Equal(t, []string{"read", "open"}, r.Perms())
	require.Equal(t, "/data/secret", r.Field("path"))
	require.Equal(t, "u:r:secret_t", r.Field("tcontext"))
}

func TestNamesAreDecoded(t *testing.T) {
	e, ok := parseNetlink(1400, armor)
	require.True(t, ok)
	r, ok := e.judge()
	require.True(t, ok)
	require.Equal(t, `/data/a b"c`, r.Field("name"))
	require.Equal(t, "in it", r.Field("comm"))
	require.Equal(t, 166, r.PID)
	require.Equal(t, "r", r.Field("denied_mask"))
}

func TestWhatIsNoDenial(t *testing.T) {
	for text, module := range map[string]string{
		complain: AppArmor,
		strings.Replace(avc, "permissive=0", "permissive=1", 1):    SELinux,
		strings.Replace(avc, "avc:  denied", "avc:  granted", 1):   SELinux,
		`audit(1.000:1): apparmor="STATUS" operation="x" pid=1`:    AppArmor,
		`audit(1.000:1): apparmor="AUDIT" operation="open" pid=16`: AppArmor,
	} {
		e, ok := parseNetlink(1400, text)
		require.True(t, ok, text)
		r, ok := e.judge()
		require.True(t, ok, text)
		require.Equal(t, module, r.Module)
		require.False(t, r.Denied, text)
	}
	e, ok := parseNetlink(1326, `audit(1.0:1): auid=0 pid=7 comm="x" sig=31 arch=c000003e syscall=163 compat=0 ip=0x1 code=0x80000000`)
	require.True(t, ok)
	r, ok := e.judge()
	require.True(t, ok)
	require.False(t, r.Denied, "a filter that kills answers nothing")
	// What a program writes to /dev/kmsg bears its facility.
	_, ok = parseKmsg("13,88,477750900,-;audit: type=1400 " + avc)
	require.False(t, ok)
}

func TestYamaAndLockdown(t *testing.T) {
	e, ok := parseKmsg(`5,9,1000,-;ptrace attach of "sleep \x5cx22[9] was attempted by \x5cx22x"[131] was attempted by "gdb -p 131"[165]`)
	require.True(t, ok)
	r, ok := e.judge()
	require.True(t, ok)
	require.Equal(t, Yama, r.Module)
	require.Equal(t, 165, r.PID)
	target, ok := YamaTarget(r)
	require.True(t, ok)
	require.Equal(t, 131, target)

	e, ok = parseKmsg(`5,9,1000,-;Lockdown: a: b: /dev/mem,kmem,port is restricted; see man kernel_lockdown.7`)
	require.True(t, ok)
	r, ok = e.judge()
	require.True(t, ok)
	require.Zero(t, r.PID)
	reason, ok := LockdownReason(r, "a: b")
	require.True(t, ok)
	require.Equal(t, "/dev/mem,kmem,port", reason)
	_, ok = LockdownReason(r, "c")
	require.False(t, ok)
}

func TestSuppressed(t *testing.T) {
	for line, n := range map[string]int{"kauditd_printk_skb: 12 callbacks suppressed": 12, "audit: audit_lost=3 audit_rate_limit=0 audit_backlog_limit=64": 3, "audit: rate limit exceeded": 1} {
		e, ok := parseKmsg("4,1,5,-;" + line)
		require.True(t, ok, line)
		require.Equal(t, n, e.dropped, line)
	}
}

func kmsg(t *testing.T, printk int64, text string) entry {
	e, ok := parseNetlink(1400, text)
	require.True(t, ok)
	e.printk = printk
	return e
}

// The two clocks disagree: the one that was set, and the one that drifts.
func TestClocks(t *testing.T) {
	about := subject{pid: 165, comm: "init", age: time.Minute}
	at := clocks{real: 1795603866987 + 500, mono: 3_600_000}
	for name, c := range map[string]struct {
		entry entry
		kept  int
	}{
		"just now":                       {kmsg(t, 3_599_500_000, avc), 1},
		"drift of three seconds":         {kmsg(t, 3_596_500_000, avc), 1},
		"set an hour forward since":      {kmsg(t, 3_599_500_000, strings.Replace(avc, "1795603866", "1795600266", 1)), 1},
		"old by both":                    {kmsg(t, 3_000_000_000, strings.Replace(avc, "1795603866", "1795603266", 1)), 0},
		"set an hour back: old, not new": {kmsg(t, 1_000_000, avc), 0},
		"of the future":                  {kmsg(t, 0, strings.Replace(avc, "1795603866", "1795603966", 1)), 0},
	} {
		require.Len(t, choose([]entry{c.entry}, about, at), c.kept, name)
	}
}

func TestWhoseRecord(t *testing.T) {
	at := clocks{real: 1795603867500, mono: 3_600_000}
	e, _ := parseNetlink(1400, avc)
	twice := []entry{e, e}
	mine := choose(twice, subject{pid: 165, comm: "other", age: time.Minute}, at)
	require.Len(t, mine, 1, "one record in two logs is one")
	require.False(t, mine[0].Kin)
	kin := choose(twice, subject{pid: 9, comm: "init", age: time.Minute}, at)
	require.Len(t, kin, 1)
	require.True(t, kin[0].Kin)
	require.Empty(t, choose(twice, subject{pid: 9, comm: "other", age: time.Minute}, at))
	require.Empty(t, choose(twice, subject{pid: 165, comm: "other", age: time.Millisecond}, at), "older than the process")
	foreign := choose(twice, subject{pid: 165, comm: "init", foreign: true, age: time.Minute}, at)
	require.Len(t, foreign, 1)
	require.True(t, foreign[0].Kin, "in another pid namespace the number means another process")

	access, _ := parseNetlink(1423, `audit(1795603867.100:7): domain=195ba459b blockers=fs.read_file path="/data/secret" dev="ext4" ino=3`)
	domain, _ := parseNetlink(1424, `audit(1795603867.100:7): domain=195ba459b status=allocated mode=enforcing pid=165 uid=0 exe="/x" comm="x"`)
	got := choose([]entry{access, domain}, subject{pid: 165, comm: "x", age: time.Minute}, at)
	require.Len(t, got, 1)
	require.Equal(t, 165, got[0].PID)
	require.Equal(t, "fs.read_file", got[0].Field("blockers"))
}

// landlockRecords are as Linux 6.18 writes them to its log.
var landlockRecords = []string{
	`audit(1795617496.755:9546): domain=1f4e7d565 blockers=fs.read_file path="/tmp/f" dev="vda" ino=10003218`,
	`audit(1795617496.783:9551): domain=1f4e7d57f blockers=fs.make_reg path="/tmp" dev="vda" ino=10003202`,
	`audit(1795617496.815:9556): domain=1f4e7d5a1 blockers=fs.change_topology path="/tmp" dev="vda" ino=10003202`,
	`audit(1795617496.847:9563): domain=1f4e7d5c4 blockers=net.bind_tcp saddr=127.0.0.1 src=45673`,
	`audit(1795617496.895:9567): domain=1f4e7d5f4 blockers=net.connect_tcp daddr=127.0.0.1 dest=45674`,
	`audit(1795617496.927:9571): domain=1f4e7d636 blockers=scope.signal opid=24669 ocomm="exe"`,
	`audit(1795617496.959:9575): domain=1f4e7d65d blockers=ptrace opid=24669 ocomm="exe"`,
	`audit(1795617496.999:9582): domain=1f4e7d682 blockers=scope.abstract_unix_socket path=006E616D65`,
}

func TestLandlockRecords(t *testing.T) {
	for i, want := range []struct{ blockers, field, value string }{
		{"fs.read_file", "path", "/tmp/f"}, {"fs.make_reg", "path", "/tmp"}, {"fs.change_topology", "dev", "vda"}, {"net.bind_tcp", "src", "45673"},
		{"net.connect_tcp", "dest", "45674"}, {"scope.signal", "opid", "24669"}, {"ptrace", "ocomm", "exe"}, {"scope.abstract_unix_socket", "path", "\x00name"},
	} {
		for name, parse := range map[string]func() (entry, bool){
			"kmsg":    func() (entry, bool) { return parseKmsg("5,88,477750900,-;audit: type=1423 " + landlockRecords[i]) },
			"auditd":  func() (entry, bool) { return parseAudit("type=LANDLOCK_ACCESS msg=" + landlockRecords[i]) },
			"unknown": func() (entry, bool) { return parseAudit("type=UNKNOWN[1423] msg=" + landlockRecords[i]) }, // an auditd that is older than the kernel
			"netlink": func() (entry, bool) { return parseNetlink(1423, landlockRecords[i]) },
		} {
			e, ok := parse()
			require.True(t, ok, name)
			r, ok := e.judge()
			require.True(t, ok, name)
			require.Equal(t, Landlock, r.Module)
			require.True(t, r.Denied)
			require.Zero(t, r.PID, "whose it is the other records of the event tell")
			require.Equal(t, want.blockers, r.Field("blockers"))
			require.Equal(t, want.value, r.Field(want.field), name)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, s := range landlockRecords {
		f.Add(s, 1423)
	}
	for _, s := range []string{avc, armor, complain, "", "audit(", "audit(1.2:3): a=\"", `audit(1.002:3): avc: denied { a`} {
		f.Add(s, 1400)
	}
	f.Add(`5,9,1000,-;ptrace attach of "a"[131] was attempted by "b"[165]`, 0)
	f.Add("<5>[  477.750900][T1] audit: type=1326 "+avc, 1326)
	f.Add("node=a type=UNKNOWN[1423] msg="+avc, 1423)
	f.Fuzz(func(t *testing.T, s string, kind int) {
		for _, parse := range []func(string) (entry, bool){parseKmsg, parseSyslog, parseAudit, func(s string) (entry, bool) { return parseNetlink(kind, s) }} {
			e, ok := parse(s)
			if !ok {
				continue
			}
			if len(e.text) > maxText || e.stamp < 0 || e.printk < 0 || e.dropped < 0 {
				t.Fatalf("%+v", e)
			}
			r, ok := e.judge()
			if !ok {
				continue
			}
			if r.PID < 0 || r.Module == "" {
				t.Fatalf("%+v", r)
			}
			for name, value := range r.fields() {
				if strings.ContainsAny(name, " =") {
					t.Fatalf("%q=%q", name, value)
				}
			}
			_ = utf8.ValidString(r.Field("name"))
			r.Perms()
			_, _ = YamaTarget(r)
			_, _ = LockdownReason(r, "x")
			choose([]entry{e, e}, subject{pid: r.PID, comm: "x", age: time.Hour}, clocks{real: e.stamp, mono: e.printk / 1000})
		}
	})
}

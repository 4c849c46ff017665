package epermtest

import (
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
)

var alice = secrets{hosts: []string{"db7.corp.example", "db7"}, users: []string{"alice", "file"}, homes: []string{"/home/alice", "/data/people/alice"}}

const private = `eperm world v1
task pid=7 tid=7
op openat path="/home/alice/tender \"draft\"/plan, v2.txt" flags=0
errno 13
acl "/" ! 13 "open /home/alice/tender/x on db7.corp.example: permission denied"
caps "" effective=0000000000000000 permitted=0000000000000000 inheritable=0000000000000000
cwd "" path=/data/people/alice/tender
exe "" s=/home/bob/bin/app
file "/home/alice/tender \"draft\"/plan, v2.txt" mode=0100600 nlink=1 ino=5
ids "" ruid=1000 euid=1000 suid=1000 fsuid=1000 rgid=1000 egid=1000 sgid=1000 fsgid=1000
label "apparmor" s="snap.alice.db7 (enforce)"
lfile "/" mode=040755 isroot=true
lfile "/home" mode=040755
lfile "/home/alice" mode=040700
lfile "/home/alice/tender \"draft\"" mode=040700 ruid=1
link "/srv/l" text=../home/alice/tender/plan
lsm "" names=lockdown,capability
mount "/root/secret" line="root=/ opts=\"host=db7,user=alice\""
place "" kind=systemd unit=alice@db7.service
seccomp "" n=0
sysctl "kernel.hostname" text=othername
`

func TestRedact(t *testing.T) {
	got, err := newRedactor(alice).world(private)
	require.NoError(t, err)
	for _, name := range []string{"alice", "bob", "db7", "corp", "tender", "draft", "plan", "v2", "people/alice", "othername", "secret"} {
		require.NotContains(t, strings.ToLower(got), name)
	}
	for _, line := range []string{
		`op openat path="/home/user/x1/x2" flags=0`,
		`file "/home/user/x1/x2" mode=0100600 nlink=1 ino=5`,
		`lfile "/home/user/x1" mode=040700 ruid=1`,
		`lfile "/home/user" mode=040700`,
		`lfile "/home" mode=040755`,
		`exe "" s=/home/user3/`,
		`cwd "" path=/data/people/user2/`,
		`acl "/" ! 13 "permission denied"`,
		`label "apparmor" s="snap.user.host (enforce)"`,
		`place "" kind=systemd unit=user@host.service`,
		`sysctl "kernel.hostname" text=host`,
		`lsm "" names=lockdown,capability`,
	} {
		require.Contains(t, got, line)
	}
	_, err = check.Replay(got)
	require.NoError(t, err)

	again, err := newRedactor(alice).world(private)
	require.NoError(t, err)
	require.Equal(t, got, again)
	require.Equal(t, strings.Count(private, "\n"), strings.Count(got, "\n"))
}

// A host may be called what the kernel calls something.
func TestRedactKeepsSettings(t *testing.T) {
	who := secrets{hosts: []string{"vm"}, users: []string{"net"}}
	got, err := newRedactor(who).world("eperm world v1\nsysctl \"vm.mmap_min_addr\" text=65536\nsysctl \"net.ipv4.ip_forward\" text=0\nplace \"\" kind=systemd unit=a@vm.service\n")
	require.NoError(t, err)
	require.Equal(t, "eperm world v1\nsysctl \"vm.mmap_min_addr\" text=65536\nsysctl \"net.ipv4.ip_forward\" text=0\nplace \"\" kind=systemd unit=a@host.service\n", got)
}

// A redacted world is explained as the one that was recorded.
func TestRedactedWorldIsTheSame(t *testing.T) {
	const world = `eperm world v1
task pid=7 tid=7
op fchownat path="/home/alice/tender/plan" uid=5 gid=-1
errno 1
bounding "CAP_CHOWN" set=true
caps "" effective=0000000000000000 permitted=0000000000000000 inheritable=0000000000000000
exe "" s=/home/alice/bin/app
file "/home/alice/tender/plan" mode=0100600 uid=1000 gid=1000 nlink=1 ino=5 mnt=27 mask=0x303874
file_caps "/proc/self/exe"
ids "" ruid=1000 euid=1000 suid=1000 fsuid=1000 rgid=1000 egid=1000 sgid=1000 fsgid=1000
lfile "/" mode=040755 isroot=true
lfile "/home" mode=040755
lfile "/home/alice" mode=040700 uid=1000 gid=1000
lfile "/home/alice/tender" mode=040700 uid=1000 gid=1000
lfile "/home/alice/tender/plan" mode=0100600 uid=1000 gid=1000 mask=0x303874
lsm "" names=lockdown,capability
no_new_privs "" set=false
ns "user" inode=4026531837
place "" kind=host
seccomp "" n=0
threads "" count=4
`
	m, err := machine(world)
	require.NoError(t, err)
	d := m.Diagnosis()
	require.Equal(t, eperm.MissingCapability, d.Cause)
	text, err := record(d, alice)
	require.NoError(t, err)
	require.NotContains(t, text, "alice")
	require.NotContains(t, text, "tender")
	m, err = machine(text)
	require.NoError(t, err)
	require.Equal(t, d.Certainty, m.Diagnosis().Certainty)
	require.Equal(t, syscall.EPERM, m.Errno)
	require.Contains(t, m.Message, "CAP_CHOWN")
}

// Where a name cannot be taken out, nothing is recorded.
func TestRedactLeak(t *testing.T) {
	r := newRedactor(alice)
	require.NoError(t, r.leak("file \"/x\" file=1\nop file path=\"/x\"\n"), "names of facts, calls and fields are no leak")
	require.ErrorContains(t, r.leak(`exe "" s=/opt/alice/x`), `"/alice/"`)
	require.ErrorContains(t, r.leak(`exe "" s=x y "/data/people/alice/"`), "still")
	_, err := r.world("exe no quotes\n")
	require.ErrorContains(t, err, "redact")
}

func TestWhoIsHere(t *testing.T) {
	t.Setenv("USER", "carol")
	t.Setenv("HOME", "/srv/homes/carol/")
	t.Setenv("HOSTNAME", "box.example")
	who := whoIsHere()
	require.Contains(t, who.users, "carol")
	require.Contains(t, who.homes, "/srv/homes/carol")
	require.Contains(t, who.hosts, "box.example")
	require.Contains(t, who.hosts, "box")
	require.NotContains(t, who.users, "root")
	require.NotContains(t, who.hosts, "localhost")
	host, err := os.Hostname()
	require.NoError(t, err)
	if host != "localhost" && host != "host" {
		require.Contains(t, who.hosts, host)
	}
}

func TestSections(t *testing.T) {
	const text = "about\n-- world --\na\nb\n-- two words --\n-- empty --\n"
	comment, list := sections(text)
	require.Equal(t, "about\n", comment)
	require.Equal(t, []section{{"world", "a\nb\n"}, {"two words", ""}, {"empty", ""}}, list)
	require.Equal(t, text, archive(comment, list))
	comment, list = sections("-- x --\r\nno end")
	require.Empty(t, comment)
	require.Equal(t, "-- x --\nno end\n", archive(comment, list))
}

func FuzzRedact(f *testing.F) {
	f.Add(private)
	f.Add("eperm world v1\nop x a=\"\nfile \"/home/alice\" \"\n")
	f.Fuzz(func(t *testing.T, text string) {
		if got, err := newRedactor(alice).world(text); err == nil && got != "" {
			require.True(t, strings.HasSuffix(got, "\n"))
			require.NotContains(t, got, `"/home/alice/`)
		}
	})
}

package selinux_test

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
)

// base is a service that opens a file, as everything but SELinux sees it.
const base = `eperm world v1
task pid=7 tid=7
op openat path="/srv/www/index.html" flags=0
errno 13
caps "" effective=0000000000000000 permitted=0000000000000000 inheritable=0000000000000000
ids "" ruid=48 euid=48 suid=48 fsuid=48 rgid=48 egid=48 sgid=48 fsgid=48
groups ""
file "/srv/www/index.html" mode=0100644 nlink=1 ino=9 dev=253:0 mnt=27 mask=0x303874
lfile "/srv/www/index.html" mode=0100644 nlink=1 ino=9 dev=253:0 mnt=27 mask=0x303874
lfile "/" mode=040755 nlink=21 ino=2 dev=253:0 mnt=27 mask=0x303874 isroot=true
lfile "/srv" mode=040755 nlink=3 ino=3 dev=253:0 mnt=27 mask=0x303874
lfile "/srv/www" mode=040755 nlink=2 ino=4 dev=253:0 mnt=27 mask=0x303874
acl "/srv/www/index.html"
acl "/srv/www"
acl "/srv"
acl "/"
lsm "" names=lockdown,capability,yama,selinux,landlock
no_new_privs "" set=false
place "" kind=host
seccomp "" n=0
threads "" count=1
selinux_enforce "" n=1
label "selinux" s=system_u:system_r:httpd_t:s0
selinux_file "f/" s=system_u:object_r:root_t:s0
selinux_file "f/srv" s=system_u:object_r:var_t:s0
selinux_file "f/srv/www" s=system_u:object_r:var_t:s0
selinux_access "system_u:system_r:httpd_t:s0 system_u:object_r:root_t:s0 dir search"
selinux_access "system_u:system_r:httpd_t:s0 system_u:object_r:var_t:s0 dir search"
selinux_file "f/srv/www/index.html" s=OBJECT
selinux_access "system_u:system_r:httpd_t:s0 OBJECT file read" denied=read
selinux_access "system_u:system_r:httpd_t:s0 OBJECT file read,open" denied=read,open
selinux_access "system_u:system_r:httpd_t:s0 system_u:object_r:httpd_sys_content_t:s0 file read"
selinux_access "system_u:system_r:httpd_t:s0 system_u:object_r:httpd_sys_content_t:s0 file read,open"
`

func TestWorlds(t *testing.T) {
	const home, moved = "unconfined_u:object_r:user_home_t:s0", "system_u:object_r:user_home_t:s0"
	for _, c := range []struct {
		name, object, facts string
		certainty           eperm.Certainty
		summary             string
		first               string // command of the first remedy
		then                string
		not                 string // no such remedy
	}{
		{"label of another place", moved, `selinux_wanted "100000 /srv/www/index.html" context=system_u:object_r:httpd_sys_content_t:s0 rule="/srv/www(/.*)?"`,
			eperm.Confirmed, "does not allow httpd_t { read }", "restorecon -v /srv/www/index.html", "enough", ""},
		{"no rule for the place", moved, `selinux_wanted "100000 /srv/www/index.html" context=system_u:object_r:user_home_t:s0 rule="/srv/.*"`,
			eperm.Confirmed, "does not allow httpd_t { read }", "semanage fcontext -a -t httpd_sys_content_t /srv/www/index\\.html", "enough", ""},
		{"another user's label, and customizable", home, "selinux_wanted \"100000 /srv/www/index.html\" context=system_u:object_r:httpd_sys_content_t:s0 rule=x custom=user_home_t",
			eperm.Confirmed, "does not allow httpd_t { read }", "restorecon -F -v /srv/www/index.html", "enough", ""},
		{"boolean", moved, "selinux_rules \"httpd_t user_home_t file read\" booleans=httpd_read_user_content=on\nselinux_rules \"httpd_t user_home_t file read,open\" booleans=httpd_read_user_content=on",
			eperm.Confirmed, "does not allow httpd_t { read }", "semanage fcontext -a -t httpd_sys_content_t /srv/www/index\\.html", "enough", "httpd_enable_homedirs"},
		{"boolean perhaps", moved, `selinux_boolean "httpd_enable_homedirs" set=false`,
			eperm.Confirmed, "does not allow httpd_t { read }", "semanage fcontext -a -t httpd_sys_content_t /srv/www/index\\.html", "enough", ""},
		{"constraint", moved, `selinux_rules "httpd_t user_home_t file read" bytype=true`,
			eperm.Confirmed, "a constraint of SELinux's policy", "", "not tried", "semodule"},
		{"level", "system_u:object_r:httpd_sys_content_t:s0:c1,c2", "",
			eperm.Confirmed, "keeps levels apart: httpd_t at the level s0 may not { read }", "chcon -l s0 -- /srv/www/index.html", "enough", "semodule"},
		{"user", "other_u:object_r:httpd_sys_content_t:s0", "",
			eperm.Confirmed, "keeps users apart", "", "not tried", "semodule"},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, err := check.Replay(strings.ReplaceAll(base, "OBJECT", c.object) + c.facts + "\n")
			require.NoError(t, err)
			o, errno := w.Recorded()
			d := eperm.Explainer{World: w}.Explain(errno, o)
			require.Equal(t, eperm.SELinux, d.Cause, "%+v", d)
			require.Equal(t, c.certainty, d.Certainty, "%+v", d)
			require.Contains(t, d.Summary, c.summary)
			require.NotEmpty(t, d.Remedies)
			var all []string
			for _, r := range d.Remedies {
				for _, argv := range r.Commands {
					all = append(all, strings.Join(argv, " "))
				}
			}
			if c.first != "" {
				require.Equal(t, c.first, all[0], "%+v", d)
			}
			require.True(t, strings.HasPrefix(d.Remedies[0].Then, c.then), "%s", d.Remedies[0].Then)
			if c.not != "" {
				require.NotContains(t, strings.Join(all, "\n"), c.not)
			}
			switch c.name {
			case "boolean":
				require.Contains(t, all, "setsebool -P httpd_read_user_content on")
			case "boolean perhaps":
				require.Contains(t, all, "setsebool -P httpd_enable_homedirs on")
				require.NotContains(t, all, "setsebool -P httpd_use_nfs on")
			}
		})
	}
}

// Permissive mode is never blamed, and the log is no proof of it.
func TestWorldPermissive(t *testing.T) {
	text := strings.ReplaceAll(base, "OBJECT", "system_u:object_r:user_home_t:s0")
	for _, change := range [][2]string{{`selinux_enforce "" n=1`, `selinux_enforce "" n=0`}, {"denied=read\n", "denied=read permissive=true\n"}} {
		s := strings.ReplaceAll(text, change[0], change[1])
		s = strings.ReplaceAll(s, "denied=read,open\n", "denied=read,open permissive=true\n")
		w, err := check.Replay(s)
		require.NoError(t, err)
		o, errno := w.Recorded()
		d := eperm.Explainer{World: w}.Explain(errno, o)
		require.NotEqual(t, eperm.Confirmed, d.Certainty, "%+v", d)
		for _, f := range d.Findings {
			if f.Gate.Doc.Cause == eperm.SELinux {
				require.Equal(t, check.Allows, f.Verdict.Decision, "%+v", d)
			}
		}
	}
}

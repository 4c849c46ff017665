package selinux

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// sampleContexts is in the style of a distribution's file.
const sampleContexts = `
# comment
/.*	system_u:object_r:default_t:s0
/[^/]+	--	system_u:object_r:etc_runtime_t:s0
/a?quota\.(user|group)	--	system_u:object_r:quota_db_t:s0
/usr/.*	system_u:object_r:usr_t:s0
/var/.*	system_u:object_r:var_t:s0
/srv/.*	system_u:object_r:var_t:s0
/usr/(.*/)?bin(/.*)?	system_u:object_r:bin_t:s0
/usr/(.*/)?lib(/.*)?	system_u:object_r:lib_t:s0
/var/www(/.*)?	system_u:object_r:httpd_sys_content_t:s0
/var/www/[^/]*/cgi-bin(/.*)?	system_u:object_r:httpd_sys_script_exec_t:s0
/var/run/.*\.*pid	<<none>>
/dev/(misc/)?rtc[0-9]*	-c	system_u:object_r:clock_device_t:s0
/etc/shadow.*	--	system_u:object_r:shadow_t:s0
/etc/passwd	--	system_u:object_r:passwd_file_t:s0
/home/[^/]+	-d	unconfined_u:object_r:user_home_dir_t:s0
/home/[^/]+/.+	unconfined_u:object_r:user_home_t:s0
/lost\+found	-d	system_u:object_r:lost_found_t:s0
/usr/bin/ssh(-[a-z]+)?	--	system_u:object_r:ssh_exec_t:s0
/srv/f.{2}	--	system_u:object_r:public_content_t:s0
`

func sample() *fileContexts {
	fc := &fileContexts{subs: substitutions("/data /srv\n"), dist: substitutions("/run /var/run\n/usr/lib64 /usr/lib\n/ /\nbad\n")}
	fc.add(sampleContexts)
	return fc
}

var samplePaths = []struct {
	path string
	kind uint32
	typ  string // "" is none
}{
	{"/var/www/html/index.html", 0o100000, "httpd_sys_content_t"},
	{"/var/www", 0o040000, "httpd_sys_content_t"},
	{"/var/www/a/cgi-bin/x", 0o100000, "httpd_sys_script_exec_t"},
	{"/var/lib/x", 0o100000, "var_t"},
	{"/usr/lib64/x.so", 0o100000, "lib_t"},
	{"/usr/local/bin/x", 0o100000, "bin_t"},
	{"/usr/bin/ssh-add", 0o100000, "ssh_exec_t"},
	{"/usr/bin/ssh-add", 0o120000, "bin_t"},
	{"/usr/bin/sshd9", 0o100000, "bin_t"},
	{"/dev/rtc0", 0o020000, "clock_device_t"},
	{"/dev/rtc0", 0o100000, "default_t"},
	{"/etc/passwd", 0o100000, "passwd_file_t"},
	{"/etc/passwd-", 0o100000, "default_t"},
	{"/etc/shadow", 0o100000, "shadow_t"},
	{"/run/sshd.pid", 0o100000, ""},
	{"/home/u", 0o040000, "user_home_dir_t"},
	{"/home/u/.ssh", 0o040000, "user_home_t"},
	{"/lost+found", 0o040000, "lost_found_t"},
	{"/data/x", 0o100000, "var_t"},
	{"/datax/x", 0o100000, "default_t"},
	{"/srv/f\xc3\xa9", 0o100000, "public_content_t"}, // two bytes are two characters
	{"/aquota.user", 0o100000, "quota_db_t"},
	{"//var//www///html/", 0o040000, "httpd_sys_content_t"},
}

func TestFileContexts(t *testing.T) {
	fc := sample()
	for _, c := range samplePaths {
		r, found, err := fc.lookup(c.path, c.kind)
		require.NoError(t, err, c.path)
		require.True(t, found, c.path)
		typ, _ := typeOf(r.context)
		require.Equal(t, c.typ, typ, "%s: %+v", c.path, r)
	}
	_, found, err := (&fileContexts{}).lookup("/x", 0)
	require.NoError(t, err)
	require.False(t, found)
	for _, bad := range []string{"", "x", "/a\nb", "/a\x00"} {
		_, _, err := fc.lookup(bad, 0)
		require.Error(t, err, bad)
	}
	odd := &fileContexts{}
	odd.add("/.*	u:object_r:default_t\n/srv/(?!x).*	u:object_r:odd_t\n")
	_, _, err = odd.lookup("/srv/y", 0)
	require.ErrorContains(t, err, "cannot be matched", "a rule that may count and is not understood is no answer")
	r, found, err := odd.lookup("/var/y", 0)
	require.NoError(t, err)
	require.True(t, found)
	require.Equal(t, "u:object_r:default_t", r.context)
}

// TestFileContextsAgree: libselinux gives the same answers.
func TestFileContextsAgree(t *testing.T) {
	kerneltest.Require(t, kerneltest.Program("selabel_lookup"))
	file := filepath.Join(t.TempDir(), "file_contexts")
	require.NoError(t, os.WriteFile(file, []byte(sampleContexts), 0o600))
	fc := &fileContexts{} // the tool takes substitutions from other files
	fc.add(sampleContexts)
	for _, c := range samplePaths {
		out, err := exec.Command("selabel_lookup", "-r", "-b", "file", "-f", file, "-k", c.path, "-t", strconv.Itoa(int(c.kind))).CombinedOutput()
		r, found, lookupErr := fc.lookup(c.path, c.kind)
		require.NoError(t, lookupErr)
		if r.context == "" || !found {
			require.Contains(t, string(out), "No such file", "%s: %v", c.path, err)
			continue
		}
		require.NoError(t, err, "%s: %s", c.path, out)
		require.Contains(t, strings.TrimSpace(string(out)), r.context, c.path)
	}
}

func FuzzFileContexts(f *testing.F) {
	f.Add(sampleContexts, "/var/www/x", uint32(0o100000))
	f.Add("/a(\t--\tu:r:t\n/\\", "/a", uint32(0))
	f.Add("/a{2,1}\tu:r:t\n/x|y \tu:r:t", "/x\xff", uint32(0))
	f.Fuzz(func(t *testing.T, text, path string, kind uint32) {
		fc := &fileContexts{subs: substitutions(text)}
		fc.add(text)
		r, found, err := fc.lookup(path, kind)
		if found && err != nil || found && r.literal && len(fc.subs) == 0 && r.prefix != clean(path) {
			t.Fatalf("%+v %v", r, err)
		}
		if _, ok := typeOf(r.context); ok && strings.ContainsAny(r.context, "\n") {
			t.Fatal(r.context)
		}
	})
}

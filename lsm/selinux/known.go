package selinux

import "slices"

// A knownBoolean is what the documents of a policy say that a boolean is for
// (booleans(8), the manual pages DOMAIN_selinux(8)).
type knownBoolean struct {
	domain, class, perm string
	targets             []string // types; none is any
	name, value         string
}

// knownBooleans are those that refusals are about most often. They are named where the
// rules of the policy cannot be read, as possible: nothing is concluded from them.
var knownBooleans = []knownBoolean{
	{"httpd_t", "tcp_socket", "name_connect", []string{"mysqld_port_t", "postgresql_port_t", "mssql_port_t", "oracle_port_t"}, "httpd_can_network_connect_db", "on"},
	{"httpd_t", "tcp_socket", "name_connect", []string{"smtp_port_t", "pop_port_t"}, "httpd_can_sendmail", "on"},
	{"httpd_t", "tcp_socket", "name_connect", nil, "httpd_can_network_connect", "on"},
	{"httpd_t", "file", "", []string{"user_home_t", "httpd_user_content_t"}, "httpd_enable_homedirs", "on"},
	{"httpd_t", "dir", "", []string{"user_home_dir_t", "user_home_t"}, "httpd_enable_homedirs", "on"},
	{"httpd_t", "file", "", []string{"nfs_t"}, "httpd_use_nfs", "on"},
	{"httpd_t", "dir", "", []string{"nfs_t"}, "httpd_use_nfs", "on"},
	{"httpd_t", "file", "", []string{"cifs_t"}, "httpd_use_cifs", "on"},
	{"httpd_t", "dir", "", []string{"cifs_t"}, "httpd_use_cifs", "on"},
	{"httpd_t", "process", "execmem", nil, "httpd_execmem", "on"},
	{"smbd_t", "file", "", []string{"user_home_t"}, "samba_enable_home_dirs", "on"},
	{"smbd_t", "dir", "", []string{"user_home_t", "user_home_dir_t"}, "samba_enable_home_dirs", "on"},
	{"container_t", "dir", "", []string{"cgroup_t"}, "container_manage_cgroup", "on"},
	{"container_t", "file", "", []string{"cgroup_t"}, "container_manage_cgroup", "on"},
	{"container_t", "chr_file", "", nil, "container_use_devices", "on"},
	{"", "process", "ptrace", nil, "deny_ptrace", "off"},
	{"", "process", "execmem", nil, "deny_execmem", "off"},
}

// mayBe are the booleans that an access may hang on.
func mayBe(domain, class, target string, perms []string) (list []knownBoolean) {
	for _, b := range knownBooleans {
		if b.domain != "" && b.domain != domain || b.class != class {
			continue
		}
		if b.perm != "" && !slices.Contains(perms, b.perm) || b.targets != nil && !slices.Contains(b.targets, target) {
			continue
		}
		list = append(list, b)
	}
	return list
}

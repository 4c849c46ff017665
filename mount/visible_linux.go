package mount

import (
	"bytes"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/moby/sys/mountinfo"
)

// An Instance is a mount of a file system of some type, as far as
// fs/namespace.c:mnt_already_visible looks at it.
type Instance struct {
	Path    string
	Options string   // of the mount: "rw,nosuid,relatime"
	Super   string   // of the file system: "rw,hidepid=invisible"
	Whole   bool     // it shows the file system from its root
	Covered []string // mount points on it, other than the directories that are made for that
}

// Instances are all mounts of one type that a task can see.
type Instances struct{ List []Instance }

// InstancesOf are the mounts of the type that the key names, "proc".
var InstancesOf = check.Probe[Instances]{Name: "mounts_of_type", Source: "/proc/thread-self/mountinfo",
	Text: func(s Instances) string {
		var b strings.Builder
		for i, m := range s.List {
			if i > 0 {
				b.WriteByte(' ')
			}
			b.WriteString(strconv.Quote(strings.Join(append([]string{m.Path, m.Options, m.Super, strconv.FormatBool(m.Whole)}, m.Covered...), "\t")))
		}
		return b.String()
	},
	Parse: parseInstances,
	Show: func(s Instances) string {
		if len(s.List) == 0 {
			return "none"
		}
		words := make([]string, len(s.List))
		for i, m := range s.List {
			words[i] = fmt.Sprintf("%s (%s)", m.Path, m.Options)
			if len(m.Covered) > 0 {
				words[i] += fmt.Sprintf(", %d covered: %s", len(m.Covered), strings.Join(m.Covered[:min(3, len(m.Covered))], " "))
			}
		}
		return strings.Join(words, "; ")
	},
	Live: func(k *check.Kernel, key string) (Instances, error) {
		b, err := k.ReadShared(k.Proc("mountinfo"))
		if err != nil {
			return Instances{}, err
		}
		return ParseInstances([]byte(b), key)
	}}

// emptyForever are directories that are made to be mounted on, and have no
// other content (fs/proc: register_sysctl_mount_point, proc_create_mount_point;
// fs/sysfs: sysfs_create_mount_point): what covers them hides nothing.
var emptyForever = []string{
	"proc/sys/fs/binfmt_misc", "proc/fs/nfsd", "proc/openprom",
	"sys/fs/cgroup", "sys/fs/bpf", "sys/fs/fuse/connections", "sys/fs/pstore", "sys/fs/selinux", "sys/fs/smackfs", "sys/fs/resctrl",
	"sys/kernel/debug", "sys/kernel/tracing", "sys/kernel/security", "sys/kernel/config", "sys/firmware/efi/efivars", "sys/hypervisor/s390",
}

// ParseInstances finds the mounts of a type in the text of a mountinfo file.
func ParseInstances(text []byte, fstype string) (Instances, error) {
	all, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), nil)
	if err != nil {
		return Instances{}, fmt.Errorf("parse mountinfo: %w", err)
	}
	var s Instances
	for _, m := range all {
		if m.FSType != fstype {
			continue
		}
		i := Instance{Path: m.Mountpoint, Options: m.Options, Super: m.VFSOptions, Whole: m.Root == "/"}
		for _, on := range all {
			if on.Parent != m.ID || on.ID == m.ID {
				continue
			}
			inside := strings.TrimPrefix(strings.TrimPrefix(on.Mountpoint, strings.TrimSuffix(m.Mountpoint, "/")), "/")
			if !slices.Contains(emptyForever, map[string]string{"proc": "proc/", "sysfs": "sys/"}[fstype]+inside) {
				i.Covered = append(i.Covered, on.Mountpoint)
			}
		}
		s.List = append(s.List, i)
	}
	return s, nil
}

func parseInstances(line string) (s Instances, err error) {
	for line = strings.TrimSpace(line); line != ""; line = strings.TrimSpace(line) {
		q, err := strconv.QuotedPrefix(line)
		if err != nil {
			return Instances{}, fmt.Errorf("parse mounts: %w", err)
		}
		line = line[len(q):]
		text, err := strconv.Unquote(q)
		if err != nil {
			return Instances{}, fmt.Errorf("parse mounts: %w", err)
		}
		f := strings.Split(text, "\t")
		if len(f) < 4 {
			return Instances{}, fmt.Errorf("parse mounts: %.60q", text)
		}
		s.List = append(s.List, Instance{Path: f[0], Options: f[1], Super: f[2], Whole: f[3] == "true", Covered: f[4:]})
		if n := len(s.List); n > 1000 {
			return Instances{}, fmt.Errorf("parse mounts: more than %d", n)
		}
	}
	return s, nil
}

// Has says whether a list of mount options holds the word: Has("ro,nosuid", "ro").
func Has(options, word string) bool {
	return slices.Contains(strings.Split(options, ","), word)
}

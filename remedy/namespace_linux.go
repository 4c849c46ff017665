package remedy

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
	"github.com/go-eperm/eperm/userns"
)

// The changes about user namespaces, and those that a file server decides.

// namespace is a capability that would have to be held further out.
func (r *renderer) namespace() {
	c := r.change
	flags := map[string]string{"net": "--net", "uts": "--uts", "ipc": "--ipc", "mnt": "--mount", "pid": "--pid", "cgroup": "--cgroup"}
	own := flags[c.Value] != ""
	r.everywhere(func(p container.Place) {
		switch {
		case own && (p.Kind == container.Podman || p.Kind == container.Docker):
			o := option{flags: []string{"--cap-add=" + c.Cap.Short()}, compose: []string{"cap_add:", "  - " + c.Cap.Short()}, quadlet: "AddCapability=" + c.Cap.Short()}
			title := "give the container a " + c.Value + " namespace of its own, instead of the host's: " + c.Cap.String() + " counts there"
			without := map[string]string{"net": "--network=host", "uts": "--uts=host", "ipc": "--ipc=host", "pid": "--pid=host", "cgroup": "--cgroupns=host"}[c.Value]
			x := r.withOption(p, title, o)
			x.Risk = check.LowRisk
			if without != "" {
				x.Warning = "Leave out " + without + "."
			}
		case own && p.Kind == container.Kubernetes:
			field := map[string]string{"net": "hostNetwork: false", "pid": "hostPID: false", "ipc": "hostIPC: false"}[c.Value]
			if field == "" {
				break
			}
			r.inPod(p, "give the pod a "+c.Value+" namespace of its own, instead of the node's: "+c.Cap.String()+" counts there", podSpec{security: []string{"capabilities:", `  add: ["` + c.Cap.Short() + `"]`}, pod: []string{field}}, podLevel(c.Cap)).Risk = check.LowRisk
		case own && p.Kind == container.Containerd:
			without := map[string]string{"net": "--net=host", "uts": "--uts=host", "ipc": "--ipc=host", "pid": "--pid=host"}[c.Value]
			x := check.Remedy{For: "containerd", Title: "give the container a " + c.Value + " namespace of its own, instead of the host's: " + c.Cap.String() + " counts there", Commands: [][]string{{"nerdctl", "run", "--cap-add=" + c.Cap.Short(), "IMAGE"}}, Risk: check.LowRisk}
			if without != "" {
				x.Warning = "Leave out " + without + "."
			}
			r.add(x)
		case own:
			r.add(check.Remedy{For: "host", Title: "give the program a " + c.Value + " namespace of its own, made together with its user namespace: " + c.Cap.String() + " counts there", Risk: check.LowRisk,
				Commands: [][]string{{"unshare", "--user", "--map-root-user", flags[c.Value], "--", "COMMAND"}}, Verify: [][]string{{"lsns", "-p", "PID", "-o", "NS,TYPE,ONS"}}})
		}
	})
	title := "nothing inside this user namespace helps: " + c.Cap.String() + " has to be held in " + c.Name + "; do it from there, or let a helper there do it"
	if r.place.Rootless {
		title += " (a rootless " + string(r.place.Kind) + " cannot give it, whatever --cap-add says)"
	}
	r.add(check.Remedy{For: "host", Title: title, Risk: check.MediumRisk, Verify: [][]string{{"lsns", "-p", "PID", "-o", "NS,TYPE,ONS"}}})
}

// mapID is for ids that the user namespace does not map.
func (r *renderer) mapID() {
	c := r.change
	if c.Name == "setgroups" || c.Text != "" && c.Path == "" {
		r.add(check.Remedy{For: "code", Title: c.Text})
		if c.Name != "setgroups" {
			r.subordinate()
		}
		return
	}
	m, err := userns.Map.Get(r.w, c.Name)
	verify := [][]string{{"cat", "/proc/self/" + c.Name + "_map"}, {"stat", "-c", "%u:%g", argument(c.Path)}}
	mine, tool := r.uid(), "chown"
	if c.Name == "gid" {
		mine, tool = r.gid(), "chgrp"
	}
	give := func(id uint32) [][]string { return [][]string{{tool, fmt.Sprint(id), "PATH-OUTSIDE"}} }
	outside, mapped := uint32(0), false
	if err == nil && mine >= 0 {
		outside, mapped = m.Outside(uint32(mine))
	}
	r.everywhere(func(p container.Place) {
		switch {
		case p.Kind == container.Podman:
			x := r.withOption(p, "map the user who starts the container to the same id inside, if that is who owns "+check.Printable(c.Path), option{flags: []string{"--userns=keep-id"}, quadlet: "UserNS=keep-id"})
			x.Verify = verify
			r.add(check.Remedy{For: "podman", Title: "or give the file to root of the container, from outside", Commands: [][]string{{"podman", "unshare", "chown", "0:0", "--", "PATH-OUTSIDE"}}, Verify: verify})
			return
		case p.Kind == container.Kubernetes:
			r.inPod(p, "have the volume's files handed to a group that the pod maps, when it is mounted", podSpec{podSecurity: []string{"fsGroup: " + strconv.Itoa(max(r.gid(), 1))}}, levelRestricted).Verify = verify
		case p.Kind == container.Docker && mapped, p.Kind == container.LXC && mapped, p.Kind == container.Incus && mapped, p.Kind == container.Nspawn && mapped:
			r.add(check.Remedy{For: "host", Title: fmt.Sprintf("give the file, from outside, to the id that %s %d of the container is there: %d", c.Name, mine, outside), Commands: give(outside), Verify: verify})
			return
		case p.Kind == container.Incus:
			r.add(check.Remedy{For: "incus", Title: "shift the ids of the volume", Commands: [][]string{{"incus", "config", "device", "set", orName(p), "DEVICE", "shift=true"}}, Verify: verify})
		}
		if mapped {
			r.add(check.Remedy{For: "host", Title: fmt.Sprintf("give the file, from outside, to an id that is mapped: %s %d here is %d in the parent namespace", c.Name, mine, outside), Commands: give(outside), Verify: verify})
		} else {
			x := check.Remedy{For: "host", Title: "give the file to an id that is mapped, from outside", Commands: [][]string{{"chown", "UID:GID", "PATH-OUTSIDE"}}, Verify: verify}
			if err == nil && len(m.Ranges) > 0 {
				x.Title += fmt.Sprintf(": %d is %s %d in here", m.Ranges[0].Outside, c.Name, m.Ranges[0].Inside)
				x.Commands = give(m.Ranges[0].Outside)
			}
			r.add(x)
		}
		if len(m.Ranges) == 1 && m.Ranges[0].Count == 1 {
			r.subordinate()
		}
	})
}

// subordinate lets a user map more ids than the own one.
func (r *renderer) subordinate() {
	r.add(check.Remedy{For: "host", Title: "let the user map a range of subordinate ids, and map it (podman: podman system migrate takes it up)",
		Commands: [][]string{{"usermod", "--add-subuids", "100000-165535", "--add-subgids", "100000-165535", "USER"}, {"unshare", "--user", "--map-root-user", "--map-auto", "--", "COMMAND"}},
		Verify:   [][]string{{"getsubids", "USER"}, {"cat", "/proc/self/uid_map"}}, Warning: "The range must not be in use, or belong to another user in /etc/subuid."})
}

// server is what the one who decides has to do: nothing local helps.
func (r *renderer) server() {
	c := r.change
	uid := max(r.uid(), 0)
	verify := [][]string{{"setpriv", "--reuid", strconv.Itoa(uid), "--clear-groups", "--", "stat", "--", c.Path}}
	switch c.Name {
	case "nfs", "nfs4":
		if uid == 0 {
			r.add(check.Remedy{For: "server", Title: "map root of this one client to a uid that may: root_squash makes it nobody", Snippet: "# /etc/exports on the server; then exportfs -ra\nEXPORT CLIENT(rw,all_squash,anonuid=UID,anongid=GID)\n", SnippetKind: "exports", Risk: check.MediumRisk, Verify: [][]string{{"exportfs", "-v"}}})
			r.add(check.Remedy{For: "host", Title: "do it as the user that owns it on the server, not as root", Commands: [][]string{{"setpriv", "--reuid", "UID", "--clear-groups", "--", "COMMAND"}}, Risk: check.LowRisk})
			return
		}
		r.add(check.Remedy{For: "server", Title: fmt.Sprintf("let uid %d in on the server: by mode or ACL of the exported file", uid), Commands: [][]string{{"nfs4_setfacl", "-a", fmt.Sprintf("A::%d:RWX", uid), "PATH-ON-SERVER"}}, Risk: check.LowRisk, Verify: [][]string{{"exportfs", "-v"}}})
		if strings.HasPrefix(c.Value, "groups") {
			r.add(check.Remedy{For: "server", Title: "let the server look up groups itself: AUTH_SYS carries 16", Snippet: "# /etc/nfs.conf on the server\n[mountd]\nmanage-gids=y\n", SnippetKind: "ini", Risk: check.LowRisk, Verify: [][]string{{"nfsconf", "--get", "mountd", "manage-gids"}}})
		}
	case "cifs", "smb3":
		r.add(check.Remedy{For: "server", Title: "let the account that mounted the share in, on the server: uid, gid and mode that are shown here are not what it goes by", Risk: check.LowRisk, Verify: [][]string{{"findmnt", "-no", "OPTIONS", "-T", c.Path}}})
		r.add(check.Remedy{For: "host", Title: "or mount it with another account", Commands: [][]string{{"mount", "-t", "cifs", "-o", "credentials=FILE,uid=" + strconv.Itoa(uid), "//SERVER/SHARE", "MOUNTPOINT"}}, Risk: check.MediumRisk})
	case "9p":
		r.add(check.Remedy{For: "server", Title: "let the process that serves the directory in (of QEMU: security_model=mapped-xattr keeps owners beside the files, passthrough takes root there), or mount with access=client", Risk: check.MediumRisk, Verify: [][]string{{"findmnt", "-no", "OPTIONS", "-T", c.Path}}})
	case "virtiofs":
		r.add(check.Remedy{For: "server", Title: "let virtiofsd, outside of the virtual machine, do it: its user has to own the files, or its ids to be translated", Commands: [][]string{{"virtiofsd", "--shared-dir", "DIR", "--translate-uid", "map:0:UID:1"}}, Risk: check.MediumRisk, Verify: [][]string{{"stat", "-c", "%u:%g", "--", "PATH-OUTSIDE"}}})
	case "fuse-owner":
		r.add(check.Remedy{For: "host", Title: "do it as the user who mounted it, uid " + c.Value, Commands: [][]string{{"setpriv", "--reuid", c.Value, "--clear-groups", "--", "COMMAND"}}, Risk: check.LowRisk, Verify: [][]string{{"findmnt", "-no", "OPTIONS", "-T", c.Path}}})
		r.add(check.Remedy{For: "host", Title: "mount it with allow_other, which takes user_allow_other in /etc/fuse.conf for others than root; default_permissions makes modes count then", Commands: [][]string{{"PROGRAM", "-o", "allow_other,default_permissions", "MOUNTPOINT"}}, Risk: check.MediumRisk, Verify: [][]string{{"findmnt", "-no", "OPTIONS", "-T", c.Path}}})
	default:
		r.add(check.Remedy{For: "server", Title: "ask the program behind the file system (" + check.Printable(c.Name) + "): it decides, and nothing local can", Risk: check.LowRisk, Verify: verify})
	}
}

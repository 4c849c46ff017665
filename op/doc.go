// Package op makes Operations: what was attempted, as Linux sees it. The
// constructors are named after the system calls, and name the call that Go's
// standard library really makes (os.Chown is fchownat, os.Remove unlinkat,
// then rmdir).
//
// Relative paths are kept as given and resolved against the task's working
// directory; -1 leaves an id unchanged. The argument names that rules read:
//
//	path, newpath      the object, and the new name (rename, link; putold of pivot_root)
//	nofollow           1 if a final symbolic link is not followed
//	newroot            relpath is below this new root (steps after a chroot)
//	fd                 a descriptor instead of a path
//	dirfd, relpath     a path below a descriptor of the task (newdirfd, newrelpath; only of Decode)
//	flags, mode        as the system call takes them (mode as st_mode)
//	dev, uid, gid      new ids: -1 leaves them; reuid …: ruid, euid, suid
//	now                1 if times are set to now
//	name               of an extended attribute
//	request, cmd, arg  ioctl, fcntl, bpf, keyctl
//	pgrp, ldisc        what TIOCSPGRP and TIOCSETD set
//	source, fstype     mount (its target is path)
//	attr, set, clear, userns   fsmount, mount_setattr, open_tree_attr (MOUNT_ATTR bits, file of a user namespace; flags: AT_RECURSIVE)
//	mnt_id, mnt_ns     statmount, listmount
//	target             text of a symbolic link
//	data               text that is written to a file of procfs
//	prot, bytes        mmap, mlock
//	network, address   as package net takes them; and parsed of them:
//	family, type, proto, ip, port (-1 unknown), abstract (unix, 1), groups (netlink)
//	level, optname     setsockopt
//	pid, sig, which, who, prio, policy, resource, soft, hard, pgid, cpu
//	option, arg1 …     prctl
//	nstype, uidmap, gidmap, setgroups, set_tid   namespaces (set_tid: how many pids clone3 chooses)
//	effective, permitted, inheritable   capset
//	progtype, action, clock
//	key, id            System V objects
//	key, keyring, from, dest, perm, description, callout   keys by their numbers (type is a key type)
//	step               the step of starting a program
package op

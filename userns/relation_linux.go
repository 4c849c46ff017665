package userns

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// A Relation is where the user namespace of another process lies, seen from the task's.
type Relation struct {
	// Place is Same, Below, Beside or Outside; "" where the kernel does not show it.
	Place string
	// Owner is the uid, as the task's namespace shows it, of who made the
	// namespace of that line whose parent is the task's: over it and all below,
	// that user has every capability. Made says whether it is known.
	Owner uint32
	Made  bool
}

// The places of a Relation.
const (
	Same    = "same"
	Below   = "below"   // a descendant of the task's
	Beside  = "beside"  // the same or an unrelated one that looks alike, but none below
	Outside = "outside" // neither: the task's capabilities count for nothing there
)

func (r Relation) show() string {
	switch r.Place {
	case "":
		return "cannot be seen"
	case Below:
		if r.Made {
			return fmt.Sprintf("below this one, made by uid %d", r.Owner)
		}
		return "below this one"
	}
	return r.Place
}

// OfPID is the Relation of the process with the number of the key. Its ns/user
// shows it to those who may read the process; id maps, which everybody may
// read, tell the rest apart where they differ.
var OfPID = check.Probe[Relation]{Name: "pid_userns", Source: "/proc/PID/ns/user, uid_map", Show: Relation.show, About: func(pid string) string { return "user namespace of process " + pid }, Live: func(k *check.Kernel, key string) (Relation, error) {
	pid, err := strconv.Atoi(key)
	if err != nil {
		return Relation{}, fmt.Errorf("pid %q: %w", key, err)
	}
	mine, err := NS.Get(k.World(), "user")
	if err != nil {
		return Relation{}, err
	}
	dir := "/proc/" + strconv.Itoa(pid) + "/"
	fd, err := unix.Open(dir+"ns/user", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	switch {
	case err == nil:
		return climb(fd, mine.Inode, k.Self())
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		return byMaps(k, dir, mine.Inode == InitInode)
	}
	return Relation{}, fmt.Errorf("open %sns/user: %w", dir, err)
}}

// climb goes from a namespace to its parents until it meets the task's. It closes fd.
func climb(fd int, mine uint64, self bool) (Relation, error) {
	defer func() { unix.Close(fd) }()
	var r Relation
	for depth := range MaxDepth + 1 {
		ino, err := inodeOf(fd)
		if err != nil {
			return Relation{}, err
		}
		if ino == mine {
			if r.Place = Below; depth == 0 {
				r.Place = Same
			}
			return r, nil
		}
		owner, err := ownerUID(fd)
		// An owner without mapping shows as the overflow id.
		r.Owner, r.Made = owner, err == nil && (owner != OverflowID || mine == InitInode)
		if up(&fd, unix.NS_GET_PARENT) != nil { // the parent is not the asking process's, nor below it
			if !self && ino != InitInode {
				return Relation{}, nil
			}
			return Relation{Place: Outside}, nil
		}
	}
	return Relation{}, nil
}

// byMaps compares id maps (kernel/user_namespace.c:uid_m_show). They are shown
// in the ids of the reader's namespace, or of its parent where it is the reader's own.
func byMaps(k *check.Kernel, dir string, initial bool) (Relation, error) {
	if !k.Self() {
		return Relation{}, nil
	}
	same, full, within := true, true, true
	for _, kind := range []string{"uid_map", "gid_map", "projid_map"} {
		theirs, err := k.ReadFile(dir + kind)
		if err != nil {
			return Relation{}, err
		}
		own, err := k.ReadFile(k.Proc(kind))
		if err != nil {
			return Relation{}, err
		}
		same = same && string(theirs) == string(own)
		m, err := ParseMap(string(theirs))
		if err != nil {
			return Relation{}, err
		}
		// Hardly anything writes projid_map: that all three are full is the initial namespace.
		full = full && m.Full()
		for _, r := range m.Ranges {
			if !initial && r.Outside == ^uint32(0) { // an id that the reader's namespace does not have
				return Relation{Place: Outside}, nil
			}
		}
		if initial || kind == "projid_map" {
			continue
		}
		mine, err := ParseMap(string(own))
		switch {
		case err != nil:
			return Relation{}, err
		case m.total() > mine.total():
			return Relation{Place: Outside}, nil // nothing below can have more ids
		}
		for _, r := range m.Ranges { // what is below maps to ids of this one
			within = within && mine.Has(r.Outside)
		}
	}
	switch {
	case initial && full:
		return Relation{Place: Same}, nil
	case initial:
		return Relation{Place: Below}, nil
	case same && !full && !within:
		return Relation{Place: Beside}, nil
	}
	return Relation{}, nil
}

func (m IDMap) total() (n uint64) {
	for _, r := range m.Ranges {
		n += uint64(r.Count)
	}
	return n
}

// Made says whether the task made the user namespace that counts, or one above
// it: its owner has every capability there (security/commoncap.c:cap_capable).
func Made(p *check.Pass, w Where) check.Decision {
	switch w.kind {
	case ownerOfNS:
		return madeOwner(p, w.ns)
	case target:
	default:
		return check.Denies
	}
	r, ok := OfPID.Read(p, w.process(p))
	switch {
	case !ok || r.Place == "" || r.Place == Below && !r.Made:
		return check.Unknown
	case r.Place != Below:
		return check.Denies
	}
	ids, ok := task.IDs.Read(p, "")
	switch {
	case !ok:
		return check.Unknown
	case ids.EUID == r.Owner:
		return check.Allows
	}
	return check.Denies
}

// madeOwner is Made for the owner of a namespace that the task is in. That is
// below the task's own only where it was entered from outside (nsenter).
func madeOwner(p *check.Pass, kind string) check.Decision {
	mine, err := NS.Get(p.World, "user")
	o, err2 := Owner.Get(p.World, kind)
	if err != nil || err2 != nil || o.Foreign || o.Inode == mine.Inode || o.Inode == Supposed || mine.Inode == Supposed {
		return check.Denies // what a task runs in was hardly made by its user from outside
	}
	r, ok := OfFile.Read(p, "/proc/thread-self/ns/"+kind)
	switch {
	case !ok:
		return check.Unknown
	case r.Made:
		return check.Allows
	}
	return check.Denies
}

func ownerUID(fd int) (uint32, error) { return unix.IoctlGetUint32(fd, unix.NS_GET_OWNER_UID) }

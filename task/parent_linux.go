package task

import (
	"fmt"
	"strconv"

	"github.com/go-eperm/eperm/check"
)

// ParentState is what the parent of a process holds: what a child has not, it
// lost since.
type ParentState struct {
	PID                    int // 0 where it is outside of the pid namespace
	Name                   string
	UID                    uint32 // effective
	CapPrm, CapBnd, CapAmb check.CapSet
}

func showParent(p ParentState) string {
	if p.PID == 0 {
		return "not in this pid namespace"
	}
	return fmt.Sprintf("process %d (%s), uid %d; permitted %s", p.PID, check.Printable(p.Name), p.UID, names(p.CapPrm))
}

// Parent is the process that started the task's, or took it over.
var Parent = check.Probe[ParentState]{Name: "parent", Source: "/proc/PPID/status", Show: showParent, Live: func(k *check.Kernel, _ string) (ParentState, error) {
	own, err := Status.Get(k.World(), "")
	if err != nil || own.PPID == 0 {
		return ParentState{}, err
	}
	s, err := Status.Get(k.World(), strconv.Itoa(own.PPID))
	if err != nil {
		return ParentState{}, err
	}
	return ParentState{own.PPID, s.Name, s.Creds.EUID, s.CapPrm, s.CapBnd, s.CapAmb}, nil
}}

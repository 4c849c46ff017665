package mount

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/moby/sys/mountinfo"
)

// A Tree is the mounts that lie on a mount, and on those.
type Tree struct {
	// Mounts are each as "rw,noexec,relatime /srv/data": the options, the path.
	Mounts []string
}

// Each calls f for every mount, until it returns false.
func (t Tree) Each(f func(options, path string) bool) {
	for _, m := range t.Mounts {
		if options, path, ok := strings.Cut(m, " "); ok && !f(options, path) {
			return
		}
	}
}

// Below is the mounts that lie on the mount with the id of the key, as far as
// the task can see them (a recursive call changes all of them).
var Below = check.Probe[Tree]{Name: "mounts_below", Source: "/proc/thread-self/mountinfo", Show: func(t Tree) string { return fmt.Sprintf("%d mounts", len(t.Mounts)) }, Live: func(k *check.Kernel, key string) (Tree, error) {
	id, err := strconv.Atoi(key)
	if err != nil {
		return Tree{}, fmt.Errorf("mount id %q: %w", key, err)
	}
	b, err := k.ReadShared(k.Proc("mountinfo"))
	if err != nil {
		return Tree{}, err
	}
	return parseTree([]byte(b), id)
}}

func parseTree(text []byte, id int) (t Tree, err error) {
	all, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), nil)
	if err != nil {
		return t, fmt.Errorf("parse mountinfo: %w", err)
	}
	inside := map[int]bool{id: true}
	for more := true; more; { // a parent may stand behind its children
		more = false
		for _, m := range all {
			if inside[m.Parent] && !inside[m.ID] {
				inside[m.ID], more = true, true
				t.Mounts = append(t.Mounts, m.Options+" "+m.Mountpoint)
			}
		}
	}
	return t, nil
}

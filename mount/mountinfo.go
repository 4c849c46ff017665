//go:build linux

package mount

import (
	"bytes"
	"fmt"

	"github.com/moby/sys/mountinfo"
)

// ParseMountinfo finds the mount with that id in the text of a mountinfo file.
func ParseMountinfo(text []byte, id int) (Point, error) {
	var found *mountinfo.Info
	_, err := mountinfo.GetMountsFromReader(bytes.NewReader(text), func(i *mountinfo.Info) (skip, stop bool) {
		if i.ID == id {
			found = i
			return false, true
		}
		return true, false
	})
	if err != nil {
		return Point{}, fmt.Errorf("parse mountinfo: %w", err)
	}
	if found == nil {
		return Point{}, fmt.Errorf("parse mountinfo: no mount with id %d", id)
	}
	return point(found), nil
}

func point(i *mountinfo.Info) Point {
	return Point{i.Mountpoint, i.Options, i.FSType, i.Source, i.VFSOptions, i.Root}
}

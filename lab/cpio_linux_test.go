package lab

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"sort"
	"strings"
)

// An archive is the content of an initramfs: what each path holds.
type archive map[string]entry

type entry struct {
	mode uint32 // st_mode, with the type
	data []byte
	from string // file of the host, instead of data
	dev  [2]uint32
}

const (
	modeDir, modeFile, modeLink, modeChar = 0o040000, 0o100000, 0o120000, 0o020000
)

// dir adds a directory and those above it. They are open to everybody: with a
// closed root directory everybody but root would get EACCES everywhere.
func (a archive) dir(name string, perm uint32) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if parent := path.Dir(name); parent != "." {
		if _, ok := a[parent]; !ok {
			a.dir(parent, 0o755)
		}
	}
	a[name] = entry{mode: modeDir | perm}
}

func (a archive) add(name string, e entry) {
	name = strings.TrimPrefix(path.Clean(name), "/")
	if parent := path.Dir(name); parent != "." {
		if _, ok := a[parent]; !ok {
			a.dir(parent, 0o755)
		}
	}
	a[name] = e
}

func (a archive) text(name, data string, perm uint32) {
	a.add(name, entry{mode: modeFile | perm, data: []byte(data)})
}

func (a archive) file(name, from string, perm uint32) {
	a.add(name, entry{mode: modeFile | perm, from: from})
}

// tree adds a directory of the host with all files in it.
func (a archive) tree(name, from string) error {
	return filepath.WalkDir(from, func(p string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(from, p)
		if err != nil {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		to := path.Join(name, filepath.ToSlash(rel))
		switch {
		case d.IsDir():
			a.dir(to, 0o755)
		case info.Mode().IsRegular():
			a.file(to, p, uint32(info.Mode().Perm())|0o444)
		}
		return nil
	})
}

// write writes the archive in the format "newc" of cpio(5), which is what the
// kernel unpacks (Documentation/driver-api/early-userspace/buffer-format.rst).
func (a archive) write(w io.Writer) error {
	b := bufio.NewWriterSize(w, 1<<20)
	names := make([]string, 0, len(a))
	for name := range a {
		names = append(names, name)
	}
	sort.Strings(names) // a directory comes before what is in it
	ino := 1
	for _, name := range names {
		e := a[name]
		data := e.data
		if e.from != "" {
			var err error
			if data, err = os.ReadFile(e.from); err != nil {
				return err
			}
		}
		header(b, ino, name, e, len(data))
		if _, err := b.Write(data); err != nil {
			return err
		}
		pad(b, len(data))
		ino++
	}
	header(b, 0, "TRAILER!!!", entry{}, 0)
	return b.Flush()
}

func header(b *bufio.Writer, ino int, name string, e entry, size int) {
	links := 1
	if e.mode&modeDir == modeDir {
		links = 2
	}
	fmt.Fprintf(b, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x", ino, e.mode, 0, 0, links, 0, size, 0, 0, e.dev[0], e.dev[1], len(name)+1, 0)
	fmt.Fprintf(b, "%s\x00", name)
	pad(b, 110+len(name)+1)
}

func pad(b *bufio.Writer, n int) {
	for ; n%4 != 0; n++ {
		b.WriteByte(0)
	}
}

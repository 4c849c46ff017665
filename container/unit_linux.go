package container

import (
	"cmp"
	"errors"
	"path"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// unitDirs are where systemd looks for units of the system and of users,
// strongest first (systemd.unit(5)).
func unitDirs(user bool) []string {
	if user {
		return []string{"/etc/systemd/user", "/run/systemd/user", "/usr/local/lib/systemd/user", "/usr/lib/systemd/user"}
	}
	return []string{"/etc/systemd/system.control", "/run/systemd/system.control", "/run/systemd/transient", "/run/systemd/generator.early", "/etc/systemd/system", "/run/systemd/system",
		"/run/systemd/generator", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system", "/run/systemd/generator.late"}
}

// UnitSettings is what the files of a unit say. The key is its name, after
// "user/" for one of a user's manager.
var UnitSettings = check.Probe[Unit]{Name: "unit", Source: "unit files and drop-ins", Show: func(u Unit) string {
	words := make([]string, len(u.Settings))
	for i, s := range u.Settings {
		words[i] = s.String()
	}
	return strings.Join(words, ", ")
}, Live: func(k *check.Kernel, key string) (Unit, error) {
	name, user := strings.CutPrefix(key, "user/")
	if word(name) == "" || strings.Contains(name, "/") {
		return Unit{}, errors.New("no name of a unit")
	}
	return readUnit(func(file string) (string, error) {
		b, err := k.ReadFile(k.Path(file))
		return string(b), err
	}, func(dir string) []string { return entries(k.Path(dir)) }, name, unitDirs(user))
}}

// UnitKey is the key of UnitSettings for a place; "" where it is no unit.
func (p Place) UnitKey() string {
	switch {
	case p.Unit == "" || p.Kind != Systemd:
		return ""
	case p.User:
		return "user/" + p.Unit
	}
	return p.Unit
}

// readUnit joins a unit's file and its drop-ins, sorted by their file names
// over all directories: the strongest directory's file of a name is taken.
func readUnit(read func(string) (string, error), list func(string) []string, name string, dirs []string) (u Unit, err error) {
	template := ""
	if at := strings.IndexByte(name, '@'); at > 0 {
		template = name[:at+1] + name[strings.LastIndexByte(name, '.'):]
	}
	found := false
	for _, n := range []string{name, template} {
		for _, dir := range dirs {
			if n == "" || found {
				break
			}
			if text, err := read(path.Join(dir, n)); err == nil {
				u.Settings = append(u.Settings, ParseUnit(path.Join(dir, n), text)...)
				found = true
			}
		}
	}
	type drop struct{ base, file string }
	var drops []drop
	for _, n := range dropInNames(name, template) {
		for _, dir := range dirs {
			for _, e := range list(path.Join(dir, n+".d")) {
				if strings.HasSuffix(e, ".conf") && !slices.ContainsFunc(drops, func(d drop) bool { return d.base == e }) {
					drops = append(drops, drop{e, path.Join(dir, n+".d", e)})
				}
			}
		}
	}
	slices.SortStableFunc(drops, func(a, b drop) int { return cmp.Compare(a.base, b.base) })
	for _, d := range drops {
		if text, err := read(d.file); err == nil {
			u.Settings = append(u.Settings, ParseUnit(d.file, text)...)
			found = true
		}
	}
	if !found {
		return u, errors.New("no file of the unit could be read")
	}
	if len(u.Settings) > maxSettings {
		u.Settings = u.Settings[:maxSettings]
	}
	return u, nil
}

// dropInNames are the names whose drop-ins count, most special first: those of
// the unit, of its template, of each prefix that ends in a dash, of all services.
func dropInNames(name, template string) []string {
	names := []string{name}
	if template != "" {
		names = append(names, template)
	}
	dot := strings.LastIndexByte(name, '.')
	stem, suffix := name[:max(dot, 0)], name[max(dot, 0):]
	for i := len(stem) - 1; i > 0; i-- {
		if stem[i] == '-' && i != len(stem)-1 {
			names = append(names, stem[:i+1]+suffix)
		}
	}
	return append(names, strings.TrimPrefix(suffix, "."))
}

// entries are the names in a directory, few of them; none if it cannot be read.
func entries(dir string) (names []string) {
	fd, err := unix.Open(dir, unix.O_RDONLY|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	buf := make([]byte, 8192)
	for len(names) < 1024 {
		n, err := unix.Getdents(fd, buf)
		if err != nil || n == 0 {
			break
		}
		_, _, more := unix.ParseDirent(buf[:n], -1, nil)
		names = append(names, more...)
	}
	return names
}

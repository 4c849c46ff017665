package container

import (
	"path"
	"slices"
	"strconv"
	"strings"
)

// A Setting is one line of a unit file or a drop-in: where it stands, and what it says.
type Setting struct {
	Name, Value string
	File        string
	Line        int
}

// String is "CapabilityBoundingSet=CAP_KILL (/etc/systemd/system/app.service:7)".
func (s Setting) String() string {
	return s.Name + "=" + s.Value + " (" + s.At() + ")"
}

// At is the place of the line: "/etc/systemd/system/app.service:7".
func (s Setting) At() string { return s.File + ":" + strconv.Itoa(s.Line) }

// A Unit is what the unit file and the drop-ins say of the settings that take
// something away (systemd.exec(5), systemd.resource-control(5)), in the order
// in which systemd applies them.
type Unit struct{ Settings []Setting }

// relevant are the settings that are kept.
func relevant(name string) bool {
	switch name {
	case "CapabilityBoundingSet", "AmbientCapabilities", "NoNewPrivileges", "User", "DynamicUser", "SecureBits",
		"SystemCallFilter", "SystemCallArchitectures", "SystemCallErrorNumber", "RestrictNamespaces", "RestrictAddressFamilies", "RestrictRealtime", "RestrictSUIDSGID", "LockPersonality", "MemoryDenyWriteExecute",
		"DevicePolicy", "DeviceAllow", "ReadOnlyPaths", "ReadWritePaths", "InaccessiblePaths", "NoExecPaths", "ExecPaths", "TemporaryFileSystem",
		"ReadOnlyDirectories", "InaccessibleDirectories", "ReadWriteDirectories", "StateDirectory",
		"BindReadOnlyPaths", "RootDirectory", "RootImage", "MountFlags", "RestrictFileSystems", "IPAddressDeny", "SocketBindDeny", "LoadCredential":
		return true
	}
	return strings.HasPrefix(name, "Protect") || strings.HasPrefix(name, "Private") || strings.HasPrefix(name, "Limit")
}

// maxSettings bounds what is kept of hostile files.
const maxSettings = 256

// ParseUnit reads the section [Service] of a unit file or a drop-in
// (systemd.syntax(7)): comments, and lines continued by a backslash.
func ParseUnit(file, text string) (out []Setting) {
	section, line, start := "", "", 0
	for n, raw := range slices.Collect(strings.Lines(text)) {
		raw = strings.TrimRight(raw, "\r\n")
		trimmed := strings.TrimSpace(raw)
		if strings.HasPrefix(trimmed, "#") || strings.HasPrefix(trimmed, ";") { // also in the middle of a continued line
			continue
		}
		if line == "" {
			start = n + 1
		}
		if rest, ok := strings.CutSuffix(raw, `\`); ok {
			line += rest + " "
			continue
		}
		full := strings.TrimSpace(line + raw)
		line = ""
		if strings.HasPrefix(full, "[") && strings.HasSuffix(full, "]") {
			section = full[1 : len(full)-1]
			continue
		}
		name, value, ok := strings.Cut(full, "=")
		if name = strings.TrimSpace(name); ok && section == "Service" && relevant(name) && len(out) < maxSettings {
			out = append(out, Setting{Name: name, Value: strings.Join(strings.Fields(value), " "), File: file, Line: start})
		}
	}
	return out
}

// Last is the setting of the name that counts where the last one does.
func (u Unit) Last(name string) (Setting, bool) {
	for i := len(u.Settings) - 1; i >= 0; i-- {
		if u.Settings[i].Name == name {
			return u.Settings[i], true
		}
	}
	return Setting{}, false
}

// All are the settings of the name that count where they add up: an empty one
// takes back what was before it.
func (u Unit) All(name string) (out []Setting) {
	for _, s := range u.Settings {
		if s.Name != name {
			continue
		}
		if s.Value == "" {
			out = nil
			continue
		}
		out = append(out, s)
	}
	return out
}

// On says whether a boolean setting is on, or set to one of the values.
func (u Unit) On(name string, values ...string) (Setting, bool) {
	s, ok := u.Last(name)
	if !ok {
		return s, false
	}
	switch v := strings.ToLower(s.Value); v {
	case "yes", "true", "on", "1", "y", "t":
		return s, true
	default:
		return s, slices.Contains(values, v)
	}
}

// TakesCapability is the setting that keeps a capability, by its name in
// capital letters, out of the unit's bounding set (systemd:
// src/core/execute.c, exec-invoke.c:apply_protect_*, unit_patch_contexts).
func (u Unit) TakesCapability(name string) (Setting, bool) {
	bySetting := map[string][]string{
		"CAP_MKNOD": {"PrivateDevices"}, "CAP_SYS_RAWIO": {"PrivateDevices"}, "CAP_SYS_TIME": {"ProtectClock"}, "CAP_WAKE_ALARM": {"ProtectClock"},
		"CAP_SYS_MODULE": {"ProtectKernelModules"}, "CAP_SYSLOG": {"ProtectKernelLogs"},
	}
	for _, s := range bySetting[name] {
		if found, on := u.On(s, "strict"); on {
			return found, true
		}
	}
	all := u.All("CapabilityBoundingSet")
	if len(all) == 0 {
		if s, ok := u.Last("CapabilityBoundingSet"); ok && s.Value == "" { // emptied
			return s, true
		}
		return Setting{}, false
	}
	// A list without ~ adds to what is kept, one with it takes away.
	kept := strings.HasPrefix(all[0].Value, "~")
	by := all[0]
	for _, s := range all {
		list := strings.Fields(strings.TrimPrefix(s.Value, "~"))
		has := slices.Contains(list, name)
		switch inverse := strings.HasPrefix(s.Value, "~"); {
		case inverse && has:
			kept, by = false, s
		case !inverse && has:
			kept = true
		}
	}
	return by, !kept
}

// Explains is the setting that makes a path read-only, inaccessible or not
// executable for the unit: what is "write", "read" or "exec".
func (u Unit) Explains(target, what string) (Setting, bool) {
	under := func(dirs ...string) bool {
		return slices.ContainsFunc(dirs, func(d string) bool { return target == d || strings.HasPrefix(target, strings.TrimSuffix(d, "/")+"/") })
	}
	for _, name := range map[string][]string{"write": {"ReadOnlyPaths", "ReadOnlyDirectories", "BindReadOnlyPaths", "InaccessiblePaths", "InaccessibleDirectories"},
		"read": {"InaccessiblePaths", "InaccessibleDirectories"}, "exec": {"NoExecPaths", "InaccessiblePaths"}}[what] {
		for _, s := range u.All(name) {
			for _, p := range strings.Fields(s.Value) {
				p, _, _ = strings.Cut(strings.TrimLeft(strings.Trim(p, `"`), "-+"), ":")
				if strings.HasPrefix(p, "/") && under(path.Clean(p)) {
					return s, true
				}
			}
		}
	}
	if s, on := u.On("ProtectHome", "read-only", "tmpfs"); on && under("/home", "/root", "/run/user") && (what == "write" || s.Value != "read-only") {
		return s, true
	}
	if what != "write" {
		return Setting{}, false
	}
	if s, on := u.On("ProtectKernelTunables"); on && under("/proc/sys", "/sys", "/proc/sysrq-trigger", "/proc/latency_stats", "/proc/acpi", "/proc/timer_stats", "/proc/fs", "/proc/irq") {
		return s, true
	}
	if s, on := u.On("ProtectControlGroups", "private", "strict"); on && under("/sys/fs/cgroup") {
		return s, true
	}
	if s, on := u.On("ProtectSystem", "full", "strict"); on {
		switch v := strings.ToLower(s.Value); {
		case under("/usr", "/boot", "/efi"), v != "yes" && v != "true" && v != "on" && v != "1" && under("/etc"), v == "strict" && !under("/dev", "/proc", "/sys"):
			return s, true
		}
	}
	if s, on := u.On("DynamicUser"); on && !under("/dev", "/proc", "/sys", "/tmp", "/var/tmp") { // implies ProtectSystem=strict
		return s, true
	}
	return Setting{}, false
}

package apparmor

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
	"golang.org/x/sys/unix"
)

// accessFile is where the policy answers (security/apparmor/apparmorfs.c:aa_write_access).
const accessFile = "/sys/kernel/security/apparmor/.access"

// Query is what the policy says. Its key is "PROFILE\x00" and the string that
// the kernel would match: a class byte and what belongs to it.
var Query = check.Probe[Perms]{Name: "apparmor_access", Source: accessFile, About: about,
	Needs: "securityfs mounted, and a profile that has the rule " + accessFile + " rw, or none",
	Live: func(_ *check.Kernel, key string) (Perms, error) {
		if strings.IndexByte(key, 0) <= 0 || len(key) > maxQuery {
			return Perms{}, errors.New("this cannot be asked")
		}
		// Each open descriptor is a conversation of its own.
		fd, err := unix.Open(accessFile, unix.O_RDWR|unix.O_CLOEXEC, 0)
		if err != nil {
			return Perms{}, fmt.Errorf("open %s: %w", accessFile, err)
		}
		defer unix.Close(fd)
		if _, err := unix.Write(fd, []byte("label\x00"+key)); err != nil {
			return Perms{}, fmt.Errorf("ask %s about profile %s: %w", accessFile, check.Printable(key[:strings.IndexByte(key, 0)]), err)
		}
		var buf [512]byte
		n, err := unix.Read(fd, buf[:])
		if err != nil {
			return Perms{}, fmt.Errorf("read the answer of %s: %w", accessFile, err)
		}
		p, err := parsePerms(string(buf[:n]))
		if err != nil {
			return Perms{}, err
		}
		fsuid, err := task.FileUID()
		p.Owner = fsuid == 0
		return p, err
	}}

// maxQuery is what fits into the kernel's buffer (apparmorfs.c:multi_transaction_new, a page).
const maxQuery = 4000

// about names a question for people.
func about(key string) string {
	profile, q, _ := strings.Cut(key, "\x00")
	if q == "" {
		return "AppArmor profile " + profile
	}
	what := map[byte]string{classFile: "file", classMount: "mount", classNS: "user namespaces", classPtrace: "ptrace", classSignal: "signal", classNet: "network", classNetV9: "network"}[q[0]]
	rest := strings.ReplaceAll(q[1:], "\x00", " ")
	switch q[0] {
	case classFile, classMount, classPtrace:
		what += " " + strings.TrimSpace(rest)
	case classSignal:
		if len(rest) > 1 {
			what += " to or from " + rest[1:]
		}
	}
	return "AppArmor profile " + profile + ", " + what
}

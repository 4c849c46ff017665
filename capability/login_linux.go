package capability

import (
	"strconv"
	"strings"

	"github.com/go-eperm/eperm/check"
)

// LoginOf is the login that the task belongs to. The login uid is kept by every
// child, whatever uid it changes to (kernel/audit.c:audit_set_loginuid).
var LoginOf = check.Probe[Login]{Name: "login", Source: "/proc/self/loginuid, /etc/pam.d, capability.conf", Show: Login.show, Live: func(k *check.Kernel, _ string) (Login, error) {
	b, err := k.ReadFile(k.ProcPID("loginuid"))
	if err != nil {
		return Login{}, err
	}
	text := strings.TrimSpace(string(b))
	n, err := strconv.ParseUint(text, 10, 32)
	if err != nil || n == 1<<32-1 { // nobody has logged in
		return Login{}, err
	}
	l := Login{Set: true, UID: uint32(n)}
	passwd, err := k.ReadText(k.Path("/etc/passwd"))
	if l.User = userName(passwd, text); err != nil || l.User == "" {
		return l, nil
	}
	for _, file := range []string{"common-auth", "system-auth", "login", "sshd", "su", "su-l", "runuser", "cron", "crond", "systemd-user"} {
		text, err := k.ReadText(k.Path("/etc/pam.d/" + file))
		if err != nil {
			continue
		}
		config, ok := pamModule(text)
		if !ok {
			continue
		}
		if text, err := k.ReadText(k.Path(config)); err == nil {
			if rule, line := pamRule(text, l.User); rule != "" {
				l.Rule, l.At = rule, config+":"+strconv.Itoa(line)
			}
		}
		break
	}
	return l, nil
}}

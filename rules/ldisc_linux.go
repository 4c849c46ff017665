package rules

import (
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/capability"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/sysctl"
	"github.com/go-eperm/eperm/userns"
)

var ldiscLoadDoc = check.Doc{
	ID: "terminal.ldisc-autoload", Title: "line discipline there, or dev.tty.ldisc_autoload, or",
	Text: "A line discipline that is not there yet is loaded as a module for everybody while dev.tty.ldisc_autoload is 1, " +
		"else only for CAP_SYS_MODULE in the initial user namespace.",
	Kernel: "drivers/tty/tty_ldisc.c:tty_ldisc_get",
	Man:    "TIOCSETD(2const)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// A discipline is a line discipline that is registered.
type discipline struct {
	Name string // "" where there is none of that number
}

// ldisc is the line discipline of a number, the key.
var ldisc = check.Probe[discipline]{Name: "ldisc", Source: "/proc/tty/ldiscs", Live: func(k *check.Kernel, key string) (discipline, error) {
	text, err := k.ReadText("/proc/tty/ldiscs")
	if err != nil {
		return discipline{}, err
	}
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) == 2 && f[1] == key {
			return discipline{f[0]}, nil
		}
	}
	return discipline{}, nil
}}

var disciplineLoads = check.Gate{Doc: &ldiscLoadDoc, Param: "CAP_SYS_MODULE", Run: func(p *check.Pass) check.Verdict {
	auto, err := sysctl.Number(p, "dev.tty.ldisc_autoload", 1)
	switch {
	case err == nil && auto != 0:
		return p.AllowFor("dev.tty.ldisc_autoload is on")
	case !p.Op.Has("ldisc"):
		return p.UnknownFor("which line discipline was asked for is not known (pass ldisc)")
	}
	key := strconv.FormatInt(p.Op.Int("ldisc"), 10)
	switch there, ok := ldisc.Read(p, key); {
	case !ok:
		return p.Unknown()
	case there.Name != "":
		return p.AllowFor("the line discipline is there")
	case err != nil:
		return p.UnknownFor(err.Error())
	}
	v := capability.Verdict(p, userns.Initial(), "line discipline "+key+" is not there, and dev.tty.ldisc_autoload is 0", capability.CAP_SYS_MODULE)
	return instead(v, check.Sysctl, check.Change{Kind: check.AskAdministrator, Text: fmt.Sprintf("load the module of the line discipline on the host (modprobe tty-ldisc-%s)", key),
		Assume: []check.Assumption{check.AssumeIs(&ldisc, key, discipline{"tty-ldisc-" + key})}}, sysctl.Set("dev.tty.ldisc_autoload", "1"))
}}

var ldiscOpenDoc = check.Doc{
	ID: "terminal.ldisc-open", Title: "line discipline for everybody, or",
	Text:   "Line disciplines that make network interfaces and input devices take a capability in the initial user namespace.",
	Kernel: "drivers/tty/tty_ldisc.c:tty_ldisc_open; slip_open, mkiss_open, sixpack_open, hci_uart_tty_open, gsmld_open, slcan_open, mctp_serial_open, ldisc_open, serport_ldisc_open",
	Man:    "TIOCSETD(2const)",
	Cause:  check.MissingCapability,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// guardedDisciplines are those whose open asks for a capability, by number (include/uapi/linux/tty.h).
var guardedDisciplines = map[int64][]check.Cap{
	1: netAdmin, 5: netAdmin, 7: netAdmin, 15: netAdmin, 17: netAdmin, 21: netAdmin, 28: netAdmin, // SLIP, AX25, 6PACK, HCI, SLCAN, GSM0710, MCTP
	2: sysAdmin, 20: {capability.CAP_SYS_TTY_CONFIG, capability.CAP_SYS_ADMIN}, // MOUSE, CAIF
}

var disciplineOpens = check.Gate{Doc: &ldiscOpenDoc, Run: func(p *check.Pass) check.Verdict {
	caps := guardedDisciplines[p.Op.Int("ldisc")]
	switch {
	case !p.Op.Has("ldisc"):
		return p.UnknownFor("which line discipline was asked for is not known (pass ldisc)")
	case caps == nil:
		return p.Allow()
	}
	return capability.Verdict(p, userns.Initial(), fmt.Sprintf("line discipline %d makes a device of the line", p.Op.Int("ldisc")), caps...)
}}

var injectDoc = check.Doc{
	ID: "terminal.legacy-tiocsti", Title: "dev.tty.legacy_tiocsti, or",
	Text: "Putting input into a terminal (TIOCSTI) is switched off for everybody but CAP_SYS_ADMIN while dev.tty.legacy_tiocsti is 0 (Linux 6.2); " +
		"the errno is then EIO.",
	Kernel: "drivers/tty/tty_io.c:tiocsti",
	Man:    "TIOCSTI(2const)",
	Cause:  check.Sysctl,
	Errnos: []syscall.Errno{syscall.EIO},
}

var injectInput = check.Gate{Doc: &injectDoc, Param: "CAP_SYS_ADMIN", Run: func(p *check.Pass) check.Verdict {
	on, err := sysctl.Number(p, "dev.tty.legacy_tiocsti", 1) // before 6.2 there is no switch
	switch {
	case err != nil:
		return p.UnknownFor(err.Error())
	case on != 0:
		return p.AllowFor("dev.tty.legacy_tiocsti is on, or there is no such switch")
	}
	v := capability.Verdict(p, userns.Initial(), "dev.tty.legacy_tiocsti is 0", capability.CAP_SYS_ADMIN)
	return instead(v, check.Sysctl, highRisk(sysctl.Set("dev.tty.legacy_tiocsti", "1")))
}}

package remedy

import (
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/sysctl"
)

// signModule signs a kernel module with the machine owner's key: of the ways to
// a module that a locked kernel takes, the one that leaves it locked.
func (r *renderer) signModule() {
	module := "MODULE.ko"
	if r.change.Path != "" {
		module = argument(r.change.Path)
	}
	release := "RELEASE"
	if s, err := sysctl.Value.Get(r.w, "kernel.osrelease"); err == nil && s.Text != "" {
		release = s.Text
	}
	const enrolled = "A key is enrolled at the next boot, by somebody at the console who knows the password that mokutil asks for, and only where the machine boots by UEFI. " +
		"Whoever has MOK.priv can change the kernel: keep it off the machine. "
	r.add(check.Remedy{For: "host", Title: "sign the module with a key of the machine's owner, and enroll that key (no container or unit setting helps: lockdown is the whole machine's)",
		Commands: [][]string{
			{"mokutil", "--import", "MOK.der"},
			{"/lib/modules/" + release + "/build/scripts/sign-file", "sha256", "MOK.priv", "MOK.der", module},
		},
		Warning: enrolled + "DKMS makes a key and signs by itself: then mokutil --import /var/lib/dkms/mok.pub is all. The distribution's own package of the driver is signed already.",
		Verify:  [][]string{{"modinfo", "-F", "signer", module}, {"mokutil", "--list-enrolled"}}})
}

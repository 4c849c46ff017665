package lockdown

import (
	"errors"
	"fmt"
	"strings"

	"github.com/go-eperm/eperm/check"
	"golang.org/x/sys/unix"
)

// A Signature is what is at the end of a module's file.
type Signature struct {
	Appended bool // there is one
	Packed   bool // the file is compressed: what is inside was not looked at
	Trusted  bool // by a key of the kernel's: never known, only supposed
}

// marker ends a signed module (include/linux/module_signature.h:MODULE_SIG_STRING).
const marker = "~Module signature appended~\n"

// signatureOf is the signature of a module, the key: a path.
var signatureOf = check.Probe[Signature]{Name: "module_signature", Source: "pread(2)", Live: func(k *check.Kernel, path string) (Signature, error) {
	if path == "" {
		return Signature{}, errors.New("which module it is, is not known")
	}
	if !k.Self() && !strings.HasPrefix(path, "/") {
		return Signature{}, errors.New("the path is relative to another process's directory")
	}
	fd, err := unix.Open(k.Path(path), unix.O_RDONLY|unix.O_CLOEXEC|unix.O_NONBLOCK|unix.O_NOCTTY, 0)
	if err != nil {
		return Signature{}, fmt.Errorf("open %s: %w", check.Printable(path), err)
	}
	defer unix.Close(fd)
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return Signature{}, err
	}
	if st.Mode&unix.S_IFMT != unix.S_IFREG {
		return Signature{}, errors.New("not a regular file")
	}
	var head [6]byte
	var tail [len(marker)]byte
	if _, err := unix.Pread(fd, head[:], 0); err != nil {
		return Signature{}, err
	}
	n, err := unix.Pread(fd, tail[:], max(0, st.Size-int64(len(tail))))
	if err != nil {
		return Signature{}, err
	}
	return Signature{Appended: string(tail[:n]) == marker, Packed: !strings.HasPrefix(string(head[:]), "\x7fELF")}, nil
}}

// ModuleGate is kernel/module/signing.c:module_sig_check: without a signature,
// or with one by a key that the kernel does not have, lockdown decides; a
// signature that is wrong is EKEYREJECTED.
func ModuleGate() check.Gate {
	return check.Gate{Doc: &doc, Param: "(" + ModuleSignature.String() + ")", Run: func(p *check.Pass) check.Verdict {
		path := p.Op.Str("path")
		s, err := signatureOf.ReadErr(p, path)
		if err == nil && s.Trusted {
			return p.AllowFor("the module is signed with a key that the kernel trusts")
		}
		sign := check.Change{Kind: check.SignModule, Path: path, Assume: []check.Assumption{check.AssumeIs(&signatureOf, path, Signature{Appended: true, Trusted: true})}}
		v := Judge(p, ModuleSignature, sign, instead(ModuleSignature))
		if v.Decision != check.Denies {
			return v
		}
		known := err == nil && !s.Packed
		switch {
		case p.Seen == 0 && !known:
			return p.UnknownFor("the kernel is locked down and takes signed modules only; whether this one is signed is not known")
		case p.Seen == 0 && s.Appended:
			return p.UnknownFor("the kernel is locked down; whether it trusts the key that the module is signed with is not known")
		case known && !s.Appended:
			return v.Note("The module has no signature.")
		case known:
			v = v.Note("The module is signed: then the kernel lacks the key.")
		}
		// A blacklisted module and a driver that does not want to start answer EPERM too (kernel/module/main.c:early_mod_check, do_init_module).
		v.Inferred = true
		return v
	}}
}

package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/task"
)

// keyNegative says whether a key, by its number, is one that could not be made.
var keyNegative = check.Probe[task.Flag]{Name: "key_negative", Source: "/proc/keys", Live: func(k *check.Kernel, key string) (task.Flag, error) {
	text, err := k.ReadText("/proc/keys")
	if err != nil {
		return task.Flag{}, err
	}
	for line := range strings.Lines(text) {
		if _, serial, ok := parseListed(line); ok && strconv.Itoa(serial) == key {
			return task.Flag{Set: strings.Contains(strings.Fields(line)[1], "N")}, nil
		}
	}
	return task.Flag{}, errors.New("/proc/keys does not show it")
}}

// negative says whether a key is one that could not be made; keyrings always are.
func negative(p *check.Pass, id int64, s keyState) tell {
	if id <= 0 || s.Type == "keyring" {
		return no
	}
	f, ok := keyNegative.Read(p, strconv.FormatInt(id, 10))
	return told(f.Set, ok)
}

var keyRejectedDoc = check.Doc{
	ID: "keys.rejected", Title: "key that could be made",
	Text: "What request_key asks for, a program makes, or it rejects it with an errno of its choice (KEYCTL_REJECT), often ENOKEY or EKEYREJECTED. " +
		"Until its time is over the key stays as one that is refused, and whoever wants to use it gets that errno, before what it grants is looked at.",
	Kernel: "security/keys/request_key.c:wait_for_key_construction; security/keys/key.c:key_reject_and_link",
	Man:    "keyctl_reject(3), request-key(8)",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EACCES, syscall.EPERM},
}

func rejectedChange() check.Change {
	return check.Change{Kind: check.ChangeCode, Risk: check.LowRisk, Text: "look into what the program that makes such keys says (request-key(8), /etc/request-key.conf), and ask again when the time of the rejected key is over (/proc/keys shows it)"}
}

// rejected is about the key of an argument.
func rejected(arg string) check.Gate {
	return check.Gate{Doc: &keyRejectedDoc, Param: "(" + arg + ")", Run: func(p *check.Pass) check.Verdict {
		id := p.Op.Int(arg)
		if id <= 0 {
			return p.Allow()
		}
		s, _, ok := readKey(p, id)
		if !ok {
			return p.AllowFor("the key could not be looked at")
		}
		switch neg := negative(p, id, s); {
		case neg == untold && p.Seen == syscall.EPERM: // which refuses hardly anything here
			return p.UnknownFor("whether the key could be made is shown to those whom it grants view")
		case neg == untold:
			return p.Faint("whether the key could be made is shown to those whom it grants view")
		case neg == no:
			return p.Allow()
		case p.Seen == 0:
			return p.UnknownFor(keyNamed(id, s) + " could not be made; with which errno it was rejected is not shown")
		}
		return p.Deny(fmt.Sprintf("%s could not be made: the program that was asked for it rejected it with this errno (KEYCTL_REJECT)", keyNamed(id, s)), rejectedChange()).With(p.Seen)
	}}
}

// foundRejected is about a key that only the search knows, where nothing else answers EPERM.
var foundRejected = check.Gate{Doc: &keyRejectedDoc, Param: "(found)", Errnos: []syscall.Errno{syscall.EPERM}, Run: func(p *check.Pass) check.Verdict {
	if p.Seen == 0 {
		return p.Faint("whether the key was rejected when it was to be made is not known before it is found")
	}
	return p.Deny("the key could not be made: the program that was asked for it rejected it with this errno (KEYCTL_REJECT)", rejectedChange())
}}

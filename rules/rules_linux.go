package rules

import (
	"slices"
	"sync"

	"github.com/go-eperm/eperm/check"
)

// families are the rules, a slice for each file of this package.
var families = [][]check.Rule{
	sysctlRules,
	netFileRules,
	cgroupRules,
	procWriteRules,
	decidedElsewhere(fileRules),
	decidedElsewhere(openRules),
	descriptorRules,
	serialRules,
	decidedElsewhere(xattrRules),
	execRules,
	signalRules,
	credRules,
	processRules,
	sessionRules,
	memoryRules,
	netlinkRules,
	schedRules,
	socketRules,
	mountRules,
	namespaceRules,
	systemRules,
	keyRules,
	perfRules,
	terminalRules,
	ioctlRules,
	subvolumeRules,
	encryptionRules,
	reservationRules,
	fcntlRules,
	ipcRules,
	queueRules,
	miscRules,
	threadRules,
}

// All is every rule.
func All() []check.Rule { return slices.Concat(families...) }

var byCall = sync.OnceValue(func() map[string][]*check.Rule {
	index := map[string][]*check.Rule{}
	for _, family := range families {
		for i := range family {
			for _, call := range family[i].Calls {
				index[call] = append(index[call], &family[i])
			}
		}
	}
	return index
})

// For is the rule of an operation; nil where there is none.
func For(o *check.Operation) *check.Rule {
	for _, r := range byCall()[o.Call] {
		if r.When == nil || r.When(o) {
			return r
		}
	}
	return nil
}

//go:build linux

package eperm_test

import (
	"fmt"
	"syscall"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
)

// One line for a log, everything for a person. The machine is a recorded one,
// so that the answer is the same everywhere.
func ExampleExplainer_Explain() {
	w, err := check.Replay(bindWorld)
	if err != nil {
		fmt.Println(err)
		return
	}
	operation, errno := w.Recorded()
	d := eperm.Explainer{World: w}.Explain(errno, operation)
	fmt.Printf("%v\n\n", d)
	fmt.Println(d.Cause, d.Capability, d.Certainty)
	fmt.Println(d.Remedies[0].Commands[0])
	// Output:
	// listen tcp4 127.0.0.1:80: permission denied: missing CAP_NET_BIND_SERVICE (confirmed)
	//
	// missing-capability CAP_NET_BIND_SERVICE confirmed
	// [setcap cap_net_bind_service=+ep /usr/bin/app]
}

func ExampleClassify() {
	fmt.Println(eperm.Classify(fmt.Errorf("no")))
	fmt.Println(eperm.Classify(fmt.Errorf("read: %w", syscall.EACCES)))
	// Output:
	// not-permission
	// access
}

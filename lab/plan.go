package lab

// A Plan is what a guest's init is to do; it reads it from [PlanFile].
type Plan struct {
	Nonce   string            // begins every line of the protocol on the second serial port
	Modules []string          // kernel modules to load, in this order; what fails is said on the console
	Ext4    string            // an image to mount on /var/tmp through a loop device; "" is none
	Groups  []string          // controllers of version 1, to be mounted below /sys/fs/cgroup; cgroup2 is beside them then
	Sysctls map[string]string // files under /proc/sys, and what to write
	Runs    []Run
}

// A Run is one test binary in a guest.
type Run struct {
	Name    string
	Binary  string   // path in the guest
	Dir     string   // working directory in the guest
	Args    []string // of the test binary
	Env     []string
	UID     int // 0 is root; gid is the same
	Seconds int // after which it is killed
}

// PlanFile is where the plan is in the guest.
const PlanFile = "/lab/plan.json"

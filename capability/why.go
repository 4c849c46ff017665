package capability

// A WhyKind is where a capability was lost.
type WhyKind string

// The ways to lack a capability.
const (
	Dropped        WhyKind = "dropped"         // permitted, but not raised into the effective set
	OtherThread    WhyKind = "other-thread"    // another thread of the process holds it
	OutOfBounds    WhyKind = "out-of-bounds"   // outside the bounding set
	NoPrivGain     WhyKind = "no-new-privs"    // the executable's file capabilities, or its set-user-ID bit, did not count
	Nosuid         WhyKind = "nosuid"          // likewise, because of the mount
	ForeignFile    WhyKind = "foreign-file"    // likewise, because they are another user namespace's
	ScriptFile     WhyKind = "script"          // likewise, because they are on a script and not on its interpreter
	AmbientCleared WhyKind = "ambient-cleared" // execve of a file with privileges of its own clears the ambient set
	NotInherited   WhyKind = "not-inherited"   // inheritable, but neither ambient nor inheritable by the file
	UIDChanged     WhyKind = "uid-changed"     // lost as the uid changed away from 0
	NotGained      WhyKind = "not-gained"      // the executable has it, the process does not
	NeverGiven     WhyKind = "never-given"
	RootWithout    WhyKind = "root-without" // uid 0 that gave it up
	RootPowerless  WhyKind = "no-root"      // uid 0 whose secure bits give nothing to root
)

// A Story is why one capability is missing, as far as the task itself shows it.
type Story struct {
	Kind     WhyKind
	Sentence string
}

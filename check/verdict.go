package check

import (
	"syscall"
)

// A Decision is what a gate, or a whole walk, says. Unknown is the zero value,
// so that a forgotten verdict is never taken for permission.
type Decision int8

// The three decisions.
const (
	Unknown Decision = iota
	Allows
	Denies
)

// String is "unknown", "allows" or "denies".
func (d Decision) String() string {
	switch d {
	case Allows:
		return "allows"
	case Denies:
		return "denies"
	}
	return "unknown"
}

// MarshalText writes the same word.
func (d Decision) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// A Verdict is what one gate says of one operation. Gates make it with the
// methods of Pass; its evidence is what they read on the way.
type Verdict struct {
	Decision Decision
	// Errno is what this gate would answer; 0 unless it denies.
	Errno syscall.Errno
	// Cause is the kind of refusal; empty unless it denies, or an unknown
	// verdict says what it would be.
	Cause Cause
	// Cap is the capability for want of which it denies; NoCap otherwise.
	Cap Cap
	// Reason says in a clause why: "/srv/data belongs to uid 0".
	Reason string
	// Notes are further sentences for the reader: where the capability was lost.
	Notes []string
	// Changes are the ways to open this gate, each enough for this gate.
	Changes []Change
	// Evidence is what the gate read, in order.
	Evidence []Evidence
	// Proven is set for a gate that was not asked because the errno that was
	// seen proves that the kernel got past it.
	Proven bool
	// Faint marks an unknown verdict of a gate of which there is no sign that
	// it is in use: it is named when nothing else explains the refusal, and
	// does not make another finding less sure.
	Faint bool
	// Inferred marks a refusal that was concluded, from the errno and from what
	// could be ruled out, and not read: it makes a finding likely at most.
	Inferred bool
}

// A Finding is a gate that was asked, and what it said.
type Finding struct {
	Gate    Gate
	Verdict Verdict
	// Step is the step of a compound operation that the gate belongs to; "" else.
	Step string
}

// Evidence is one fact that a gate read.
type Evidence struct {
	Probe  string // the fact's name: "inode"
	Key    string // what it is about, a path for example; may be empty
	Source string // how it was asked: "statx(2)"
	fact   *fact
}

// Value is the fact in its canonical text, or what kept it from being read.
func (e Evidence) Value() string {
	if e.fact == nil {
		return ""
	}
	return e.fact.text()
}

// Err is why the fact could not be read; nil if it could.
func (e Evidence) Err() error {
	if e.fact == nil {
		return nil
	}
	return e.fact.err
}

// String is the fact for people: "/srv/data: file, mode 0644, owner 0:0 (statx(2))".
func (e Evidence) String() string {
	s := e.Probe
	if e.Key != "" {
		s = printable(e.Key)
		if e.Key[0] != '/' {
			s = e.Probe + " " + s
		}
	}
	if e.fact != nil {
		if about := e.fact.probe.aboutOf(e.Key); about != "" {
			s = printable(about)
		}
	}
	value := e.Value()
	if e.fact != nil && e.fact.err == nil {
		value = e.fact.probe.showOf(e.fact.val)
	}
	return s + ": " + Plain(value) + " (" + e.Source + ")"
}

// A ChangeKind names a kind of change; package remedy has a renderer for each.
type ChangeKind string

// The kinds of change.
const (
	GrantCapability   ChangeKind = "grant-capability"    // Cap; why it is missing is read from the world
	RaiseCapability   ChangeKind = "raise-capability"    // Cap is permitted: raise it into effective
	UseNamespace      ChangeKind = "use-namespace"       // Name is the namespace; Cap has to be held by its owner
	ClearAttribute    ChangeKind = "clear-attribute"     // Path; Value is the chattr letter
	SetSysctl         ChangeKind = "set-sysctl"          // Name, Value
	AllowSyscall      ChangeKind = "allow-syscall"       // Name is the system call, or several by which one thing is done; Value the rules for a profile, JSON
	AllowByCapability ChangeKind = "allow-by-capability" // Cap makes the runtime's default profile allow the system call Name
	UpdateRuntime     ChangeKind = "update-runtime"      // the runtime's profile is older than the system call Name
	AddPolicyRule     ChangeKind = "add-policy-rule"     // Name is the module, Value the rule
	ChangeOwner       ChangeKind = "change-owner"        // Path; Value is uid or uid:gid
	ChangeMode        ChangeKind = "change-mode"         // Path; Value is a chmod argument
	AddACL            ChangeKind = "add-acl"             // Path; Value is a setfacl entry
	JoinGroup         ChangeKind = "join-group"          // Value is the gid
	Remount           ChangeKind = "remount"             // Path is the mount point; Value the option, "rw", "exec"
	RaiseLimit        ChangeKind = "raise-limit"         // Name is the limit, Value the least number
	MapID             ChangeKind = "map-id"              // Value is the id; Name "uid" or "gid"
	AllowDevice       ChangeKind = "allow-device"        // Path; Value is "c 1:3 rw"
	ChangeCode        ChangeKind = "change-code"         // Text says what to do instead
	ClearFileCaps     ChangeKind = "clear-file-caps"     // Path; Value is what is to be left, as setcap takes it ("" is none)
	ClearNoNewPrivs   ChangeKind = "clear-no-new-privs"
	SwapOff           ChangeKind = "swap-off"          // Path
	ActAsOwner        ChangeKind = "act-as-owner"      // Value is the uid, Name the gid if that counts too; act as that user
	RestoreLabel      ChangeKind = "restore-label"     // SELinux: Path gets the label Value, which the policy wants there; Name is "force" where its type of now is one that restorecon(8) leaves alone
	SetLabel          ChangeKind = "set-label"         // SELinux: Path gets the label Value; Name is what of it differs, "type" or "level"; Text is "dir" for a directory
	RunAtLevel        ChangeKind = "run-at-level"      // SELinux: the process runs at the level Value
	SetBoolean        ChangeKind = "set-boolean"       // SELinux: the boolean Name becomes Value, "on" or "off"
	LabelPort         ChangeKind = "label-port"        // SELinux: the port Path, "8081", of the protocol Name gets the type Value
	SignModule        ChangeKind = "sign-module"       // Path is the kernel module, "" if it is not known
	SetKeyMask        ChangeKind = "set-key-mask"      // Path is the key's number; Value the mask that it is given, Text whom that lets in, Name who does it
	LinkKey           ChangeKind = "link-key"          // Path is the key's number: it is to be found from the session keyring; Text says how, if it cannot be linked itself
	AskServer         ChangeKind = "ask-server"        // a file server decides: Name is the file system's type, Path the file, Value what was asked of it
	AskAdministrator  ChangeKind = "ask-administrator" // nothing at this level can help; Text says who can
)

// A Change is what would have to be different for a gate to open, as data,
// with the assumptions that it makes true. Gates name changes; package remedy
// knows how a place (docker, systemd, …) brings them about.
type Change struct {
	Kind   ChangeKind
	Cap    Cap
	Path   string
	Name   string
	Value  string
	Text   string // one clause for people, where Kind and values do not say all
	Risk   Risk
	Warn   string
	Assume []Assumption
}

// Grants is a change that grants c.
func Grants(c Cap, assume ...Assumption) Change {
	return Change{Kind: GrantCapability, Cap: c, Assume: assume}
}

// Risk is how much a remedy opens beyond what is needed.
type Risk string

// The risks.
const (
	LowRisk    Risk = "low"
	MediumRisk Risk = "medium"
	HighRisk   Risk = "high"
)

// A Remedy is a change rendered for the place where the process runs. The
// library never carries it out. Commands are argv lists, never shell lines.
type Remedy struct {
	Title       string     `json:"title"`
	Commands    [][]string `json:"commands,omitempty"`
	Snippet     string     `json:"snippet,omitempty"`      // text to put in a file
	SnippetKind string     `json:"snippet_kind,omitempty"` // yaml, json, ini, cil, te, apparmor
	For         string     `json:"for"`                    // host, docker, podman, kubernetes, systemd, lxc, code …
	Risk        Risk       `json:"risk"`
	Warning     string     `json:"warning,omitempty"`
	Verify      [][]string `json:"verify,omitempty"`  // commands that show that it worked
	Then        string     `json:"then"`              // "enough", or which gate would refuse next
	Besides     *Remedy    `json:"besides,omitempty"` // what has to be done too, for the pair to be enough; nil where nothing has
	Change      Change     `json:"-"`                 // what it brings about
}

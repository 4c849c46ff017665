package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// A Doc documents a kind of gate. It is a package-level value, never changed.
type Doc struct {
	ID     string          // stable, "attr.immutable"
	Title  string          // for a table, "immutable attribute"
	Text   string          // what the kernel asks here, one to three sentences
	Kernel string          // kernel file:function
	Man    string          // manual page, "chattr(1)"
	Cause  Cause           // of a refusal, unless the verdict says otherwise
	Errnos []syscall.Errno // every errno that it can answer, the usual one first
}

// A Gate is one place in the kernel that can refuse.
type Gate struct {
	Doc *Doc
	// Role is the object that it looks at.
	Role Role
	// Param tells gates of one kind apart in tables: "CAP_CHOWN".
	Param string
	// Errnos replaces Doc.Errnos where the caller of the check answers another.
	Errnos []syscall.Errno
	// When says for which operations the kernel comes here at all; nil is always.
	When func(*Operation) bool
	// Run asks. It must not keep the Pass.
	Run func(*Pass) Verdict
}

// Name is the title where no parameter follows it: "kernel log open to all, or" CAP_SYSLOG.
func (d *Doc) Name() string {
	return strings.TrimSuffix(strings.TrimSuffix(d.Title, " or"), ",")
}

// Title is the gate's title with its parameter and role, as a table shows it.
func (g Gate) Title() string {
	t := g.Doc.Name()
	if g.Param != "" {
		t = g.Doc.Title + " " + g.Param
	}
	if g.Role != Target && g.Role != Self {
		t += " (" + g.Role.String() + ")"
	}
	return t
}

// CanAnswer says whether the gate can answer errno.
func (g Gate) CanAnswer(errno syscall.Errno) bool {
	if g.Errnos != nil {
		return slices.Contains(g.Errnos, errno)
	}
	return slices.Contains(g.Doc.Errnos, errno)
}

// Called is the gate with that parameter in tables.
func (g Gate) Called(param string) Gate {
	g.Param = param
	return g
}

// Answers is the gate with other errnos, the usual one first.
func (g Gate) Answers(errnos ...syscall.Errno) Gate {
	g.Errnos = errnos
	return g
}

// If is the gate for those operations only for which cond holds.
func (g Gate) If(cond func(*Operation) bool) Gate {
	if old := g.When; old != nil {
		g.When = func(o *Operation) bool { return old(o) && cond(o) }
	} else {
		g.When = cond
	}
	return g
}

// When is the gates, each for those operations only for which cond holds.
func When(cond func(*Operation) bool, gates ...Gate) []Gate {
	out := make([]Gate, len(gates))
	for i, g := range gates {
		out[i] = g.If(cond)
	}
	return out
}

// Gates joins gates and lists of gates into one list.
func Gates(parts ...any) []Gate {
	var out []Gate
	for _, p := range parts {
		switch p := p.(type) {
		case Gate:
			out = append(out, p)
		case []Gate:
			out = append(out, p...)
		default:
			panic(fmt.Sprintf("check.Gates: %T is no gate", p)) // a mistake in a table, found by any test
		}
	}
	return out
}

// A Rule is the gates of one family of system calls, in the order in which
// the kernel asks them.
type Rule struct {
	Name  string   // "unlink"
	Calls []string // the system calls, by their kernel names
	Doc   string   // what the calls do, in a clause
	// When chooses among rules of the same call; nil is always.
	When  func(*Operation) bool
	Gates []Gate
	// After is what is different in the world once the operation has
	// succeeded, for the steps of a compound operation that follow; nil is nothing.
	After func(*Operation) []Assumption
}

// Matches says whether the rule is for the operation.
func (r *Rule) Matches(o *Operation) bool {
	return slices.Contains(r.Calls, o.Call) && (r.When == nil || r.When(o))
}

// Validate reports what is undocumented or missing in the rules.
func Validate(rules []Rule) error {
	var errs []error
	ids := map[string]*Doc{}
	for _, r := range rules {
		bad := func(format string, args ...any) {
			errs = append(errs, fmt.Errorf("rule %q: %s", r.Name, fmt.Sprintf(format, args...)))
		}
		if r.Name == "" || r.Doc == "" || len(r.Calls) == 0 {
			bad("needs a name, a sentence and its calls")
		}
		if len(r.Gates) == 0 {
			bad("has no gate")
		}
		for i, g := range r.Gates {
			if g.Doc == nil {
				bad("gate %d has no documentation", i)
				continue
			}
			d := g.Doc
			if d.ID == "" || d.Title == "" || d.Text == "" || d.Kernel == "" || d.Cause == "" || len(d.Errnos) == 0 {
				bad("gate %q is not fully documented", d.ID)
			}
			if g.Run == nil {
				bad("gate %q asks nothing", d.ID)
			}
			if old, ok := ids[d.ID]; ok && old != d {
				bad("gate %q is documented twice", d.ID)
			}
			ids[d.ID] = d
		}
	}
	return errors.Join(errs...)
}

// A Role is which object of an operation a gate looks at.
type Role int8

// The roles.
const (
	Self      Role = iota // the task itself
	Target                // the object named by "path"
	Parent                // the directory that holds it
	Ancestors             // every directory on the way to it
	NewTarget             // the object named by "newpath", if it exists
	NewParent             // the directory that will hold it
	NewAncestors
	Source  // what is mounted, named by "source"
	Process // the process named by "pid"
)

// String is the role in words.
func (r Role) String() string {
	switch r {
	case Self:
		return "this task"
	case Target:
		return "the object"
	case Parent:
		return "its directory"
	case Ancestors:
		return "the path"
	case NewTarget:
		return "the new name's object"
	case NewParent:
		return "the new directory"
	case NewAncestors:
		return "the new path"
	case Source:
		return "the source"
	case Process:
		return "the process"
	}
	return fmt.Sprintf("role %d", int(r))
}

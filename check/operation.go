package check

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// An Operation is what was attempted: a system call by its kernel name, and
// those of its arguments that decide whether it is permitted. Package op makes
// them. The zero Operation is "not known".
type Operation struct {
	// Call is the system call by its name in the kernel: "fchownat".
	Call string
	// Also are other calls by which the same thing may have been attempted, in
	// the order of the attempts: Go's os.Remove is unlinkat, then rmdir.
	Also []string
	// Args are the arguments that rules read.
	Args []Arg
	// Raw are the six raw arguments, where they are known (op.Decode, op.Call);
	// seccomp filters look at these. They are those of Entry, where that is set.
	Raw []uint64
	// Arch is the architecture, as a GOARCH, of whose calls it was one, where
	// that is not the program's own: "386" for the compat calls of an amd64
	// kernel. "" is native.
	Arch string
	// Entry is the call of Arch by which the kernel was entered, where filters
	// see that and not Call: "socketcall" for bind, "setuid32" for setuid.
	Entry string
	// Steps are the operations that a compound one is made of, in order: what
	// Go's child does between fork and exec.
	Steps []Operation
}

// An Arg is one argument of an Operation: a number or a string.
type Arg struct {
	Name  string
	Int   int64
	Str   string
	IsStr bool
}

// S is a string argument.
func S(name, value string) Arg { return Arg{Name: name, Str: value, IsStr: true} }

// I is a number argument.
func I[T ~int | ~int8 | ~int16 | ~int32 | ~int64 | ~uint | ~uint8 | ~uint16 | ~uint32 | ~uint64 | ~uintptr](name string, value T) Arg {
	return Arg{Name: name, Int: int64(value)}
}

// IsZero says whether nothing is known of what was attempted.
func (o Operation) IsZero() bool { return o.Call == "" && len(o.Steps) == 0 }

// Int is the number argument of that name; 0 if there is none.
func (o Operation) Int(name string) int64 {
	for i := range o.Args {
		if o.Args[i].Name == name {
			return o.Args[i].Int
		}
	}
	return 0
}

// Str is the string argument of that name; "" if there is none.
func (o Operation) Str(name string) string {
	for i := range o.Args {
		if o.Args[i].Name == name {
			return o.Args[i].Str
		}
	}
	return ""
}

// Has says whether the argument is given.
func (o Operation) Has(name string) bool {
	for i := range o.Args {
		if o.Args[i].Name == name {
			return true
		}
	}
	return false
}

// Is says whether the call is one of these.
func (o Operation) Is(calls ...string) bool { return slices.Contains(calls, o.Call) }

// With is the operation with these arguments set or replaced.
func (o Operation) With(args ...Arg) Operation {
	merged := slices.Clone(o.Args)
	for _, a := range args {
		if i := slices.IndexFunc(merged, func(b Arg) bool { return b.Name == a.Name }); i >= 0 {
			merged[i] = a
		} else {
			merged = append(merged, a)
		}
	}
	o.Args = merged
	return o
}

// String is one line in the form that ParseOperation reads:
//
//	fchownat path="/srv/data" uid=1000 gid=-1
func (o Operation) String() string {
	if len(o.Steps) > 0 {
		return o.Call + stepsText(o.Steps)
	}
	if o.IsZero() {
		return ""
	}
	var b strings.Builder
	b.WriteString(o.Call)
	for _, c := range o.Also {
		b.WriteByte('|')
		b.WriteString(c)
	}
	for _, a := range o.Args {
		b.WriteByte(' ')
		b.WriteString(a.Name)
		b.WriteByte('=')
		if a.IsStr {
			b.WriteString(strconv.Quote(a.Str))
		} else {
			b.WriteString(strconv.FormatInt(a.Int, 10))
		}
	}
	for i, r := range o.Raw {
		fmt.Fprintf(&b, " arg%d=%#x", i, r)
	}
	if o.Arch != "" {
		b.WriteString(" arch=" + strconv.Quote(o.Arch))
	}
	if o.Entry != "" {
		b.WriteString(" entry=" + strconv.Quote(o.Entry))
	}
	return b.String()
}

func stepsText(steps []Operation) string {
	var b strings.Builder
	b.WriteString(" {")
	for i, s := range steps {
		if i > 0 {
			b.WriteByte(';')
		}
		b.WriteByte(' ')
		b.WriteString(s.String())
	}
	b.WriteString(" }")
	return b.String()
}

// ParseOperation reads what String writes.
func ParseOperation(line string) (Operation, error) {
	s := scanner{rest: strings.TrimSpace(line)}
	o, err := s.operation()
	if s.skipSpace(); err == nil && s.rest != "" {
		err = fmt.Errorf("parse operation: left over: %.40q", s.rest)
	}
	if err != nil {
		return Operation{}, err
	}
	return o, nil
}

// maxSteps bounds what a hostile snapshot can ask for.
const maxSteps = 64

func (s *scanner) operation() (o Operation, err error) {
	names := strings.Split(s.word(), "|")
	o.Call = names[0]
	if len(names) > 1 {
		o.Also = names[1:]
	}
	for {
		s.skipSpace()
		switch {
		case s.rest == "" || s.rest[0] == ';' || s.rest[0] == '}':
			return o, nil
		case s.rest[0] == '{':
			s.rest = s.rest[1:]
			if s.depth++; s.depth > 2 {
				return o, fmt.Errorf("parse operation: steps within steps")
			}
			for {
				step, err := s.operation()
				if err != nil {
					return o, err
				}
				if o.Steps = append(o.Steps, step); len(o.Steps) > maxSteps {
					return o, fmt.Errorf("parse operation: more than %d steps", maxSteps)
				}
				s.skipSpace()
				if s.rest == "" {
					return o, fmt.Errorf("parse operation: steps without end")
				}
				end := s.rest[0] == '}'
				s.rest = s.rest[1:]
				s.skipSpace()
				if end {
					break
				}
			}
			s.depth--
			continue
		}
		name, value, isStr, err := s.field()
		if err != nil {
			return o, fmt.Errorf("parse operation: %w", err)
		}
		switch {
		case isStr && name == "arch":
			o.Arch = value
			continue
		case isStr && name == "entry":
			o.Entry = value
			continue
		case isStr:
			o.Args = append(o.Args, S(name, value))
			continue
		}
		if n, ok := strings.CutPrefix(name, "arg"); ok && len(n) == 1 && n[0] == byte('0'+len(o.Raw)) && len(o.Raw) < 6 {
			v, err := strconv.ParseUint(value, 0, 64)
			if err != nil {
				return o, fmt.Errorf("parse operation: %w", err)
			}
			o.Raw = append(o.Raw, v)
			continue
		}
		v, err := strconv.ParseInt(value, 0, 64)
		if err != nil {
			return o, fmt.Errorf("parse operation: %w", err)
		}
		o.Args = append(o.Args, I(name, v))
	}
}

package seccomp

import (
	"fmt"
	"slices"
	"strings"

	"github.com/go-eperm/eperm/internal/sysnum"
)

// A Decision is what one filter does with a call, and why.
type Decision struct {
	Action Action
	// Conditions are what the filter found out about the arguments, and that
	// made a difference, in Go's notation, all 64 bits unsigned:
	// "arg0&0x10000000 == 0x10000000". Any call of this number and architecture
	// for which all hold gets this action. None: the arguments do not matter.
	Conditions []string
	// Invalid says why the kernel would not have accepted the filter.
	Invalid error
}

func (d Decision) String() string {
	switch {
	case d.Invalid != nil:
		return d.Invalid.Error()
	case len(d.Conditions) > 0:
		return d.Action.String() + ", as " + strings.Join(d.Conditions, " and ")
	}
	return d.Action.String()
}

// A Description is what all filters of a task do with one call.
type Description struct {
	Call   Data
	Action Action // of all filters together
	// By is the filter that decides, counted from the oldest, 0; -1 if all allow.
	By        int
	Decisions []Decision // of each filter, oldest first
}

// Describe is [Evaluate] that says why. The programs are in the order in which
// they were installed. It takes longer than Evaluate, but bounded time too.
func Describe(programs []Program, d Data) Description {
	out := Description{Call: d, Decisions: make([]Decision, len(programs))}
	out.Action, out.By = strictest(programs, d)
	for i, p := range programs {
		out.Decisions[i] = p.decide(d)
	}
	return out
}

// String is one line for the call, and one for each filter.
func (d Description) String() string {
	var b strings.Builder
	b.WriteString(d.Call.String() + ": " + d.Action.String())
	for i, one := range slices.Backward(d.Decisions) {
		fmt.Fprintf(&b, "\n  filter %d of %d: %v", i+1, len(d.Decisions), one)
		if i == d.By && len(d.Decisions) > 1 {
			b.WriteString(" (this one decides)")
		}
	}
	return b.String()
}

func (d Data) String() string {
	name, ok := sysnum.Name(goarchOf(d.Arch), int(d.Nr))
	if !ok {
		name = fmt.Sprintf("call %d", d.Nr)
	}
	a := d.Args
	return fmt.Sprintf("%s(%#x, %#x, %#x, %#x, %#x, %#x)", name, a[0], a[1], a[2], a[3], a[4], a[5])
}

// A value is a number, and how it came from the arguments.
type value struct {
	n    uint32
	word int8   // the word of the data of which it is a part, by mask; 0 for none
	mask uint32 // of a word
	text string // what it is, where it is more than a part of a word; "" for a constant
}

func (v value) fixed() bool { return v.word == 0 && v.text == "" }

// maxText is how long the text of a value may grow: each step may double it.
const maxText = 120

// traced are values that know where they came from.
type traced struct {
	names    [wordsOfData]string
	high     [wordsOfData]bool // the word is the upper half
	branches []branch
}

func (*traced) constant(k uint32) value { return value{n: k} }

var aluSigns = [...]string{opAdd >> 4: "+", opSub >> 4: "-", opMul >> 4: "*", opDiv >> 4: "/", opOr >> 4: "|", opAnd >> 4: "&", opLsh >> 4: "<<", opRsh >> 4: ">>", opXor >> 4: "^"}

func (t *traced) alu(op uint16, a, b value) (value, bool) {
	if op == opDiv && !b.fixed() {
		here := branch{reason: condition{"!=", b, value{}}}
		if b.n == 0 {
			here = branch{reason: condition{"==", b, value{}}, matters: true}
		}
		t.branches = append(t.branches, here)
	}
	if op == opDiv && b.n == 0 {
		return value{n: divisionByZero}, true
	}
	v := value{n: arithmetic(op, a.n, b.n)}
	switch {
	case a.fixed() && (b.fixed() || op == opNeg):
	case op == opNeg:
		v.text = "-" + t.operand(a)
	case op == opAnd && a.word != 0 && b.fixed():
		if v.mask = a.mask & b.n; v.mask != 0 {
			v.word = a.word
		}
	case op == opAnd && b.word != 0 && a.fixed():
		if v.mask = b.mask & a.n; v.mask != 0 {
			v.word = b.word
		}
	default:
		second := t.operand(b)
		switch { // only five bits of a shift count
		case op != opLsh && op != opRsh:
		case b.fixed():
			second = fmt.Sprint(b.n & 31)
		default:
			second = "(" + second + " & 31)"
		}
		v.text = t.operand(a) + " " + aluSigns[op>>4] + " " + second
		if len(v.text) > maxText {
			v.text = "a value made of " + t.sources(a, b)
		}
	}
	return v, false
}

// operand is a value inside a larger text, all 32 bits wide.
func (t *traced) operand(v value) string {
	switch {
	case v.word != 0 && v.mask == 0xffffffff:
		return t.half(v.word)
	case v.word != 0:
		return fmt.Sprintf("(%s & %#x)", t.half(v.word), v.mask)
	case v.text != "":
		return "(" + v.text + ")"
	}
	return fmt.Sprintf("%#x", v.n)
}

func (t *traced) half(word int8) string {
	if t.high[word] {
		return "uint32(" + t.names[word] + ">>32)"
	}
	return "uint32(" + t.names[word] + ")"
}

// sources names what a value depends on.
func (t *traced) sources(values ...value) string {
	var out []string
	for i := wordIP; i < wordsOfData; i++ {
		for _, v := range values {
			if v.word == int8(i) || strings.Contains(v.text, t.names[i]) {
				out = append(out, t.names[i])
			}
		}
	}
	return strings.Join(slices.Compact(out), ", ")
}

// words are the data: number and architecture are what the call is, the rest
// is what may differ between calls.
func (t *traced) words(d Data) [wordsOfData]value {
	var out [wordsOfData]value
	for i, n := range d.words() {
		out[i] = value{n: n}
		if i >= wordIP {
			out[i].word, out[i].mask = int8(i), 0xffffffff
		}
	}
	_, high := d.halves()
	for i := wordIP; i < wordsOfData; i++ {
		t.names[i] = "ip"
		if i >= wordArgs {
			t.names[i] = fmt.Sprintf("arg%d", (i-wordArgs)/2)
		}
		t.high[i] = i%2 == high
	}
	return out
}

// A condition is what a conditional jump has found.
type condition struct {
	op   string // of Go; "&" for BPF_JSET, "!&" for its contrary
	a, b value
}

// found is the condition of a jump that was taken, or was not.
func found(in Instruction, a, b value, holds bool) condition {
	ops := [2]string{"!=", "=="}
	switch in.Code & 0xf0 {
	case opJgt:
		ops = [2]string{"<=", ">"}
	case opJge:
		ops = [2]string{"<", ">="}
	case opJset:
		ops = [2]string{"!&", "&"}
	}
	c := condition{ops[0], a, b}
	if holds {
		c.op = ops[1]
	}
	if in.Code&0xf0 == opJset && a.word != 0 && b.fixed() { // a test of bits is a comparison of these bits with 0
		a.mask &= b.n
		c = condition{"==", a, value{}}
		if holds {
			c.op = "!="
			if b.n&(b.n-1) == 0 { // of one bit: it is set
				c = condition{"==", a, value{n: b.n}}
			}
		}
	}
	return c
}

// A branch is a place where another value of an argument leads elsewhere.
type branch struct {
	reason  condition
	other   *machine[maybe, guess] // the state there; nil where the filter ends with 0
	pc      int
	matters bool // in any case
}

// decide runs the filter over values that know where they came from, and notes
// the branches. One does not matter if all that can follow there ends in the same
// action: leaving such branches out one by one leaves a set of conditions that
// still suffices, since the first of them to fail leads to that action.
func (p Program) decide(d Data) Decision {
	if err := p.Validate(); err != nil {
		return Decision{Action: ActionKillProcess, Invalid: err}
	}
	t := &traced{}
	words := t.words(d)
	m := machine[value, *traced]{d: t}
	var ret value
	for pc, done := 0, false; !done; pc++ {
		in := p[pc]
		if in.Code&7 != opJmp {
			ret, done = m.step(in, &words)
			continue
		}
		b := m.operand(in)
		holds := compare(in.Code, m.a.n, b.n)
		if in.Code != opJmp|opJa && in.Jt != in.Jf && !(m.a.fixed() && b.fixed()) {
			other := in.skip(func() bool { return !holds })
			t.branches = append(t.branches, branch{reason: found(in, m.a, b, holds), other: forget(&m), pc: pc + other + 1})
		}
		pc += in.skip(func() bool { return holds })
	}
	action := Action(ret.n)
	steps := exploreSteps
	var conditions []condition
	for _, f := range t.branches {
		if !f.alwaysEnds(p, d, action, &steps) {
			conditions = append(conditions, f.reason)
		}
	}
	out := Decision{Action: action, Conditions: t.texts(conditions)}
	if !ret.fixed() {
		out.Conditions = append(out.Conditions, t.text(condition{"==", ret, value{n: ret.n}}))
	}
	return out
}

// texts writes conditions, the two halves of an argument as one where that
// says the same.
func (t *traced) texts(conditions []condition) []string {
	var out []string
	used := make([]bool, len(conditions))
	for i, c := range conditions {
		if used[i] {
			continue
		}
		text := t.text(c)
		if c.equation() {
			for j := i + 1; j < len(conditions); j++ {
				o := conditions[j]
				if !used[j] && o.equation() && t.names[o.a.word] == t.names[c.a.word] && t.high[o.a.word] != t.high[c.a.word] {
					used[j] = true
					m1, v1 := t.wide(c.a.word, c.a.mask, c.b.n)
					m2, v2 := t.wide(o.a.word, o.a.mask, o.b.n)
					text = equation(t.names[c.a.word], m1|m2, v1|v2)
					break
				}
			}
		}
		if !slices.Contains(out, text) {
			out = append(out, text)
		}
	}
	return out
}

// equation says that bits of one argument have a value.
func (c condition) equation() bool { return c.op == "==" && c.a.word != 0 && c.b.fixed() }

// wide is a mask and a value of half an argument, in the whole argument.
func (t *traced) wide(word int8, mask, n uint32) (uint64, uint64) {
	if t.high[word] {
		return uint64(mask) << 32, uint64(n) << 32
	}
	return uint64(mask), uint64(n)
}

func equation(name string, mask, n uint64) string {
	if mask == ^uint64(0) {
		return fmt.Sprintf("%s == %#x", name, n)
	}
	return fmt.Sprintf("%s&%#x == %#x", name, mask, n)
}

func (t *traced) text(c condition) string {
	a, b := c.a, c.b
	if a.word != 0 && b.fixed() && c.op != "&" && c.op != "!&" {
		if a.mask == 0xffffffff {
			if t.high[a.word] {
				return fmt.Sprintf("%s>>32 %s %#x", t.names[a.word], c.op, b.n)
			}
			return fmt.Sprintf("%s %s %#x", t.half(a.word), c.op, b.n)
		}
		mask, n := t.wide(a.word, a.mask, b.n)
		return fmt.Sprintf("%s&%#x %s %#x", t.names[a.word], mask, c.op, n)
	}
	switch c.op {
	case "&":
		return fmt.Sprintf("%s & %s != 0", t.operand(a), t.operand(b))
	case "!&":
		return fmt.Sprintf("%s & %s == 0", t.operand(a), t.operand(b))
	}
	return fmt.Sprintf("%s %s %s", t.operand(a), c.op, t.operand(b))
}

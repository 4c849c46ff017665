package seccomp

// exploreSteps bounds what Describe looks at beside the way that a call takes.
// Where it does not suffice, conditions are named that may not matter.
const exploreSteps = 100_000

// A maybe is a number, or one that is not known as it depends on arguments.
type maybe struct {
	n     uint32
	known bool
}

// guess computes with numbers of which some are not known.
type guess struct{}

func (guess) constant(k uint32) maybe { return maybe{k, true} }

// alu: the division by a number that is not known is looked at by alwaysEnds.
func (guess) alu(op uint16, a, b maybe) (maybe, bool) {
	switch {
	case op == opDiv && b.known && b.n == 0:
		return maybe{divisionByZero, true}, true
	case a.known && (b.known || op == opNeg):
		return maybe{arithmetic(op, a.n, b.n), true}, false
	case op == opAnd && (a.known && a.n == 0 || b.known && b.n == 0):
		return maybe{0, true}, false
	}
	return maybe{}, false
}

// forget is the state of which only the constants stay known.
func forget(m *machine[value, *traced]) *machine[maybe, guess] {
	plain := func(v value) maybe { return maybe{v.n, v.fixed()} }
	out := &machine[maybe, guess]{a: plain(m.a), x: plain(m.x)}
	for i, c := range m.cells {
		out.cells[i] = plain(c)
	}
	return out
}

// alwaysEnds says whether the filter, from there, ends with this action for all
// values of the arguments. No is also the answer when the steps are used up.
func (f branch) alwaysEnds(p Program, d Data, action Action, steps *int) bool {
	if f.matters {
		return false
	}
	if f.other == nil {
		return action == divisionByZero
	}
	var words [wordsOfData]maybe
	words[wordNr], words[wordArch] = maybe{uint32(d.Nr), true}, maybe{d.Arch, true}
	type state struct {
		machine[maybe, guess]
		pc int
	}
	todo := []state{{*f.other, f.pc}}
	for len(todo) > 0 {
		s := todo[len(todo)-1]
		todo = todo[:len(todo)-1]
		for done := false; !done; s.pc++ {
			if *steps--; *steps < 0 {
				return false
			}
			in := p[s.pc]
			b := s.operand(in)
			switch {
			case in.Code == opJmp|opJa:
				s.pc += int(in.K)
			case in.Code&7 == opJmp && s.a.known && b.known:
				s.pc += in.skip(func() bool { return compare(in.Code, s.a.n, b.n) })
			case in.Code&7 == opJmp:
				if in.Jt != in.Jf {
					todo = append(todo, state{s.machine, s.pc + int(in.Jf) + 1})
				}
				s.pc += int(in.Jt)
			default:
				if in.Code == opAlu|opDiv|opX && !b.known && action != divisionByZero {
					return false
				}
				var ret maybe
				if ret, done = s.step(in, &words); done && (!ret.known || Action(ret.n) != action) {
					return false
				}
			}
		}
	}
	return true
}

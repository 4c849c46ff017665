package selinux

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// mask is the bits of permissions of a class; false where the policy has not all of them.
func (p *policyDB) mask(class string, perms []string) (value uint32, mask uint32, ok bool) {
	c, ok := p.classes[class]
	if !ok {
		return 0, 0, false
	}
	for _, name := range perms {
		bit, ok := c.perms[name]
		if !ok || bit < 1 || bit > 32 {
			return 0, 0, false
		}
		mask |= 1 << (bit - 1)
	}
	return c.value, mask, true
}

// matching is the permissions that rules allow between two types.
func (p *policyDB) matching(rules []avRule, source, target, class uint32) (perms uint32) {
	for _, r := range rules {
		if uint32(r.class) == class && r.perms&^perms != 0 && p.is(source, uint32(r.source)) && p.is(target, uint32(r.target)) {
			perms |= r.perms
		}
	}
	return perms
}

// is says whether a type is another one, or has it as an attribute.
func (p *policyDB) is(typ, other uint32) bool {
	return typ == other || other > 0 && int(typ) < len(p.attrs) && p.attrs[typ].has(other-1)
}

// holds is the value of a condition, with one boolean flipped (0 is none); false for
// expressions that make no sense, as for the kernel (ss/conditional.c:cond_evaluate_expr).
func (p *policyDB) holds(c condition, flipped uint32) (value, known bool) {
	var stack []bool
	pop := func() (v bool) {
		if len(stack) > 0 {
			v, stack = stack[len(stack)-1], stack[:len(stack)-1]
		}
		return v
	}
	for _, n := range c.expr {
		need := map[uint32]int{1: 0, 2: 1}
		if k, ok := need[n.op]; !ok && len(stack) < 2 || ok && len(stack) < k {
			return false, false
		}
		switch n.op {
		case 1:
			if n.boolean == 0 || int(n.boolean) >= len(p.bools) {
				return false, false
			}
			stack = append(stack, p.bools[n.boolean].on != (n.boolean == flipped))
		case 2:
			stack = append(stack, !pop())
		case 3:
			a, b := pop(), pop()
			stack = append(stack, a || b)
		case 4:
			a, b := pop(), pop()
			stack = append(stack, a && b)
		case 5, 7:
			a, b := pop(), pop()
			stack = append(stack, a != b)
		case 6:
			a, b := pop(), pop()
			stack = append(stack, a == b)
		default:
			return false, false
		}
	}
	if len(stack) == 0 {
		return false, false
	}
	return stack[0], true
}

// A balance is what rules allow between two types: always, and on conditions.
type balance struct {
	p       *policyDB
	always  uint32
	conds   []condition
	yes, no []uint32
}

func (p *policyDB) weigh(source, target, class uint32) balance {
	b := balance{p: p, always: p.matching(p.rules, source, target, class)}
	for _, c := range p.conds {
		if yes, no := p.matching(c.yes, source, target, class), p.matching(c.no, source, target, class); yes|no != 0 {
			b.conds, b.yes, b.no = append(b.conds, c), append(b.yes, yes), append(b.no, no)
		}
	}
	return b
}

// allowed is the permissions that are allowed with one boolean flipped (0 is none).
func (b balance) allowed(flipped uint32) uint32 {
	perms := b.always
	for i, c := range b.conds {
		switch on, known := b.p.holds(c, flipped); {
		case known && on:
			perms |= b.yes[i]
		case known:
			perms |= b.no[i]
		}
	}
	return perms
}

// A Ruling is what the rules of the policy's file say of an access that is refused.
type Ruling struct {
	// ByType says that the rules between the types allow it: a constraint refuses it.
	ByType bool
	// Booleans are those of which each would allow it, with the value that would: "name=on".
	Booleans []string
}

func (r Ruling) show() string {
	switch {
	case r.ByType:
		return "the rules between the types allow it"
	case len(r.Booleans) > 0:
		return "would be allowed by " + strings.Join(r.Booleans, " or ")
	}
	return "no rule allows it, and no single boolean would"
}

// ruling judges an access by types.
func (p *policyDB) ruling(source, target, class string, perms []string) (r Ruling, err error) {
	s, ok1 := p.types[source]
	t, ok2 := p.types[target]
	value, mask, ok3 := p.mask(class, perms)
	if !ok1 || !ok2 || !ok3 {
		return r, fmt.Errorf("the policy does not know %s, %s or %s { %s }", source, target, class, strings.Join(perms, " "))
	}
	weighed := p.weigh(s, t, value)
	if weighed.allowed(0)&mask == mask {
		return Ruling{ByType: true}, nil
	}
	for b := range p.bools {
		n := uint32(b)
		if n == 0 || !slices.ContainsFunc(weighed.conds, func(c condition) bool { return slices.Contains(c.expr, condNode{1, n}) }) {
			continue
		}
		if weighed.allowed(n)&mask == mask {
			to := "on"
			if p.bools[n].on {
				to = "off"
			}
			r.Booleans = append(r.Booleans, p.bools[n].name+"="+to)
		}
	}
	return r, nil
}

// Initial SIDs (security/selinux/include/initial_sid_to_string.h).
const (
	sidUnlabeled = 3
	sidPort      = 9
	sidNode      = 12
)

// port is the context of a port (ss/services.c:security_port_sid).
func (p *policyDB) port(protocol, port uint32) string {
	for _, c := range p.ports {
		if c.protocol == protocol && c.low <= port && port <= c.high {
			return c.context
		}
	}
	return p.initial[sidPort]
}

// node is the context of an address (ss/services.c:security_node_sid).
func (p *policyDB) node(addr netip.Addr) string {
	b := addr.AsSlice()
	for _, c := range p.nodes {
		if len(c.addr) == len(b) && masked(b, c) {
			return c.context
		}
	}
	return p.initial[sidNode]
}

func masked(b []byte, c nodeContext) bool {
	for i := range b {
		if b[i]&c.mask[i] != c.addr[i] {
			return false
		}
	}
	return true
}

// fileSystem is the context of a file system by its type, where no option of the mount
// sets another (ss/services.c:security_fs_use).
func (p *policyDB) fileSystem(name string) string {
	if c, ok := p.fsUse[name]; ok {
		return c
	}
	if c, ok := p.genfs[name]; ok {
		return c
	}
	return p.initial[sidUnlabeled]
}

// bounded says whether a type is bounded by another (ss/services.c:security_bounded_transition).
func (p *policyDB) bounded(from, to string) bool {
	f, t := p.types[from], p.types[to]
	for range 64 {
		if t = p.bounds[t]; t == 0 || t == f {
			break
		}
	}
	return t != 0 && t == f
}

package selinux

// A Weighed is a policy, for comparisons with the kernel.
type Weighed struct{ p *policyDB }

// ReadPolicy parses a binary policy.
func ReadPolicy(b []byte) (Weighed, error) {
	p, err := parsePolicy(b)
	return Weighed{p}, err
}

// Types and Classes are the names.
func (w Weighed) Types() (list []string) {
	for _, name := range w.p.names[symTypes] {
		list = append(list, name)
	}
	return list
}

func (w Weighed) Classes() (list []string) {
	for name := range w.p.classes {
		list = append(list, name)
	}
	return list
}

// Allowed is the bits that type enforcement allows, and those that the class has.
func (w Weighed) Allowed(source, target, class string) (allowed, all uint32) {
	c := w.p.classes[class]
	for _, bit := range c.perms {
		all |= 1 << (bit - 1)
	}
	return w.p.weigh(w.p.types[source], w.p.types[target], c.value).allowed(0) & all, all
}

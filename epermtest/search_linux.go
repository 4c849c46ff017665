package epermtest

import (
	"cmp"
	"errors"
	"slices"

	"github.com/go-eperm/eperm/capability"
)

// maxRuns bounds how often [Minimal] calls the function.
const maxRuns = 400

var (
	errRuns = errors.New("too many runs")
	errFlip = errors.New("the function does not answer the same way each time")
)

// A search finds the minimal sets of capabilities with which run succeeds. It
// assumes that more capabilities never hurt, and proves what it returns.
type search struct {
	run  func(capability.Set) bool
	max  int
	runs int
	seen map[capability.Set]bool
}

func newSearch(run func(capability.Set) bool, most int) *search {
	return &search{run: run, max: most, seen: map[capability.Set]bool{}}
}

// enough says whether the function succeeds with the set; it is asked once for each.
func (s *search) enough(set capability.Set) (bool, error) {
	if ok, known := s.seen[set]; known {
		return ok, nil
	}
	return s.again(set)
}

// again asks even if it is known.
func (s *search) again(set capability.Set) (bool, error) {
	if s.runs >= s.max {
		return false, errRuns
	}
	s.runs++
	ok := s.run(set)
	s.seen[set] = ok
	return ok, nil
}

// sets are the minimal sets within all, the least first (see less), nil if all is
// not enough. complete says that there are no others: the
// bound on runs may have ended the search.
//
// Other sets than the first lie within all minus one member of each set that
// is known (R. Reiter, A Theory of Diagnosis from First Principles, 1987).
func (s *search) sets(all capability.Set) (found []capability.Set, complete bool, err error) {
	ok, err := s.enough(all)
	if err != nil || !ok {
		return nil, err == nil, err
	}
	queue := []capability.Set{0} // members that are taken away
	tried := map[capability.Set]bool{0: true}
	for len(queue) > 0 {
		away := queue[0]
		queue = queue[1:]
		var set capability.Set
		if i := slices.IndexFunc(found, func(f capability.Set) bool { return f&away == 0 }); i >= 0 {
			set = found[i]
		} else {
			ok, err := s.enough(all &^ away)
			if err == nil && ok {
				set, err = s.shrink(all &^ away)
			}
			switch {
			case errors.Is(err, errRuns) && len(found) > 0:
				slices.SortFunc(found, less)
				return found, false, nil
			case err != nil:
				return nil, false, err
			case !ok:
				continue
			}
			found = append(found, set)
		}
		for _, c := range set.List() {
			if next := away.Add(c); !tried[next] {
				tried[next] = true
				queue = append(queue, next)
			}
		}
	}
	slices.SortFunc(found, less)
	return found, true, nil
}

// shrink is one minimal set within all, which is enough.
func (s *search) shrink(all capability.Set) (capability.Set, error) {
	set, err := s.needed(0, inOrder(all), false)
	if err != nil {
		return 0, err
	}
	for again := true; again; { // where more capabilities do hurt, it may not be minimal yet
		again = false
		for _, c := range slices.Backward(inOrder(set)) {
			ok, err := s.enough(set.Remove(c))
			if err != nil {
				return 0, err
			}
			if ok {
				set, again = set.Remove(c), true
			}
		}
	}
	ok, err := s.again(set)
	if err == nil && !ok {
		err = errFlip
	}
	return set, err
}

// needed is what base lacks, of the candidates, which are enough together with it. It
// halves them, and prefers those at the beginning (U. Junker, QuickXplain, 2004).
func (s *search) needed(base capability.Set, candidates []capability.Cap, grown bool) (capability.Set, error) {
	if grown || len(candidates) == 0 || base == 0 {
		ok, err := s.enough(base)
		if err != nil || ok {
			return 0, err
		}
	}
	if len(candidates) <= 1 {
		return capability.SetOf(candidates...), nil
	}
	first, rest := candidates[:len(candidates)/2], candidates[len(candidates)/2:]
	late, err := s.needed(base|capability.SetOf(first...), rest, true)
	if err != nil {
		return 0, err
	}
	early, err := s.needed(base|late, first, late != 0)
	return early | late, err
}

// strength is how near to everything a capability is: 2 for CAP_SYS_ADMIN, 1 for
// those with which its holder can get the others.
func strength(c capability.Cap) int {
	switch c {
	case capability.CAP_SYS_ADMIN:
		return 2
	case capability.CAP_CHOWN, capability.CAP_DAC_OVERRIDE, capability.CAP_FOWNER, capability.CAP_SETUID, capability.CAP_SETGID,
		capability.CAP_SETFCAP, capability.CAP_SYS_MODULE, capability.CAP_SYS_RAWIO, capability.CAP_SYS_PTRACE,
		capability.CAP_MAC_ADMIN, capability.CAP_MAC_OVERRIDE:
		return 1
	}
	return 0
}

// inOrder is the members, the least powerful first.
func inOrder(s capability.Set) []capability.Cap {
	list := s.List()
	slices.SortStableFunc(list, func(a, b capability.Cap) int { return cmp.Compare(strength(a), strength(b)) })
	return list
}

// less orders sets: by the most powerful member, by size, by number.
func less(a, b capability.Set) int {
	most := func(s capability.Set) (n int) {
		for _, c := range s.List() {
			n = max(n, strength(c))
		}
		return n
	}
	return cmp.Or(cmp.Compare(most(a), most(b)), cmp.Compare(a.Len(), b.Len()), cmp.Compare(a, b))
}

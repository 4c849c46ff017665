package selinux

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"slices"
	"strings"
)

// A policyDB is what this library needs of a binary policy
// (security/selinux/ss/policydb.c:policydb_read): which rules allow what, on which booleans they
// hang, and the contexts of ports, nodes and file systems.
type policyDB struct {
	version uint32
	mls     bool
	types   map[string]uint32
	classes map[string]policyClass
	bounds  map[uint32]uint32 // types to those that they may not surpass
	bools   []policyBool      // by value, from 1
	rules   []avRule
	conds   []condition
	attrs   []bitmap // by type, from 1: the type itself and its attributes
	initial map[uint32]string
	ports   []portContext
	nodes   []nodeContext
	fsUse   map[string]string
	genfs   map[string]string // of the roots of file systems

	names   map[uint32]map[uint32]string // by table and value
	commons map[string]map[string]uint32
}

type policyClass struct {
	value uint32
	perms map[string]uint32 // bit numbers from 1
}

type policyBool struct {
	name string
	on   bool
}

// An avRule allows perms of a class, from a type or attribute to another.
type avRule struct {
	source, target, class uint16
	perms                 uint32
}

// A condition holds rules that are in force where its expression is true, and
// others where it is false.
type condition struct {
	expr    []condNode
	yes, no []avRule
}

type condNode struct{ op, boolean uint32 }

type portContext struct {
	protocol, low, high uint32
	context             string
}

type nodeContext struct {
	addr, mask []byte
	context    string
}

// Tables of symbols, in the order in which they are written (ss/policydb.h).
const (
	symCommons = iota
	symClasses
	symRoles
	symTypes
	symUsers
	symBools
	symLevels
	symCats
)

const (
	policyMagic    = 0xf97cff8c
	oldestPolicy   = 20 // POLICYDB_VERSION_AVTAB
	newestPolicy   = 34 // POLICYDB_VERSION_COND_XPERMS
	maxPolicyItems = 1 << 22
)

var errPolicy = errors.New("the policy is cut off or damaged")

// A policyReader reads little-endian numbers; after the first error it gives zeros.
type policyReader struct {
	b   []byte
	err error
}

func (r *policyReader) take(n uint32) []byte {
	if r.err != nil || uint64(n) > uint64(len(r.b)) {
		r.err, r.b = errPolicy, nil
		return make([]byte, min(n, 64))
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *policyReader) u32() uint32 { return binary.LittleEndian.Uint32(r.take(4)) }

func (r *policyReader) u16() uint16 { return binary.LittleEndian.Uint16(r.take(2)) }

func (r *policyReader) str(n uint32) string {
	if n > 4096 {
		r.err = errPolicy
		return ""
	}
	return string(r.take(n))
}

// count is a number of items that are to follow, each of some bytes at least.
func (r *policyReader) count(size int) int {
	n := r.u32()
	if n > maxPolicyItems || int(n)*size > len(r.b) {
		r.err, r.b = errPolicy, nil
		return 0
	}
	return int(n)
}

func (r *policyReader) skip(n int) {
	for range n {
		r.u32()
	}
}

// A bitmap is a sparse set (ss/ebitmap.c:ebitmap_read): words of 64 bits by their first bit.
type bitmap []bitWord

type bitWord struct {
	start uint32
	bits  uint64
}

func (m bitmap) has(n uint32) bool {
	i, ok := slices.BinarySearchFunc(m, n&^63, func(w bitWord, start uint32) int { return int(int64(w.start) - int64(start)) })
	return ok && m[i].bits>>(n&63)&1 != 0
}

func (r *policyReader) bitmap() (m bitmap) {
	r.u32() // bits of a word
	r.u32() // the highest bit
	for range r.count(12) {
		w := bitWord{start: r.u32()}
		w.bits = binary.LittleEndian.Uint64(r.take(8))
		if w.start%64 != 0 || len(m) > 0 && w.start <= m[len(m)-1].start {
			r.err = errPolicy
			return nil
		}
		m = append(m, w)
	}
	return m
}

func parsePolicy(b []byte) (*policyDB, error) {
	r := &policyReader{b: b}
	p := &policyDB{types: map[string]uint32{}, bounds: map[uint32]uint32{}, classes: map[string]policyClass{}, initial: map[uint32]string{}, fsUse: map[string]string{}, genfs: map[string]string{},
		names: map[uint32]map[uint32]string{}, commons: map[string]map[string]uint32{}}
	if r.u32() != policyMagic || r.str(r.u32()) != "SE Linux" {
		return nil, errors.New("no binary policy of SELinux")
	}
	p.version = r.u32()
	if p.version < oldestPolicy || p.version > newestPolicy {
		return nil, fmt.Errorf("the policy has the version %d; %d to %d are known", p.version, oldestPolicy, newestPolicy)
	}
	p.mls = r.u32()&1 != 0
	r.skip(2) // numbers of tables: 8 of symbols, and of contexts by the version
	if p.version >= 22 {
		r.bitmap() // capabilities of the policy
	}
	if p.version >= 23 {
		r.bitmap() // permissive types
	}
	for table := uint32(symCommons); table <= symCats; table++ {
		r.u32() // the highest value
		p.names[table] = map[uint32]string{}
		for range r.count(8) {
			if p.symbol(r, table); r.err != nil {
				return nil, r.err
			}
		}
	}
	n := uint32(0)
	for v := range p.names[symTypes] {
		n = max(n, v)
	}
	if n > 1<<16 {
		return nil, errPolicy
	}
	p.rules = readRules(r)
	for range r.count(16) {
		var c condition
		r.u32() // the state
		for range r.count(8) {
			c.expr = append(c.expr, condNode{r.u32(), r.u32()})
		}
		c.yes, c.no = readRules(r), readRules(r)
		p.conds = append(p.conds, c)
	}
	p.transitions(r)
	p.contexts(r)
	for range r.count(16) { // transitions of ranges
		r.skip(3)
		p.levelRange(r)
	}
	p.attrs = make([]bitmap, n+1)
	for i := uint32(1); i <= n; i++ {
		p.attrs[i] = r.bitmap()
	}
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

// symbol reads an entry of a table of symbols.
func (p *policyDB) symbol(r *policyReader, table uint32) {
	bounds := p.version >= 24
	switch table {
	case symCommons:
		n, _ := r.u32(), r.u32()
		r.u32()
		perms := r.u32()
		name := r.str(n)
		p.commons[name] = permissionsOf(r, perms, nil)
	case symClasses:
		n, common, value := r.u32(), r.u32(), r.u32()
		r.u32()
		perms, constraints := r.u32(), r.u32()
		name := r.str(n)
		var inherited map[string]uint32
		if common > 0 {
			inherited = p.commons[r.str(common)]
		}
		p.classes[name] = policyClass{value, permissionsOf(r, perms, inherited)}
		p.constraints(r, constraints)
		p.constraints(r, r.u32()) // validatetrans
		if p.version >= 27 {
			r.skip(3)
		}
		if p.version >= 28 {
			r.skip(1)
		}
	case symRoles:
		n, value := r.u32(), r.u32()
		if bounds {
			r.u32()
		}
		p.names[table][value] = r.str(n)
		r.bitmap()
		r.bitmap()
	case symTypes:
		n, value := r.u32(), r.u32()
		var bound uint32
		if r.u32(); bounds {
			bound = r.u32()
		}
		name := r.str(n)
		if bound != 0 {
			p.bounds[value] = bound
		}
		p.types[name] = value // aliases have the value of their type
		if _, known := p.names[table][value]; !known {
			p.names[table][value] = name
		}
	case symUsers:
		n, value := r.u32(), r.u32()
		if bounds {
			r.u32()
		}
		p.names[table][value] = r.str(n)
		r.bitmap()
		p.levelRange(r)
		r.u32()
		r.bitmap()
	case symBools:
		value, on, n := r.u32(), r.u32(), r.u32()
		if value > 1<<16 {
			r.err = errPolicy
			return
		}
		for uint32(len(p.bools)) <= value {
			p.bools = append(p.bools, policyBool{})
		}
		p.bools[value] = policyBool{r.str(n), on != 0}
	case symLevels:
		n, alias := r.u32(), r.u32()
		name, value := r.str(n), r.u32()
		if r.bitmap(); alias == 0 {
			p.names[table][value] = name
		}
	case symCats:
		n, value, alias := r.u32(), r.u32(), r.u32()
		if name := r.str(n); alias == 0 {
			p.names[table][value] = name
		}
	}
}

func permissionsOf(r *policyReader, n uint32, inherited map[string]uint32) map[string]uint32 {
	perms := map[string]uint32{}
	for k, v := range inherited {
		perms[k] = v
	}
	for i := uint32(0); i < n && r.err == nil; i++ {
		size, value := r.u32(), r.u32()
		perms[r.str(size)] = value
	}
	return perms
}

// constraints reads over constraints (ss/policydb.c:read_cons_helper): the kernel is asked instead.
func (p *policyDB) constraints(r *policyReader, n uint32) {
	for i := uint32(0); i < n && r.err == nil; i++ {
		r.u32()
		for range r.count(12) {
			kind := r.u32()
			r.skip(2)
			if kind == 5 { // CEXPR_NAMES
				if r.bitmap(); p.version >= 29 {
					r.bitmap()
					r.bitmap()
					r.u32()
				}
			}
		}
	}
}

// readRules keeps the rules that allow (ss/avtab.c:avtab_read_item).
func readRules(r *policyReader) (list []avRule) {
	for range r.count(8) {
		a := avRule{source: r.u16(), target: r.u16(), class: r.u16()}
		kind := r.u16()
		if kind&0x0700 != 0 { // permissions of single ioctls
			r.take(2 + 32)
			continue
		}
		if a.perms = r.u32(); kind&1 != 0 {
			list = append(list, a)
		}
	}
	return list
}

// transitions reads over the transitions of roles and by file names.
func (p *policyDB) transitions(r *policyReader) {
	for range r.count(12) {
		if r.skip(3); p.version >= 26 {
			r.u32()
		}
	}
	for range r.count(8) { // allowed roles
		r.skip(2)
	}
	if p.version < 25 {
		return
	}
	for range r.count(16) {
		r.str(r.u32())
		if p.version < 33 {
			r.skip(4)
			continue
		}
		r.skip(2)
		for range r.count(16) {
			r.bitmap()
			r.u32()
		}
	}
}

// contexts reads the contexts of what has no label of its own (ss/policydb.c:ocontext_read, genfs_read).
func (p *policyDB) contexts(r *policyReader) {
	const isid, fs, port, netif, node, fsuse, node6, pkey, endport = 0, 1, 2, 3, 4, 5, 6, 7, 8
	last := node6
	if p.version >= 31 {
		last = endport
	}
	for kind := isid; kind <= last; kind++ {
		for range r.count(12) {
			switch kind {
			case isid:
				sid := r.u32()
				p.initial[sid] = p.context(r)
			case fs, netif:
				r.str(r.u32())
				p.context(r)
				p.context(r)
			case port:
				c := portContext{protocol: r.u32(), low: r.u32(), high: r.u32()}
				c.context = p.context(r)
				p.ports = append(p.ports, c)
			case node, node6:
				n := map[int]uint32{node: 4, node6: 16}[kind]
				c := nodeContext{addr: r.take(n), mask: r.take(n)}
				c.context = p.context(r)
				p.nodes = append(p.nodes, c)
			case fsuse:
				r.u32()
				name := r.str(r.u32())
				p.fsUse[name] = p.context(r)
			case pkey:
				r.skip(4)
				p.context(r)
			case endport:
				n := r.u32()
				r.u32()
				r.str(n)
				p.context(r)
			}
		}
	}
	for range r.count(8) {
		name := r.str(r.u32())
		for range r.count(16) {
			path := r.str(r.u32())
			r.u32()
			if c := p.context(r); path == "/" {
				p.genfs[name] = c
			}
		}
	}
}

// context reads a context, as text.
func (p *policyDB) context(r *policyReader) string {
	user, role, typ := r.u32(), r.u32(), r.u32()
	level := p.levelRange(r)
	text := p.names[symUsers][user] + ":" + p.names[symRoles][role] + ":" + p.names[symTypes][typ]
	if p.mls {
		text += ":" + level
	}
	return text
}

// levelRange reads a range of levels (ss/policydb.c:mls_read_range_helper).
func (p *policyDB) levelRange(r *policyReader) string {
	n := r.u32()
	if n < 1 || n > 2 {
		r.err = errPolicy
		return ""
	}
	low := r.u32()
	high := low
	if n == 2 {
		high = r.u32()
	}
	l := p.level(low, r.bitmap())
	h := l
	if n == 2 {
		h = p.level(high, r.bitmap())
	}
	if l == h {
		return l
	}
	return l + "-" + h
}

func (p *policyDB) level(sens uint32, cats bitmap) string {
	text := p.names[symLevels][sens]
	if text == "" {
		return ""
	}
	var list []string
	for _, w := range cats {
		for bit := range uint32(64) {
			if w.bits>>bit&1 != 0 {
				list = append(list, p.names[symCats][w.start+bit+1])
			}
		}
	}
	if len(list) == 0 {
		return text
	}
	if n := len(list); n > 2 && n == int(cats[len(cats)-1].start)+bits.Len64(cats[len(cats)-1].bits)-int(cats[0].start)-bits.TrailingZeros64(cats[0].bits) {
		return text + ":" + list[0] + "." + list[n-1] // all from the first to the last
	}
	return text + ":" + strings.Join(list, ",")
}

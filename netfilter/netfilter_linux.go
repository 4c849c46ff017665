package netfilter

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"syscall"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/internal/netlink"
	"github.com/go-eperm/eperm/task"
	"github.com/go-eperm/eperm/userns"
	"golang.org/x/sys/unix"
)

// Discarded is how many packets the network namespace discarded on output; the
// key is "4" or "6", the version of IP (net/ipv4/ip_output.c:ip_send_skb).
var Discarded = check.Probe[task.Number]{Name: "out_discards", Source: "/proc/thread-self/net/snmp, snmp6", Live: func(k *check.Kernel, key string) (task.Number, error) {
	file, parse := "net/snmp", func(s string) (uint64, error) { return ParseSNMP(s, "Ip", "OutDiscards") }
	if key == "6" {
		file, parse = "net/snmp6", func(s string) (uint64, error) { return ParseSNMP6(s, "Ip6OutDiscards") }
	}
	b, err := k.ReadFile(k.Proc(file))
	if err != nil {
		return task.Number{}, err
	}
	n, err := parse(string(b))
	return task.Number{N: int64(n)}, err
}}

// Chains is what looks at packets on output.
type Chains struct {
	Count int // base chains of nftables, without empty ones that accept
	// Drop names an empty base chain that drops everything by its policy; "" for none.
	Drop string
	// Chain is the base chain that drops, or the only one there is, as nft takes
	// it: "inet filter output"; "" where neither is known.
	Chain  string
	Legacy bool // tables of iptables-legacy
}

func (c Chains) show() string {
	s := fmt.Sprintf("%d of nftables", c.Count)
	if c.Drop != "" {
		s += ", of which " + check.Printable(c.Drop) + " drops everything"
	}
	if c.Legacy {
		s += ", iptables-legacy"
	}
	return s
}

// Output is the chains at output and postrouting for a version of IP, the key
// "4" or "6". A task in another network namespace cannot be asked for.
var Output = check.Probe[Chains]{Name: "output_chains", Source: "nfnetlink NFT_MSG_GETCHAIN, ip_tables_names", Needs: "CAP_NET_ADMIN", Show: Chains.show, Live: func(k *check.Kernel, key string) (Chains, error) {
	if err := userns.Shared(k, "net"); err != nil {
		return Chains{}, err
	}
	var c Chains
	list, err := netlink.Ask(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETCHAIN, unix.NLM_F_DUMP, make([]byte, 4))
	var refused netlink.Refused
	switch {
	case errors.As(err, &refused) && (syscall.Errno(refused) == unix.EINVAL || syscall.Errno(refused) == unix.EOPNOTSUPP): // no nftables
	case err != nil:
		return c, err
	}
	dormant, err := sleeping(len(list) > 0)
	if err != nil {
		return c, err
	}
	for _, m := range list {
		if len(m) >= 4 {
			c.add(m[0], m[4:], key, dormant)
		}
	}
	names := map[string]string{"4": "net/ip_tables_names", "6": "net/ip6_tables_names"}[key]
	b, err := k.ReadFile(k.Proc(names))
	if err != nil && !check.IsMissing(err) {
		return c, err
	}
	c.Legacy = len(strings.TrimSpace(string(b))) > 0
	return c, nil
}}

// A table is one of nftables.
type table struct {
	family byte
	name   string
}

// sleeping is the tables that are dormant: their chains look at nothing.
func sleeping(any bool) (map[table]bool, error) {
	if !any {
		return nil, nil
	}
	list, err := netlink.Ask(unix.NETLINK_NETFILTER, unix.NFNL_SUBSYS_NFTABLES<<8|unix.NFT_MSG_GETTABLE, unix.NLM_F_DUMP, make([]byte, 4))
	if err != nil {
		return nil, err
	}
	const attrName, attrFlags, dormant = 1, 2, 1 // NFTA_TABLE_NAME, NFTA_TABLE_FLAGS, NFT_TABLE_F_DORMANT
	tables := map[table]bool{}
	for _, m := range list {
		if len(m) < 4 {
			continue
		}
		t, flags := table{family: m[0]}, uint32(0)
		for typ, v := range netlink.Attributes(m[4:]) {
			switch {
			case typ == attrName:
				t.name = strings.TrimRight(string(v), "\x00")
			case typ == attrFlags && len(v) >= 4:
				flags = binary.BigEndian.Uint32(v)
			}
		}
		tables[t] = flags&dormant != 0
	}
	return tables, nil
}

// add counts a chain, if it is a base chain at output or postrouting of that
// version of IP (include/uapi/linux/netfilter/nf_tables.h).
func (c *Chains) add(family byte, attrs []byte, version string, dormant map[table]bool) {
	const attrTable, attrName, attrHook, attrPolicy, attrUse, attrType, hookNum = 1, 3, 4, 5, 6, 7, 1
	const inet, localOut, postRouting, drop, accept = 1, 3, 4, 0, 1
	if family != inet && (version == "4") != (family == unix.AF_INET) || family != inet && family != unix.AF_INET && family != unix.AF_INET6 {
		return
	}
	hook, policy, use := ^uint32(0), ^uint32(0), ^uint32(0)
	var in, name, typ string
	for t, v := range netlink.Attributes(attrs) {
		switch {
		case t == attrTable:
			in = strings.TrimRight(string(v), "\x00")
		case t == attrName:
			name = strings.TrimRight(string(v), "\x00")
		case t == attrHook:
			for ht, hv := range netlink.Attributes(v) {
				if ht == hookNum && len(hv) >= 4 {
					hook = binary.BigEndian.Uint32(hv)
				}
			}
		case t == attrType:
			typ = strings.TrimRight(string(v), "\x00")
		case t == attrPolicy && len(v) >= 4:
			policy = binary.BigEndian.Uint32(v)
		case t == attrUse && len(v) >= 4:
			use = binary.BigEndian.Uint32(v)
		}
	}
	if hook != localOut && hook != postRouting || dormant[table{family, in}] {
		return
	}
	if policy == accept && use == 0 {
		return // empty: it lets everything through
	}
	c.Count++
	chain := ""
	if plainName(in) && plainName(name) && typ == "filter" {
		chain = map[byte]string{inet: "inet ", unix.AF_INET: "ip ", unix.AF_INET6: "ip6 "}[family] + in + " " + name
	}
	switch {
	case policy == drop && use == 0:
		c.Drop, c.Chain = in+" "+name, chain
	case c.Drop == "" && c.Count == 1:
		c.Chain = chain
	case c.Drop == "":
		c.Chain = ""
	}
}

// plainName says whether nft takes a name without quotes, and no command line is misled by it.
func plainName(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-") == "" && s[0] != '-'
}

// accept is the change that lets this packet through the chain, by a rule at
// its head; false where the packet or the chain is not known well enough.
func accept(o *check.Operation, chain string) (check.Change, bool) {
	ip, err := netip.ParseAddr(o.Str("ip"))
	if chain == "" || err != nil || ip.Zone() != "" {
		return check.Change{}, false
	}
	family := "ip"
	if ip = ip.Unmap(); ip.Is6() {
		family = "ip6"
	}
	rule := family + " daddr " + ip.String()
	switch port := o.Int("port"); {
	case o.Int("type") == unix.SOCK_DGRAM && port > 0 && (!o.Has("proto") || o.Int("proto") == unix.IPPROTO_UDP || o.Int("proto") == 0):
		rule += " udp dport " + strconv.FormatInt(port, 10)
	case o.Int("proto") > 0 && o.Int("proto") < 256:
		rule += " meta l4proto " + strconv.FormatInt(o.Int("proto"), 10)
	default:
		return check.Change{}, false
	}
	return check.Change{Kind: check.AddPolicyRule, Name: "nftables", Path: chain, Value: rule + " accept", Risk: check.LowRisk}, true
}

var outputDoc = check.Doc{
	ID: "netfilter.output", Title: "firewall",
	Text: "A packet that an output rule drops is answered with EPERM to the sender (UDP, ping and raw sockets; TCP waits). The rules are for CAP_NET_ADMIN to see; " +
		"that packets were discarded is for everybody.",
	Kernel: "net/netfilter/core.c:nf_hook_slow; include/linux/netfilter.h:NF_DROP_GETERR; net/ipv4/ip_output.c:ip_send_skb",
	Man:    "nft(8), iptables(8)",
	Cause:  check.Firewall,
	Errnos: []syscall.Errno{syscall.EPERM},
}

// version is of which version of IP the operation is.
func version(o *check.Operation) string {
	if o.Int("family") == unix.AF_INET6 && !strings.Contains(o.Str("ip"), ".") {
		return "6"
	}
	return "4"
}

// Firewall is the gate of output rules.
var Firewall = check.Gate{Doc: &outputDoc, Run: func(p *check.Pass) check.Verdict {
	v := version(p.Op)
	discarded, derr := Discarded.ReadErr(p, v)
	if p.Seen != 0 && derr == nil && discarded.N == 0 {
		return p.AllowFor("no packet was discarded on output in this network namespace")
	}
	ask := check.Change{Kind: check.AskAdministrator, Text: "let the packet through on output (nft list ruleset, iptables -S OUTPUT show the rules; a counter on the rule proves it)"}
	c, err := Output.ReadErr(p, v)
	switch {
	case err == nil && c.Drop != "":
		var left Chains
		if rule, ok := accept(p.Op, c.Chain); ok && !c.Legacy {
			ask, left.Count = rule, c.Count-1 // which may drop it too
		}
		ask.Assume = []check.Assumption{check.AssumeIs(&Output, v, left)}
		return p.Deny("the chain "+check.Printable(c.Drop)+" drops every packet on output", ask)
	case err == nil && c.Count == 0 && !c.Legacy:
		return p.AllowFor("no chain looks at output")
	case p.Seen == 0 && err != nil && derr == nil && discarded.N == 0:
		return p.Faint("no packet was discarded on output so far; the rules are for CAP_NET_ADMIN to see")
	case p.Seen == 0 || derr != nil:
		return p.UnknownFor("an output rule of the firewall may drop the packet; what it decides was not read")
	case err == nil:
		if rule, ok := accept(p.Op, c.Chain); ok && !c.Legacy {
			rule.Assume = []check.Assumption{check.AssumeIs(&Output, v, Chains{})}
			ask = rule
		}
		return p.Infer(fmt.Sprintf("rules look at output, and this network namespace has discarded packets there (OutDiscards is %d)", discarded.N), ask)
	}
	return p.Infer(fmt.Sprintf("this network namespace has discarded packets on output (OutDiscards is %d), as a rule of the firewall does", discarded.N), ask)
}}

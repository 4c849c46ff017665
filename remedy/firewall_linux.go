package remedy

import (
	"strings"

	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/container"
)

// firewall lets one packet through at the head of one chain: Path is the chain
// as nft takes it, Value the rule.
func (r *renderer) firewall() {
	c := r.change
	chain := strings.Fields(c.Path)
	list := append([]string{"nft", "-a", "list", "chain"}, chain...)
	insert := append(append([]string{"nft", "insert", "rule"}, chain...), strings.Fields(c.Value)...)
	r.everywhere(func(p container.Place) {
		x := check.Remedy{For: "host", Title: "let exactly this packet through, by a rule at the head of the chain " + c.Path, Commands: [][]string{insert}, Verify: [][]string{list},
			Warning: "It lasts until the rules are loaded again: put it into the file that does so (/etc/nftables.conf, firewalld, ufw)."}
		if p.Container() || len(p.Within) > 0 { // a container has no CAP_NET_ADMIN, and its image no nft
			enter := []string{"nsenter", "--target", "PID", "--net", "--"}
			x.Commands, x.Verify = [][]string{append(enter, insert...)}, [][]string{append(enter, list...)}
			x.Title += " of the container's network namespace, from outside (PID is one of its processes, as the host numbers it)"
		}
		r.add(x)
	})
}

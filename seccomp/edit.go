package seccomp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
)

// ErrConflict says that a profile has a rule with conditions on arguments that
// refuses the same call, so that one rule more would not decide.
var ErrConflict = errors.New("a rule of the profile refuses this call for some arguments")

// AddTo is a profile of docker or podman that lets the call through, and is else
// the same: what the patch does not concern stays as it is, in its order, also
// what this library does not know; only the indentation is made uniform.
//
// Where a rule refuses the call, it is taken out of that rule; if the patch has
// conditions, rules with the contrary conditions take its place, as libseccomp
// lets a rule without conditions count before those with. Where that is not
// possible the error wraps ErrConflict. It wraps EINVAL for a patch or a
// profile that is none. A profile that has the rule already stays the same.
func (p Patch) AddTo(profile []byte) ([]byte, error) {
	if err := p.Check(); err != nil {
		return nil, err
	}
	top, err := members(profile)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", err, syscall.EINVAL)
	}
	if _, err := ParseProfile(profile); err != nil {
		return nil, err
	}
	var usual struct {
		Action string  `json:"defaultAction"`
		Errno  *uint32 `json:"defaultErrnoRet"`
	}
	if err := json.Unmarshal(profile, &usual); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", err, syscall.EINVAL)
	}
	byDefault, _ := actionOf(usual.Action, usual.Errno)

	at := slices.IndexFunc(top, func(m member) bool { return strings.EqualFold(m.key, "syscalls") })
	if at < 0 {
		at, top = len(top), append(top, member{"syscalls", json.RawMessage("[]")})
	}
	var rules []json.RawMessage
	if err := json.Unmarshal(top[at].value, &rules); err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", err, syscall.EINVAL)
	}
	rules, has, err := p.edit(rules)
	if err != nil {
		return nil, err
	}
	if !has && byDefault != ActionAllow {
		rule, err := json.Marshal(p.Rule())
		if err != nil {
			return nil, err
		}
		rules = append(rules, rule)
	}
	if rules == nil {
		rules = []json.RawMessage{}
	}
	if top[at].value, err = json.Marshal(rules); err != nil {
		return nil, err
	}
	return indented(object(top))
}

// edit takes the call out of the rules that refuse it. has says that the rule
// which the patch adds is there.
func (p Patch) edit(rules []json.RawMessage) (out []json.RawMessage, has bool, err error) {
	for _, raw := range rules {
		var r struct {
			Rule
			Name string `json:"name"`
		}
		if err := json.Unmarshal(raw, &r); err != nil {
			return nil, false, fmt.Errorf("seccomp profile: %w: %w", err, syscall.EINVAL)
		}
		if r.Name != "" {
			r.Names = append(r.Names, r.Name)
		}
		concerns := slices.Contains(r.Names, p.Call)
		switch {
		case concerns && r.Action == allow:
			has = has || r.Includes == nil && r.Excludes == nil && (len(r.Args) == 0 || slices.Equal(r.Args, p.Args))
			out = append(out, raw)
			continue
		case !concerns || p.apart(r.Args):
			out = append(out, raw)
			continue
		case len(p.Args) > 0 && len(r.Args) > 0:
			return nil, false, fmt.Errorf("seccomp patch for %s: %w", p.Call, ErrConflict)
		}
		rest := slices.DeleteFunc(slices.Clone(r.Names), func(n string) bool { return n == p.Call })
		if len(rest) > 0 {
			less, err := replaced(raw, rest, nil)
			if err != nil {
				return nil, false, err
			}
			out = append(out, less)
		}
		for _, a := range p.Args {
			for _, c := range a.contrary() {
				refuses, err := replaced(raw, []string{p.Call}, []Arg{c})
				if err != nil {
					return nil, false, err
				}
				out = append(out, refuses)
			}
		}
	}
	return out, has, nil
}

// apart says that a rule's conditions and those of the patch are contrary: it
// is one of those that AddTo makes.
func (p Patch) apart(conditions []Arg) bool {
	if len(conditions) != 1 {
		return false
	}
	for _, a := range p.Args {
		if slices.Contains(a.contrary(), conditions[0]) {
			return true
		}
	}
	return false
}

// replaced is a rule with other names, and other conditions if there are any.
func replaced(rule json.RawMessage, names []string, args []Arg) (json.RawMessage, error) {
	ms, err := members(rule)
	if err != nil {
		return nil, fmt.Errorf("seccomp profile: %w: %w", err, syscall.EINVAL)
	}
	text, err := json.Marshal(names)
	if err != nil {
		return nil, err
	}
	out := []member{{"names", text}}
	for _, m := range ms {
		switch {
		case strings.EqualFold(m.key, "names"), strings.EqualFold(m.key, "name"):
		case strings.EqualFold(m.key, "args") && args != nil:
		default:
			out = append(out, m)
		}
	}
	if args != nil {
		if text, err = json.Marshal(args); err != nil {
			return nil, err
		}
		out = append(out, member{"args", text})
	}
	return object(out), nil
}

// A member is one of a JSON object; a map would lose the order.
type member struct {
	key   string
	value json.RawMessage
}

// members are those of a JSON object. A key that is there twice, in whatever
// case, is an error: encoding/json, and with it the runtimes, would take the last.
func members(text []byte) ([]member, error) {
	d := json.NewDecoder(bytes.NewReader(text))
	if t, err := d.Token(); err != nil || t != json.Delim('{') {
		return nil, errors.Join(errors.New("not a JSON object"), err)
	}
	var out []member
	for d.More() {
		t, err := d.Token()
		if err != nil {
			return nil, err
		}
		key, _ := t.(string)
		if slices.ContainsFunc(out, func(m member) bool { return strings.EqualFold(m.key, key) }) {
			return nil, fmt.Errorf("%q is there twice", key)
		}
		var value json.RawMessage
		if err := d.Decode(&value); err != nil {
			return nil, err
		}
		out = append(out, member{key, value})
	}
	if _, err := d.Token(); err != nil {
		return nil, err
	}
	if d.More() {
		return nil, errors.New("more than one JSON value")
	}
	return out, nil
}

func object(ms []member) json.RawMessage {
	b := []byte{'{'}
	for i, m := range ms {
		if i > 0 {
			b = append(b, ',')
		}
		key, err := json.Marshal(m.key)
		if err != nil {
			continue // a string: there is none
		}
		b = append(append(append(b, key...), ':'), m.value...)
	}
	return append(b, '}')
}

func indented(text []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Indent(&b, text, "", "\t"); err != nil {
		return nil, err
	}
	b.WriteByte('\n')
	return b.Bytes(), nil
}

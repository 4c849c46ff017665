package record

import (
	"encoding/hex"
	"strings"
)

// The modules of records.
const (
	SELinux  = "selinux"
	AppArmor = "apparmor"
	Seccomp  = "seccomp"
	Landlock = "landlock"
	Yama     = "yama"
	Lockdown = "lockdown"
)

// A Record is one line about a refusal, or what would be one in another mode.
type Record struct {
	Module string
	// Denied says whether the call was refused: complain profiles and permissive
	// domains write records too.
	Denied bool
	// PID is the process that was refused; 0 where the record does not tell.
	PID int
	// Kin marks the record of another process of the same name: a refused exec
	// is recorded under the child that called it.
	Kin bool
	// Age is how long before the question it was written, in milliseconds.
	Age int64
	// Text is the record without its time stamp.
	Text string
}

// hexed are the fields whose values are written in hexadecimal digits where
// they hold a quote, a blank or a control character
// (kernel/audit.c:audit_log_untrustedstring).
var hexed = map[string]bool{"comm": true, "exe": true, "name": true, "path": true, "profile": true, "ocomm": true, "srcname": true, "target": true,
	"peer": true, "label": true, "peer_label": true, "old_name": true, "dev": true, "cwd": true, "proctitle": true, "addr": true, "peer_addr": true}

// Field is the value of a field, decoded; "" where there is none. Of several of
// one name the first counts: later ones are of other parts of the record.
func (r Record) Field(name string) string {
	v, _ := r.Lookup(name)
	return v
}

// Lookup is Field, and whether the field is there.
func (r Record) Lookup(name string) (string, bool) {
	for k, v := range r.fields() {
		if k == name {
			return v, true
		}
	}
	return "", false
}

// Int is a decimal field; ok is false where it is missing or no number.
func (r Record) Int(name string) (n int64, ok bool) {
	v, ok := r.Lookup(name)
	if !ok {
		return 0, false
	}
	return number(v)
}

// Perms are the permissions of an AVC record: "{ read open }".
func (r Record) Perms() []string {
	_, rest, ok := strings.Cut(r.Text, "{")
	if !ok {
		return nil
	}
	in, _, ok := strings.Cut(rest, "}")
	if !ok {
		return nil
	}
	return strings.Fields(in)
}

// fields yields name and decoded value of each field, in order.
func (r Record) fields() func(func(string, string) bool) {
	return func(yield func(string, string) bool) {
		rest := r.Text
		for rest != "" {
			rest = strings.TrimLeft(rest, " ,\t")
			end := strings.IndexAny(rest, " =")
			if end < 0 {
				return
			}
			if rest[end] == ' ' { // a bare word: "avc:", "denied"
				rest = rest[end+1:]
				continue
			}
			name := rest[:end]
			rest = rest[end+1:]
			var value string
			if strings.HasPrefix(rest, `"`) {
				i := strings.IndexByte(rest[1:], '"')
				if i < 0 { // cut off
					return
				}
				value, rest = rest[1:1+i], rest[2+i:]
			} else {
				value, rest, _ = strings.Cut(rest, " ")
				value = unhex(name, value)
			}
			if !yield(name, value) {
				return
			}
		}
	}
}

func unhex(name, value string) string {
	if value == "(null)" {
		return ""
	}
	if !hexed[name] || len(value) < 2 || len(value)%2 != 0 || strings.ToUpper(value) != value {
		return value
	}
	b, err := hex.DecodeString(value)
	if err != nil {
		return value
	}
	return string(b)
}

// number reads a decimal number with an optional sign, of at most 18 digits.
func number(s string) (n int64, ok bool) {
	digits := strings.TrimPrefix(s, "-")
	if digits == "" || len(digits) > 18 {
		return 0, false
	}
	for _, c := range []byte(digits) {
		if c < '0' || c > '9' {
			return 0, false
		}
		n = n*10 + int64(c-'0')
	}
	if digits != s {
		n = -n
	}
	return n, true
}

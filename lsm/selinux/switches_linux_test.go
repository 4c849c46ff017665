package selinux_test

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/kerneltest"
	"github.com/go-eperm/eperm/lsm/selinux"
	"github.com/go-eperm/eperm/op"
)

// switches puts the policy with everything of the tests in force, and makes a directory.
func switches(t *testing.T) (dir, text string) {
	kerneltest.Require(t, kerneltest.Root, kerneltest.LSM("selinux"), kerneltest.Program("secilc"), guest)
	text = source(t, "labels.cil") + source(t, "switches.cil")
	return kerneltest.Once(t, func() string {
		load(t, text)
		dir, err := os.MkdirTemp("", "switches")
		require.NoError(t, err)
		require.NoError(t, os.Chmod(dir, 0o777))
		label(t, dir, "u:object_r:data_t")
		labelled(t, dir+"/secret", "u:object_r:secret_t")
		require.NoError(t, os.WriteFile(dir+"/tool", tool(), 0o755))
		label(t, dir+"/tool", "u:object_r:tool_t")
		enforce(t, "1")
		t.Cleanup(func() { enforce(t, "0"); load(t, "") })
		return dir
	}), text
}

// tool is a program for amd64 that ends at once, with 0.
func tool() []byte {
	code := []byte{0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05} // mov eax, 60; xor edi, edi; syscall
	head := []byte("\x7fELF\x02\x01\x01\x00\x00\x00\x00\x00\x00\x00\x00\x00" +
		"\x02\x00\x3e\x00\x01\x00\x00\x00\x78\x00\x40\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x40\x00\x38\x00\x01\x00\x00\x00\x00\x00\x00\x00" +
		"\x01\x00\x00\x00\x05\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x00\x00\x40\x00\x00\x00\x00\x00\x81\x00\x00\x00\x00\x00\x00\x00\x81\x00\x00\x00\x00\x00\x00\x00\x00\x10\x00\x00\x00\x00\x00\x00")
	return append(head, code...)
}

// refused tries a call in a domain until it succeeds: each time the diagnosis has to be
// sure and to offer a rule, which is then loaded. It returns the permissions that were lacking.
func refused(t *testing.T, text string, operation eperm.Operation, try func() error, look func(c *kerneltest.C, step int, d *eperm.Diagnosis)) (rules []string) {
	for step := 0; step < 6; step++ {
		rule := kerneltest.Value(t, kerneltest.Subject{}, func(c *kerneltest.C) string {
			err := try()
			if err == nil {
				return ""
			}
			d := eperm.Explainer{Timeout: 10 * time.Second}.Explain(err, operation)
			require.NotNil(c, d, "%v", err)
			require.Equal(c, eperm.SELinux, d.Cause, "%+v", d)
			require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
			if look != nil {
				look(c, step, d)
			}
			for _, r := range d.Remedies {
				if r.SnippetKind == "cil" {
					return r.Snippet
				}
			}
			c.Fatalf("no rule: %+v", d)
			return ""
		})
		if rule == "" {
			return rules
		}
		rules = append(rules, strings.Split(strings.TrimSpace(rule), "\n")...)
		kerneltest.Once(t, func() bool { load(t, text+strings.Join(rules, "\n")); return true })
	}
	t.Fatalf("still refused after %v", rules)
	return nil
}

// TestPolicyAgrees: what the rules of the policy's file allow is what the kernel answers.
func TestPolicyAgrees(t *testing.T) {
	switches(t)
	for _, value := range []string{"0", "1"} {
		require.NoError(t, os.WriteFile(fs+"booleans/lab_read", []byte(value), 0))
		require.NoError(t, os.WriteFile(fs+"commit_pending_bools", []byte("1"), 0))
		b, err := os.ReadFile(fs + "policy")
		require.NoError(t, err)
		p, err := selinux.ReadPolicy(b)
		require.NoError(t, err)
		asked, some := 0, 0
		for _, class := range p.Classes() {
			var index int
			text, err := os.ReadFile(fs + "class/" + class + "/index")
			require.NoError(t, err)
			_, err = fmt.Sscan(string(text), &index)
			require.NoError(t, err)
			for _, source := range p.Types() {
				for _, target := range p.Types() {
					role := map[bool]string{true: "r", false: "object_r"}
					domain := func(typ string) bool {
						return typ == "init_t" || strings.HasPrefix(typ, "confined") || typ == "httpd_t" || typ == "tool_dom_t" || typ == "perm_t" || typ == "blind_t"
					}
					fd, err := unix.Open(fs+"access", unix.O_RDWR|unix.O_CLOEXEC, 0) // one question each
					require.NoError(t, err)
					_, err = unix.Write(fd, fmt.Appendf(nil, "u:%s:%s u:%s:%s %d", role[domain(source)], source, role[domain(target)], target, index))
					if errors.Is(err, unix.EINVAL) { // an attribute is no type of a context
						unix.Close(fd)
						continue
					}
					require.NoError(t, err, "%s %s", source, target)
					var buf [128]byte
					n, err := unix.Pread(fd, buf[:], 0)
					unix.Close(fd)
					require.NoError(t, err)
					var kernel uint32
					_, err = fmt.Sscanf(string(buf[:n]), "%x", &kernel)
					require.NoError(t, err)
					allowed, all := p.Allowed(source, target, class)
					require.Equal(t, kernel&all, allowed, "%s %s %s", source, target, class)
					asked++
					if allowed != 0 {
						some++
					}
				}
			}
		}
		require.Greater(t, asked, 1000)
		require.Greater(t, some, 50)
		t.Logf("%d questions, %d with something allowed", asked, some)
	}
}

// TestBooleans: the boolean that would allow it is named, and does.
func TestBooleans(t *testing.T) {
	dir, _ := switches(t)
	in(t, "httpd_t")
	path := dir + "/secret"
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		d := explained(c, path, eperm.Explainer{})
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		var found []string
		for _, r := range d.Remedies {
			if r.Change.Kind == check.SetBoolean {
				found = append(found, strings.Join(r.Commands[0], " ")+": "+r.Then)
			}
		}
		require.Equal(c, []string{"setsebool -P lab_read on: enough"}, found, "%+v", d)
	})
	kerneltest.Once(t, func() bool {
		require.NoError(t, os.WriteFile(fs+"booleans/lab_read", []byte("1"), 0))
		require.NoError(t, os.WriteFile(fs+"commit_pending_bools", []byte("1"), 0))
		return true
	})
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.NoError(c, readFile(path)) })
}

// TestPorts: the port's context is that of the policy; its type, or a rule, lets it be used.
func TestPorts(t *testing.T) {
	_, text := switches(t)
	in(t, "httpd_t")
	listen := func(address string) func() error {
		return func() error {
			l, err := net.Listen("tcp4", address)
			if err == nil {
				l.Close()
			}
			return err
		}
	}
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) { require.NoError(c, listen("127.0.0.1:9001")(), "a port of the service") })
	rules := refused(t, text, op.Bind("tcp4", "127.0.0.1:8081"), listen("127.0.0.1:8081"), func(c *kerneltest.C, _ int, d *eperm.Diagnosis) {
		require.Contains(c, d.Summary, "httpd_t { name_bind } on port 8081 (tcp) (tcp_socket, u:object_r:lab_port_t)")
		require.Equal(c, []string{"semanage", "port", "-a", "-t", "http_port_t", "-p", "tcp", "8081"}, d.Remedies[0].Commands[0], "%+v", d)
		require.Equal(c, "enough", d.Remedies[0].Then, "%+v", d)
	})
	require.Equal(t, []string{"(allow httpd_t lab_port_t (tcp_socket (name_bind)))"}, rules)
	dial := func() error {
		conn, err := net.DialTimeout("tcp4", "127.0.0.1:8081", time.Second)
		if err == nil {
			conn.Close()
		}
		if errors.Is(err, unix.ECONNREFUSED) { // got through to nobody
			return nil
		}
		return err
	}
	rules = refused(t, text, op.Connect("tcp4", "127.0.0.1:8081"), dial, nil)
	require.Equal(t, []string{"(allow httpd_t lab_port_t (tcp_socket (name_connect)))"}, rules)
	kerneltest.Once(t, func() bool {
		load(t, strings.Replace(text, "(allow httpd_t lab_node_t (tcp_socket (node_bind)))", "", 1))
		return true
	})
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		err := listen("127.0.0.1:9001")()
		d := eperm.Explainer{Timeout: 5 * time.Second}.Explain(err, op.Bind("tcp4", "127.0.0.1:9001"))
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "{ node_bind } on the address 127.0.0.1", "%+v", d)
	})
}

// TestNew: what is new is judged by the context that it would get, and by where it would be.
func TestNew(t *testing.T) {
	dir, text := switches(t)
	in(t, "httpd_t")
	rules := refused(t, text, op.Mkdir(dir+"/new"), func() error { return os.Mkdir(dir+"/new", 0o755) }, func(c *kerneltest.C, step int, d *eperm.Diagnosis) {
		if step == 0 {
			require.Contains(c, d.Summary, "httpd_t { create } on the new dir (dir, u:object_r:new_t)")
		}
	})
	require.Equal(t, "(allow httpd_t new_t (dir (create)))", rules[0])
	require.Len(t, rules, 2)
	require.Regexp(t, `^\(allow new_t (data_t|exec_t) \(filesystem \(associate\)\)\)$`, rules[1])
	create := func(name string) func() error {
		return func() error {
			fd, err := unix.Open(filepath.Join(dir, name), unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY, 0o644)
			if err != nil {
				return err
			}
			return unix.Close(fd)
		}
	}
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		require.NoError(c, create("common file")())
		err := create("special file")()
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explainer{Timeout: 5 * time.Second}.Explain(err, op.Open(dir+"/special file", unix.O_CREAT|unix.O_EXCL|unix.O_WRONLY))
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "{ create } on the new file (file, u:object_r:secret_t)", "its name decides")
	})
}

// TestExec: to run a program in the same domain, and in one of its own.
func TestExec(t *testing.T) {
	dir, text := switches(t)
	in(t, "httpd_t")
	path := dir + "/tool"
	run := func() error { return exec.Command(path).Run() }
	rules := refused(t, text, op.Exec(path), run, nil)
	require.Equal(t, "(allow httpd_t tool_t (file (execute)))", rules[0])
	require.Contains(t, rules, "(allow httpd_t tool_t (file (execute_no_trans)))")
	stay := strings.Join(rules[:len(rules)-1], "\n") // all but execute_no_trans, or what came after it
	if i := len(rules) - 1; !strings.Contains(rules[i], "execute_no_trans") {
		stay = strings.ReplaceAll(strings.Join(rules, "\n"), "(allow httpd_t tool_t (file (execute_no_trans)))", "")
	}
	text += stay + "\n(typetransition httpd_t tool_t process tool_dom_t)\n"
	kerneltest.Once(t, func() bool { load(t, text); return true })
	rules = refused(t, text, op.Exec(path), run, nil)
	require.Equal(t, []string{"(allow httpd_t tool_dom_t (process (transition)))", "(allow tool_dom_t tool_t (file (entrypoint)))"}, rules)
	text += strings.Join(rules, "\n")
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		require.NoError(c, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		cmd := exec.Command(path)
		err := cmd.Run()
		require.ErrorIs(c, err, unix.EACCES)
		d := eperm.Explainer{Timeout: 5 * time.Second, Probes: true}.Explain(err, op.Exec(path)) // with no_new_privs it may be Landlock
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "{ execute_no_trans }", "%+v", d)
		require.Equal(c, "(allow httpd_t tool_dom_t (process2 (nnp_transition)))\n", d.Remedies[0].Snippet, "%+v", d)
		require.Equal(c, "enough", d.Remedies[0].Then, "%+v", d)
		require.Contains(c, strings.Join(d.Notes, " "), "Without no_new_privs", "%+v", d)
		require.Contains(c, strings.Join(d.Notes, " "), "tool_dom_t", "%+v", d)
	})
	kerneltest.Once(t, func() bool { load(t, text+"\n(allow httpd_t tool_dom_t (process2 (nnp_transition)))"); return true })
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		require.NoError(c, unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0))
		require.NoError(c, run())
	})
}

// TestIPC: nobody can ask the context of an object of System V IPC; a record tells it.
func TestIPC(t *testing.T) {
	switches(t)
	const key = 0x5e11
	get := eperm.Operation{Call: "shmget", Args: []check.Arg{check.I("key", key), check.I("bytes", 4096), check.I("flags", 0)}}
	kerneltest.Once(t, func() bool {
		id, _, e := unix.Syscall(unix.SYS_SHMGET, key, 4096, unix.IPC_CREAT|0o666)
		require.Zero(t, e)
		t.Cleanup(func() { _, _, _ = unix.Syscall(unix.SYS_SHMCTL, id, unix.IPC_RMID, 0) })
		return true
	})
	in(t, "httpd_t")
	kerneltest.Child(t, kerneltest.Subject{}, func(c *kerneltest.C) {
		_, _, e := unix.Syscall(unix.SYS_SHMGET, key, 4096, 0)
		require.Equal(c, unix.EACCES, e)
		d := eperm.Explainer{Timeout: 5 * time.Second}.Explain(syscall.EACCES, get)
		require.Equal(c, eperm.SELinux, d.Cause, "%+v", d)
		require.Equal(c, eperm.Possible, d.Certainty, "%+v", d)
		d = recorded(c, func() *eperm.Diagnosis {
			return eperm.Explainer{Timeout: 5 * time.Second, KernelLog: true}.Explain(syscall.EACCES, get)
		})
		require.Equal(c, eperm.Confirmed, d.Certainty, "%+v", d)
		require.Contains(c, d.Summary, "httpd_t {", "%+v", d)
	})
}

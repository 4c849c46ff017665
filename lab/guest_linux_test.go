package lab

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/go-eperm/eperm/kerneltest"
)

// slots lets two guests run at a time: each has one processor.
var slots = make(chan struct{}, 2)

// cacheDir is where lab/fetch puts kernels.
func cacheDir() string {
	if d := os.Getenv("EPERM_LAB_CACHE"); d != "" {
		return d
	}
	d, err := os.UserCacheDir()
	if err != nil {
		return "/nonexistent"
	}
	return filepath.Join(d, "eperm-lab")
}

func kernelDir(series string) string { return filepath.Join(cacheDir(), "kernels", series) }

// inLab is what the tests here cannot do without. Name: lab.
var inLab = kerneltest.Needs("lab", func() string {
	if runtime.GOARCH != "amd64" {
		return "the kernels of the lab are for amd64"
	}
	for _, program := range []string{"qemu-system-x86_64", "go"} {
		if _, err := exec.LookPath(program); err != nil {
			return err.Error()
		}
	}
	for _, series := range []string{"6.1", "6.12"} {
		if _, err := os.Stat(filepath.Join(kernelDir(series), "vmlinuz")); err != nil {
			return fmt.Sprintf("%v (run lab/fetch)", err)
		}
	}
	return ""
})

// have says whether lab/fetch found this kernel. Name: lab-SERIES.
func have(series string) kerneltest.Need {
	return kerneltest.Needs("lab-"+series, func() string {
		if _, err := os.Stat(filepath.Join(kernelDir(series), "vmlinuz")); err != nil {
			return err.Error()
		}
		return ""
	})
}

// A boot is one guest, and what runs in it.
type boot struct {
	name    string            // of the subtest: what is special about it
	kernels []string          // series (directories in the cache)
	lsm     string            // lsm=
	append  string            // more words for the kernel's command line
	sysctls map[string]string // written before anything runs
	ext4    bool              // /var/tmp is on ext4
	limit   time.Duration     // how long it may take; 0 is -lab.limit's minute
	modules []string          // kernel modules to load besides, each after those that it needs
	groups  []string          // controllers of version 1
	program []string          // programs of the host that the guest gets, with their libraries
	files   func(t *testing.T, a archive, series string)
	must    string // EPERM_TEST_MUST in the guest
	run     []test
}

// A test is one test binary of this module, as one user.
type test struct {
	pkg string // directory of the package in the module; "." is its root
	run string // -test.run; "" is all
	uid int    // 0 is root
	env []string
	// skipped says which tests may skip here, by a declared need; nil lets all.
	args []string
}

var build struct {
	sync.Mutex
	dir  string
	done map[string]string
}

// built compiles a package's tests, or with main its program, as a static
// binary, once.
func built(t *testing.T, pkg string, main bool) string {
	build.Lock()
	defer build.Unlock()
	if out, ok := build.done[pkg]; ok {
		return out
	}
	out := filepath.Join(build.dir, fmt.Sprintf("%d", len(build.done)))
	args := []string{"test", "-c", "-vet=off", "-o", out, "-ldflags", "-s -w", "./" + pkg}
	if main {
		args = []string{"build", "-o", out, "-ldflags", "-s -w", "./" + pkg}
	}
	cmd := exec.Command("go", args...)
	cmd.Dir = ".."
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64", "GOFLAGS=")
	text, err := cmd.CombinedOutput()
	require.NoError(t, err, "go %s: %s", strings.Join(args, " "), text)
	build.done[pkg] = out
	return out
}

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "eperm-lab")
	if err != nil {
		panic(err)
	}
	build.dir, build.done = dir, map[string]string{}
	code := m.Run()
	if err := os.RemoveAll(dir); err != nil {
		panic(err)
	}
	os.Exit(code)
}

// initramfs is everything that the guest has.
func (b boot) initramfs(t *testing.T, series, nonce string) archive {
	a := archive{}
	for _, d := range []string{"proc", "sys", "dev", "run", "lab", "etc", "var", "usr/bin", "home", "root", "mnt", "src"} {
		a.dir(d, 0o755)
	}
	a.dir("tmp", 0o1777)
	a.dir("var/tmp", 0o1777)
	a.text("etc/passwd", "root:x:0:0::/root:/bin/sh\nuser:x:1000:1000::/tmp:/bin/sh\nnobody:x:65534:65534::/tmp:/bin/sh\n", 0o644)
	a.text("etc/group", "root:x:0:\nuser:x:1000:\nnogroup:x:65534:\n", 0o644)
	a.text("etc/hosts", "127.0.0.1 localhost lab\n::1 localhost\n", 0o644)
	a.text("etc/hostname", "lab\n", 0o644)
	a.text("etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files\n", 0o644)
	a.file("init", built(t, "lab/init", true), 0o755)

	for _, link := range []string{"bin", "sbin"} {
		a.add(link, entry{mode: modeLink | 0o777, data: []byte("usr/bin")})
	}
	plan := Plan{Nonce: nonce, Groups: b.groups, Sysctls: map[string]string{"kernel/printk_ratelimit": "0"}}
	for k, v := range b.sysctls {
		plan.Sysctls[k] = v
	}
	for _, m := range append([]string{"loop", "libcrc32c"}, b.modules...) { // libcrc32c comes first, xfs needs it
		file := filepath.Join(kernelDir(series), "modules", m+".ko")
		if _, err := os.Stat(file); err == nil {
			a.file("lab/modules/"+m+".ko", file, 0o644)
			plan.Modules = append(plan.Modules, "/lab/modules/"+m+".ko")
		}
	}
	if b.ext4 {
		image := filepath.Join(t.TempDir(), "ext4")
		f, err := os.Create(image)
		require.NoError(t, err)
		require.NoError(t, f.Truncate(48<<20))
		require.NoError(t, f.Close())
		out, err := exec.Command("mkfs.ext4", "-q", "-b", "4096", "-O", "verity,^metadata_csum", image).CombinedOutput() // with checksums of metadata FS_IOC_SETVERSION is refused to everybody
		require.NoError(t, err, "%s", out)
		a.file("lab/ext4", image, 0o600)
		plan.Ext4 = "/lab/ext4"
	}
	for _, p := range b.program {
		program(t, a, p)
	}
	if b.files != nil {
		b.files(t, a, series)
	}
	for _, r := range b.run {
		binary := "lab/" + strings.ReplaceAll(r.pkg, "/", "-") + ".test"
		if r.pkg == "." {
			binary = "lab/eperm.test"
		}
		a.file(binary, built(t, r.pkg, false), 0o755)
		dir := path.Join("src", r.pkg)
		a.dir(dir, 0o755)
		if data := filepath.Join("..", r.pkg, "testdata"); isDir(data) {
			require.NoError(t, a.tree(path.Join(dir, "testdata"), data))
		}
		args := append([]string{"-test.v=test2json", "-test.paniconexit0", fmt.Sprintf("-test.timeout=%v", b.time()-5*time.Second)}, r.args...)
		filter := r.run
		if *runFlag != "" {
			filter = *runFlag
		}
		if filter != "" {
			args = append(args, "-test.run="+filter)
		}
		env := append([]string{kerneltest.Must + "=" + b.mustOf(r)}, r.env...)
		plan.Runs = append(plan.Runs, Run{Name: r.name(), Binary: "/" + binary, Dir: "/" + dir, Args: args, Env: env, UID: r.uid, Seconds: int(b.time().Seconds()) - 3})
	}
	text, err := json.MarshalIndent(plan, "", "\t")
	require.NoError(t, err)
	a.text(PlanFile, string(text), 0o644)
	return a
}

// time is how long the boot may take.
func (b boot) time() time.Duration { return max(b.limit, *limitFlag) }

func (b boot) mustOf(r test) string {
	if r.uid != 0 {
		return ""
	}
	return b.must
}

func (r test) name() string {
	name := r.pkg
	if r.pkg == "." {
		name = "eperm"
	}
	if r.uid != 0 {
		name += fmt.Sprintf(" as uid %d", r.uid)
	}
	return name
}

func isDir(name string) bool {
	info, err := os.Stat(name)
	return err == nil && info.IsDir()
}

// program adds a program of the host with the libraries that it is linked to.
func program(t *testing.T, a archive, name string) {
	file, err := exec.LookPath(name)
	require.NoError(t, err)
	real, err := filepath.EvalSymlinks(file)
	require.NoError(t, err)
	a.file("usr/bin/"+path.Base(name), real, 0o755)
	out, err := exec.Command("ldd", real).Output() // fails for what is static: it needs nothing
	if err != nil {
		return
	}
	for _, w := range strings.Fields(string(out)) {
		if strings.HasPrefix(w, "/") {
			a.file(w, w, 0o755)
		}
	}
}

// A guestRun is what one run wrote, and how it ended ("" did not).
type guestRun struct {
	output []byte
	end    string
}

// start boots the guest, and returns what its runs wrote and its console.
func (b boot) start(t *testing.T, series string) (runs []guestRun, console string) {
	slots <- struct{}{}
	defer func() { <-slots }()
	dir := t.TempDir()
	nonce := "lab-" + rand.Text()
	initrd, results := filepath.Join(dir, "initrd"), filepath.Join(dir, "results")
	f, err := os.Create(initrd)
	require.NoError(t, err)
	require.NoError(t, b.initramfs(t, series, nonce).write(f))
	require.NoError(t, f.Close())

	ctx, cancel := context.WithTimeout(context.Background(), b.time())
	defer cancel()
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "qemu-system-x86_64", "-M", "pc", "-m", "1024", "-nodefaults", "-no-user-config", "-display", "none",
		"-no-reboot", "-serial", "stdio", "-serial", "file:"+results, "-kernel", filepath.Join(kernelDir(series), "vmlinuz"), "-initrd", initrd,
		"-append", "console=ttyS0 panic=-1 quiet mitigations=off nokaslr no_timer_check lsm="+b.lsm+" "+b.append)
	cmd.Stdout, cmd.Stderr = &out, &out
	cmd.WaitDelay = 5 * time.Second
	begin := time.Now()
	err = cmd.Run()
	t.Logf("Linux %s, lsm=%s %s: %v", series, b.lsm, b.append, time.Since(begin).Round(100*time.Millisecond))
	console = out.String()
	switch {
	case ctx.Err() != nil:
		t.Errorf("the guest did not power off within %v; its console:\n%s", b.time(), console)
	case err != nil:
		t.Errorf("QEMU: %v; the console:\n%s", err, console)
	}
	text, err := os.ReadFile(results)
	require.NoError(t, err, "the console:\n%s", console)
	return split(text, nonce, len(b.run)), console
}

// split takes the protocol of lab/init apart.
func split(text []byte, nonce string, n int) []guestRun {
	runs := make([]guestRun, n)
	at := -1
	for len(text) > 0 {
		line := text
		if i := bytes.IndexByte(text, '\n'); i >= 0 {
			line = text[:i+1]
		}
		text = text[len(line):]
		words := strings.Fields(string(line))
		if len(words) < 2 || words[0] != nonce {
			if at >= 0 {
				runs[at].output = append(runs[at].output, line...)
			}
			continue
		}
		var i int
		if len(words) > 2 {
			if _, err := fmt.Sscanf(words[2], "%d", &i); err != nil || i < 0 || i >= n {
				continue
			}
		}
		switch words[1] {
		case "run":
			at = i
		case "end":
			runs[i].end, at = strings.Join(words[3:], " "), -1
		}
	}
	return runs
}

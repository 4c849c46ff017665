// Package archtest checks the architecture: who imports whom, documentation of
// packages, no init functions, no mutable package state.
package archtest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

const module = "github.com/go-eperm/eperm"

// layers is the import order: a package imports only of layers below its own,
// or of its own subtree. Packages of one layer do not import each other,
// except as allowed says.
var layers = [][]string{
	{"check", "internal/sysnum", "internal/netlink", "internal/compat", "internal/errtree"},
	{"op", "task"},
	{"userns", "inode"},
	{"capability", "attr", "mount", "lsm", "sysctl", "limit", "cgroup", "container", "netfilter"},
	{"dac", "seccomp"},
	{"rules", "remedy"},
	{""},
	{"kerneltest"},
	{"epermtest", "cmd", "examples", "lab", "internal"},
}

// kits are the first of the layers that are test kits and programs.
const kits = "kerneltest"

// allowed are imports within a layer.
var allowed = map[string][]string{
	"userns": {"inode"},
	"attr":   {"mount"},
	// the story of a capability: who left it out, whether the file's mount lets it count
	"capability": {"mount", "container"},
}

// outside are the packages that the library may import from other modules.
var outside = []string{"golang.org/x/sys/", "golang.org/x/net/bpf", "github.com/moby/sys/mountinfo"}

// variables are package-level variables that are caches of boot constants.
var variables = []string{}

type file struct {
	dir  string // relative to the module's root
	name string
	ast  *ast.File
	test bool
}

func load(t *testing.T) []file {
	root, err := filepath.Abs("../..")
	require.NoError(t, err)
	var files []file
	fset := token.NewFileSet()
	require.NoError(t, filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if strings.HasPrefix(d.Name(), ".") || d.Name() == "testdata" {
				return filepath.SkipDir
			}
			if _, err := os.Stat(filepath.Join(path, "go.mod")); err == nil && path != root {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") {
			return nil
		}
		f, err := parser.ParseFile(fset, path, nil, parser.ParseComments)
		if err != nil {
			return err
		}
		if d.Name() == "gen.go" { // a generator, not part of the package
			return nil
		}
		dir, err := filepath.Rel(root, filepath.Dir(path))
		if err != nil {
			return err
		}
		if dir == "." {
			dir = ""
		}
		files = append(files, file{filepath.ToSlash(dir), d.Name(), f, strings.HasSuffix(path, "_test.go")})
		return nil
	}))
	require.Greater(t, len(files), 40, "the source was found")
	return files
}

// top is the layer of a package, and the name that it has there.
func top(dir string) (layer int, name string) {
	for i, l := range layers {
		for _, n := range l {
			if n == dir || n != "" && strings.HasPrefix(dir, n+"/") {
				return i, n
			}
		}
	}
	return -1, ""
}

// isKit says whether a package is a test kit or a program: free of the library's rules.
func isKit(dir string) bool {
	layer, _ := top(dir)
	first, _ := top(kits)
	return layer >= first
}

func TestImports(t *testing.T) {
	for _, f := range load(t) {
		layer, name := top(f.dir)
		require.GreaterOrEqual(t, layer, 0, "package %s has no layer: add it to archtest", f.dir)
		if f.test {
			continue
		}
		for _, imp := range f.ast.Imports {
			path, err := strconv.Unquote(imp.Path.Value)
			require.NoError(t, err)
			where := f.dir + "/" + f.name + " imports " + path
			if rest, ok := strings.CutPrefix(path, module); ok {
				other, otherName := top(strings.TrimPrefix(rest, "/"))
				if otherName != name && !slices.Contains(allowed[name], otherName) {
					require.Less(t, other, layer, where)
				}
				continue
			}
			if isKit(f.dir) {
				continue
			}
			if first, _, _ := strings.Cut(path, "/"); strings.Contains(first, ".") {
				require.True(t, slices.ContainsFunc(outside, func(o string) bool { return strings.HasPrefix(path, o) }), where)
			}
			switch path {
			case "testing":
				t.Errorf("%s: only test kits may", where)
			case "os/exec":
				require.True(t, f.dir == "op" || f.dir == "", "%s: the library starts no process", where)
			case "log/slog":
				require.Equal(t, "", f.dir, "%s: only the root package may", where)
			case "encoding/json": // seccomp: the profiles of container runtimes are JSON
				require.Contains(t, []string{"", "seccomp"}, f.dir, where)
			}
		}
	}
}

func TestPackagesAreDocumentedOnce(t *testing.T) {
	docs, packages := map[string]int{}, map[string]bool{}
	for _, f := range load(t) {
		if f.test {
			continue
		}
		packages[f.dir] = true
		if f.ast.Doc != nil && strings.TrimSpace(f.ast.Doc.Text()) != "" {
			docs[f.dir]++
		}
	}
	for dir := range packages {
		require.GreaterOrEqual(t, docs[dir], 1, "package %q has no documentation", dir)
		if !isKit(dir) {
			require.Equal(t, 1, docs[dir], "package %q is documented more than once", dir)
		}
	}
}

func TestNoInitAndNoMutableState(t *testing.T) {
	files := load(t)
	assigned := map[string][]string{} // package-level variables, and where they are written
	globals := map[string]map[string]bool{}
	for _, f := range files {
		if f.test || isKit(f.dir) {
			continue
		}
		for _, d := range f.ast.Decls {
			switch d := d.(type) {
			case *ast.FuncDecl:
				require.False(t, d.Name.Name == "init" && d.Recv == nil, "%s/%s has an init function", f.dir, f.name)
			case *ast.GenDecl:
				if d.Tok != token.VAR {
					continue
				}
				for _, s := range d.Specs {
					for _, n := range s.(*ast.ValueSpec).Names {
						if globals[f.dir] == nil {
							globals[f.dir] = map[string]bool{}
						}
						globals[f.dir][n.Name] = true
					}
				}
			}
		}
	}
	for _, f := range files {
		if f.test || isKit(f.dir) {
			continue
		}
		for _, d := range f.ast.Decls {
			fn, ok := d.(*ast.FuncDecl)
			if !ok {
				continue
			}
			local := localNames(fn)
			ast.Inspect(fn, func(n ast.Node) bool {
				var targets []ast.Expr
				switch n := n.(type) {
				case *ast.AssignStmt:
					if n.Tok == token.DEFINE {
						return true
					}
					targets = n.Lhs
				case *ast.IncDecStmt:
					targets = []ast.Expr{n.X}
				}
				for _, x := range targets {
					for {
						ix, ok := x.(*ast.IndexExpr)
						if !ok {
							break
						}
						x = ix.X
					}
					id, ok := x.(*ast.Ident)
					if !ok || id.Name == "_" || local[id.Name] || !globals[f.dir][id.Name] {
						continue
					}
					if key := f.dir + "." + id.Name; !slices.Contains(variables, key) {
						assigned[key] = append(assigned[key], f.name)
					}
				}
				return true
			})
		}
	}
	require.Empty(t, assigned, "package-level variables that are written")
}

// localNames are the names that a function declares anywhere inside.
func localNames(fn *ast.FuncDecl) map[string]bool {
	local := map[string]bool{}
	ast.Inspect(fn, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.Field:
			for _, id := range n.Names {
				local[id.Name] = true
			}
		case *ast.ValueSpec:
			for _, id := range n.Names {
				local[id.Name] = true
			}
		case *ast.AssignStmt:
			if n.Tok == token.DEFINE {
				for _, x := range n.Lhs {
					if id, ok := x.(*ast.Ident); ok {
						local[id.Name] = true
					}
				}
			}
		case *ast.RangeStmt:
			for _, x := range []ast.Expr{n.Key, n.Value} {
				if id, ok := x.(*ast.Ident); ok && n.Tok == token.DEFINE {
					local[id.Name] = true
				}
			}
		}
		return true
	})
	return local
}

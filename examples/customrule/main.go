//go:build linux

// Command customrule adds a rule of its own: a refusal that a program makes
// itself, with the same gates, evidence and remedies as those of the kernel.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"

	"github.com/go-eperm/eperm"
	"github.com/go-eperm/eperm/check"
	"github.com/go-eperm/eperm/dac"
	"github.com/go-eperm/eperm/inode"
)

// A program that refuses to deploy while a freeze file exists.
var freezeDoc = check.Doc{
	ID: "deploy.freeze", Title: "no deployment freeze",
	Text:   "While the file FREEZE exists in the directory, nothing is deployed there.",
	Kernel: "(this program: deploy)",
	Man:    "README",
	Cause:  check.State,
	Errnos: []syscall.Errno{syscall.EPERM},
}

var freeze = check.Gate{Doc: &freezeDoc, Role: check.Target, Run: func(p *check.Pass) check.Verdict {
	path := filepath.Join(p.Op.Str("path"), "FREEZE")
	f, err := inode.Stat.ReadErr(p, path)
	switch {
	case check.IsMissing(err):
		return p.AllowFor("no FREEZE file")
	case err != nil:
		return p.Unknown()
	}
	return p.Deny(fmt.Sprintf("%s exists, made by uid %d", path, f.UID),
		check.Change{Kind: check.ChangeCode, Text: "ask whoever made the file, then remove it"})
}}

var deployRule = check.Rule{
	Name: "deploy", Calls: []string{"deploy"}, Doc: "put a release into a directory",
	Gates: []check.Gate{freeze, dac.Write(check.Target)},
}

func deploy(dir string) error {
	if _, err := os.Stat(filepath.Join(dir, "FREEZE")); err == nil {
		return fmt.Errorf("deploy to %s: %w", dir, syscall.EPERM)
	}
	return nil
}

func main() {
	dir, err := os.MkdirTemp("", "deploy")
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	defer os.RemoveAll(dir)
	if err := os.WriteFile(filepath.Join(dir, "FREEZE"), nil, 0o644); err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	e := eperm.Explainer{Rules: []check.Rule{deployRule}}
	o := check.Operation{Call: "deploy", Args: []check.Arg{check.S("path", dir)}}
	fmt.Printf("%+v", e.Explain(deploy(dir), o))
}

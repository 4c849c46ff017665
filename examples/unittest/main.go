// Command unittest is a small file server. What is of interest is its test,
// which says which privilege each of its steps takes: main_linux_test.go.
package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/go-eperm/eperm"
)

func main() {
	address := flag.String("listen", "127.0.0.1:80", "address to listen on")
	root := flag.String("root", ".", "directory to serve")
	log := flag.String("log", "", "file to log to; it is never shortened")
	check := flag.Bool("check", false, "listen, then end")
	flag.Parse()
	err := run(*address, *root, *log, *check)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%+v", eperm.Wrap(err))
		os.Exit(1)
	}
}

func run(address, root, log string, check bool) error {
	l, err := listen(address)
	if err != nil {
		return err
	}
	defer l.Close()
	if log != "" {
		if err := record(log, "listening on "+l.Addr().String()); err != nil {
			return err
		}
	}
	fmt.Println("listening on", l.Addr())
	if check {
		return nil
	}
	return http.Serve(l, http.FileServer(http.Dir(root)))
}

// listen takes CAP_NET_BIND_SERVICE for ports below 1024.
func listen(address string) (net.Listener, error) { return net.Listen("tcp", address) }

// record adds a line to a log, which may be append-only.
func record(log, line string) error {
	f, err := os.OpenFile(log, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, line)
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// rotate puts the log aside. It works for a log that is not append-only.
func rotate(log string) error { return os.Rename(log, log+".1") }

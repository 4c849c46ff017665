// Command service is a server that says why it cannot listen.
package main

import (
	"flag"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"

	"github.com/go-eperm/eperm"
)

func main() {
	address := flag.String("listen", "127.0.0.1:80", "address to listen on")
	check := flag.Bool("check", false, "listen, then end")
	flag.Parse()
	l, err := listen(*address)
	if err != nil {
		// The log gets fields, the terminal gets the whole story.
		slog.Error("cannot start", "err", err)
		fmt.Fprintf(os.Stderr, "\n%+v", err)
		os.Exit(1)
	}
	defer l.Close()
	if *check {
		fmt.Println("listening on", l.Addr())
		return
	}
	slog.Info("listening", "address", l.Addr().String())
	err = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprintln(w, "hello") }))
	slog.Error("ended", "err", err)
}

// listen wraps the error where it happens, on the thread that got it.
func listen(address string) (net.Listener, error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	l, err := net.Listen("tcp", address)
	return l, eperm.Wrap(err)
}

// Command httphandler shows how a server keeps the diagnosis for itself: the
// log gets it, with a reference, and the client gets the reference only. Paths,
// ids and settings of the machine are nobody else's business.
package main

import (
	"crypto/rand"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"

	"github.com/go-eperm/eperm"
)

// files serves the files of a directory.
func files(root string, log *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, err := os.ReadFile(filepath.Join(root, filepath.Clean("/"+r.URL.Path)))
		switch {
		case err == nil:
			_, _ = w.Write(b)
		case errors.Is(err, fs.ErrNotExist):
			http.Error(w, "not found", http.StatusNotFound)
		default:
			ref := rand.Text()[:8]
			attrs := []any{"ref", ref, "err", err}
			if d := eperm.Explain(err); d != nil {
				attrs = append(attrs, "why", d)
			}
			log.Error("request failed", attrs...)
			http.Error(w, "internal error, reference "+ref, http.StatusInternalServerError)
		}
	})
}

func main() {
	root := flag.String("root", "/etc", "directory to serve")
	path := flag.String("get", "/shadow", "path to ask for, once")
	flag.Parse()
	w := httptest.NewRecorder()
	files(*root, slog.New(slog.NewTextHandler(os.Stderr, nil))).ServeHTTP(w, httptest.NewRequest(http.MethodGet, *path, nil))
	fmt.Println(w.Code, w.Body.String())
}

package listen_test

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/rescindhq/rescind/subscriptions/listen"
)

// A registration's serial below the address leads to the same door; nothing else does.
func TestASerialLeadsToTheDoor(t *testing.T) {
	h, err := listen.New(listen.Config{Publisher: &memory{}, Log: slog.New(slog.DiscardHandler),
		Doors: []listen.Door{{Home: home, Path: part, Door: fakeDoor{}}}})
	if err != nil {
		t.Fatal(err)
	}
	const here = "/hooks/ringcentral/" + part
	for path, want := range map[string]int{
		here:                                 http.StatusOK,
		here + "/0":                          http.StatusOK,
		here + "/29739561":                   http.StatusOK,
		here + "/007":                        http.StatusOK,
		here + "/" + strings.Repeat("9", 21): http.StatusOK,
		here + "/" + strings.Repeat("9", 22): http.StatusNotFound,
		here + "%2f7":                        http.StatusOK,
		here + "/%37":                        http.StatusOK,
		here + "/7?a=b":                      http.StatusOK,
		here + "/":                           http.StatusNotFound,
		here + "//7":                         http.StatusNotFound,
		here + "/7/":                         http.StatusNotFound,
		here + "/7/8":                        http.StatusNotFound,
		here + "/-7":                         http.StatusNotFound,
		here + "/+7":                         http.StatusNotFound,
		here + "/7x":                         http.StatusNotFound,
		here + "/x7":                         http.StatusNotFound,
		here + "/0x7":                        http.StatusNotFound,
		here + "/7.0":                        http.StatusNotFound,
		here + "/7%00":                       http.StatusNotFound,
		here + "/7%20":                       http.StatusNotFound,
		here + "/7%0a":                       http.StatusNotFound,
		here + "/%2537":                      http.StatusNotFound,
		here + "/%EF%BC%97":                  http.StatusNotFound, // a fullwidth 7
		here + "/../" + part + "/7":          http.StatusNotFound,
		here + "x/7":                         http.StatusNotFound,
		here[:len(here)-1] + "/7":            http.StatusNotFound,
		"/hooks/ringcentral/7":               http.StatusNotFound,
		"/hooks/7":                           http.StatusNotFound,
		"/7":                                 http.StatusNotFound,
		"/":                                  http.StatusNotFound,
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, path, nil))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", path, w.Code, want)
		}
	}
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest(http.MethodGet, here+"/7", nil))
	if w.Code != http.StatusMethodNotAllowed {
		t.Errorf("GET: status %d", w.Code)
	}
}

// A part of digits alone is no serial: it is longer.
func TestAPartOfDigitsIsNoSerial(t *testing.T) {
	digits := strings.Repeat("4", 22)
	h, err := listen.New(listen.Config{Publisher: &memory{}, Log: slog.New(slog.DiscardHandler),
		Doors: []listen.Door{{Home: home, Path: digits, Door: fakeDoor{}}}})
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{digits: http.StatusOK, digits + "/7": http.StatusOK, digits[1:]: http.StatusNotFound} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/hooks/ringcentral/"+path, nil))
		if w.Code != want {
			t.Errorf("%s: status %d, want %d", path, w.Code, want)
		}
	}
}

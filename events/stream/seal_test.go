package stream_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/rescindhq/rescind/events/stream"
)

// What was sealed opens with its key and under its name only; whatever else
// lies there is no value. Neither the sealed text nor an error shows it.
func FuzzUnseal(f *testing.F) {
	key := [32]byte{1}
	const sealedFor = "ringcentral/1/service"
	sealed, err := stream.Seal(key, sealedFor, []byte("hunter2-sealed"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealedFor, sealed, uint16(0))
	f.Add("ringcentral/2/service", sealed, uint16(0))
	f.Add("", []byte{1}, uint16(5))
	f.Add("a", bytes.Repeat([]byte{1}, 13), uint16(100))
	f.Add("a", bytes.Repeat([]byte{1}, 29), uint16(0xffff))
	f.Fuzz(func(t *testing.T, name string, text []byte, at uint16) {
		if got, err := stream.Unseal(key, name, text); err == nil && (name != sealedFor ||
			string(got) != "hunter2-sealed") {
			t.Fatalf("%q opens what nobody sealed: %q", name, got)
		} else if err != nil && (!errors.Is(err, stream.ErrSealingKey) || got != nil || len(err.Error()) > 100) {
			t.Fatalf("%q beside %v", got, err)
		}
		whole, err := stream.Seal(key, name, text)
		if err != nil || len(text) > 8 && bytes.Contains(whole, text) {
			t.Fatalf("sealed as %q, %v", whole, err)
		}
		if back, err := stream.Unseal(key, name, whole); err != nil || !bytes.Equal(back, text) {
			t.Fatalf("%q comes back as %q, %v", text, back, err)
		}
		broken := bytes.Clone(whole)
		broken[int(at)%len(broken)] ^= 1 + byte(at>>8)%255
		for what, open := range map[string]func() ([]byte, error){
			"altered":      func() ([]byte, error) { return stream.Unseal(key, name, broken) },
			"cut short":    func() ([]byte, error) { return stream.Unseal(key, name, whole[:int(at)%len(whole)]) },
			"another name": func() ([]byte, error) { return stream.Unseal(key, name+"x", whole) },
			"another key":  func() ([]byte, error) { return stream.Unseal([32]byte{2}, name, whole) },
		} {
			if got, err := open(); !errors.Is(err, stream.ErrSealingKey) || got != nil {
				t.Fatalf("%s: %q, %v", what, got, err)
			}
		}
	})
}
